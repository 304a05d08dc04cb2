//go:build cgo

#include "direct.h"
#include "beside.h"
#include "conn_private.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/*
 * Records under one key before it is updated. RFC 8446, section 5.5, allows 2
 * to the power of 24.5 for AES-GCM.
 */
#define UPDATE_AFTER ((uint32_t)1 << 24)

enum { CLIENT_SECRET = 1, SERVER_SECRET = 2, EXPORTER_SECRET = 4, EARLY_EXPORTER_SECRET = 8 };

/* The size of cssl_direct.more. */
enum { MORE = SSL_MAX_MASTER_KEY_LENGTH + 2 * SSL3_RANDOM_SIZE };

cssl_direct *cssl_direct_new(uint32_t update_after)
{
	cssl_direct *d = calloc(1, sizeof *d);

	if (d != NULL)
		d->update_after = update_after != 0 ? update_after : UPDATE_AFTER;
	return d;
}

void cssl_direct_free(cssl_direct *d, int failed)
{
	if (d == NULL)
		return;
	if (failed && d->session != NULL)
		SSL_CTX_remove_session(d->ctx, d->session);
	cssl_keys_wipe(&d->records);
	cssl_bytes_free(&d->plain);
	OPENSSL_clear_free(d->more, MORE);
	free(d->facts.bytes);
	SSL_SESSION_free(d->session);
	SSL_CTX_free(d->ctx);
	OPENSSL_cleanse(d, sizeof *d);
	free(d);
}

/* Returns where a secret is kept, or NULL if out of memory. */
static unsigned char *place_of(cssl_direct *d, uint8_t secret, int server)
{
	switch (secret) {
	case CLIENT_SECRET:
		return server ? d->records.read.secret : d->records.write.secret;
	case SERVER_SECRET:
		return server ? d->records.write.secret : d->records.read.secret;
	case EXPORTER_SECRET:
		return d->exporter;
	}
	if (d->more == NULL) /* few connections have early data */
		d->more = OPENSSL_malloc(MORE);
	return d->more;
}

static int nibble(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

void cssl_direct_secret(cssl_direct *d, const SSL *ssl, const char *line)
{
	static const struct {
		const char *label;
		uint8_t bit;
	} secrets[] = {
		{"CLIENT_TRAFFIC_SECRET_0 ", CLIENT_SECRET},
		{"SERVER_TRAFFIC_SECRET_0 ", SERVER_SECRET},
		{"EXPORTER_SECRET ", EXPORTER_SECRET},
		{"EARLY_EXPORTER_SECRET ", EARLY_EXPORTER_SECRET},
	};
	unsigned char *out;
	const char *hex;
	size_t i, j;

	for (i = 0; d != NULL && i < sizeof secrets / sizeof *secrets; i++) {
		if (strncmp(line, secrets[i].label, strlen(secrets[i].label)) != 0)
			continue;
		out = place_of(d, secrets[i].bit, SSL_is_server(ssl));
		hex = strrchr(line, ' ') + 1;
		for (j = 0; out != NULL && j < CSSL_MAX_SECRET && hex[2 * j] != 0; j++)
			out[j] = (unsigned char)(nibble(hex[2 * j]) << 4 | nibble(hex[2 * j + 1]));
		if (out != NULL)
			d->secrets |= secrets[i].bit;
	}
}

void cssl_direct_header(cssl_direct *d, const SSL *ssl, int sent, const unsigned char *header)
{
	int server = SSL_is_server(ssl);

	if (d == NULL)
		return;
	if (sent)
		d->last = CSSL_HEADER + ((uint32_t)header[3] << 8 | header[4]);
	/* The sequence number counts from the secret on. */
	if (d->secrets & (!sent == !server ? SERVER_SECRET : CLIENT_SECRET)) {
		if (sent)
			d->records.write.seq++;
		else
			d->records.read.seq++;
	}
}

void cssl_direct_note(cssl_conn *c)
{
	cssl_direct *d = c->direct;

	if (d == NULL || SSL_version(c->ssl) >= TLS1_3_VERSION || d->last > sizeof d->finished || d->last > c->t.out.len)
		return;
	memcpy(d->finished, c->t.out.data + c->t.out.off + c->t.out.len - d->last, d->last);
	d->finished_len = (uint8_t)d->last;
}

int cssl_is_direct(const cssl_conn *c)
{
	return c->ssl == NULL;
}

/*
 * Opens our own last record with the derived key: this proves the key and the
 * sequence number. record is that record.
 */
static int proven(const cssl_direct *d, const unsigned char *record, size_t len)
{
	cssl_records r = d->records;
	cssl_key k = r.write;
	unsigned char *copy = OPENSSL_malloc(len), *plain;
	size_t n;
	int ok;

	k.seq--;
	k.ctx = NULL;
	k.keyed = 0;
	ok = copy != NULL;
	if (ok) {
		memcpy(copy, record, len);
		ok = cssl_open(&r, &k, copy, len - CSSL_HEADER, &plain, &n) == 1;
	}
	OPENSSL_clear_free(copy, len);
	EVP_CIPHER_CTX_free(k.ctx);
	OPENSSL_cleanse(&k, sizeof k);
	OPENSSL_cleanse(&r, sizeof r);
	return ok;
}

/* TLS 1.3: derives the keys. Returns why not, or NULL. */
static const char *take_over_tls13(cssl_conn *c)
{
	cssl_direct *d = c->direct;
	cssl_records *r = &d->records;
	const cssl_bytes *out = &c->t.out;

	if (SSL_get_verify_mode(c->ssl) & SSL_VERIFY_POST_HANDSHAKE)
		return "a certificate may be requested after the handshake";
	if ((d->secrets & (CLIENT_SECRET | SERVER_SECRET | EXPORTER_SECRET)) != (CLIENT_SECRET | SERVER_SECRET | EXPORTER_SECRET))
		return "the selected Context keeps OpenSSL's records";
	if (!cssl_keys_tls13(r, &r->read) || !cssl_keys_tls13(r, &r->write))
		return "the keys could not be derived";
	if (r->write.seq == 0)
		return NULL; /* there is no record to prove them with */
	if (out->len < d->last)
		return "the last record was sent before its key could be proven";
	return proven(d, out->data + out->off + out->len - d->last, d->last) ? NULL : "the derived keys do not open our last record";
}

/* The same for TLS 1.2. */
static const char *take_over_tls12(cssl_conn *c)
{
	cssl_direct *d = c->direct;
	cssl_records *r = &d->records;
	unsigned char *m;
	int i;

	if ((SSL_get_options(c->ssl) & SSL_OP_NO_RENEGOTIATION) == 0)
		return "renegotiation is allowed";
	m = d->more = OPENSSL_malloc(MORE);
	if (m == NULL || SSL_SESSION_get_master_key(SSL_get0_session(c->ssl), m, SSL_MAX_MASTER_KEY_LENGTH) != SSL_MAX_MASTER_KEY_LENGTH)
		return "the master secret could not be read";
	SSL_get_server_random(c->ssl, m + SSL_MAX_MASTER_KEY_LENGTH, SSL3_RANDOM_SIZE);
	SSL_get_client_random(c->ssl, m + SSL_MAX_MASTER_KEY_LENGTH + SSL3_RANDOM_SIZE, SSL3_RANDOM_SIZE);
	d->extended_master = SSL_get_extms_support(c->ssl) == 1;
	if (!cssl_keys_tls12(r, SSL_is_server(c->ssl), m, m + SSL_MAX_MASTER_KEY_LENGTH))
		return "the keys could not be derived";
	r->read.seq = r->write.seq = 1; /* each side has sent Finished */
	if (d->finished_len != CSSL_HEADER + r->suite->explicit + 16 + CSSL_TAG || d->finished[0] != SSL3_RT_HANDSHAKE ||
	    !proven(d, d->finished, d->finished_len))
		return "the derived keys do not open our Finished message";
	for (i = 0; i < r->suite->explicit; i++)
		r->nonce = r->nonce << 8 | d->finished[CSSL_HEADER + i];
	return NULL;
}

static unsigned lower(unsigned a, unsigned b)
{
	return b != 0 && b < a ? b : a;
}

/* Keeps a copy of s, and frees its certificates. Returns 0 if out of memory. */
static int keep_facts(cssl_direct *d, const cssl_state *s)
{
	cssl_facts f = {
		.cipher = s->cipher, .group = s->group, .verify = (int32_t)s->verify, .early = (uint8_t)s->early, .resumed = (uint8_t)s->resumed, .raw = (uint8_t)s->raw,
		.alpn = (uint8_t)s->alpn_len, .psk = (uint16_t)s->psk_len, .peer = (uint32_t)s->peer_len, .verified = (uint32_t)s->verified_len,
		.unique = (uint8_t)s->unique_len, .outer_name = (uint8_t)strlen(s->outer_name), .ech = (uint8_t)s->ech,
		.server_name = s->server_name != NULL ? (uint16_t)(strlen(s->server_name) + 1) : 0,
	};
	const struct {
		const void *p;
		size_t n;
	} parts[] = {{s->alpn, f.alpn}, {s->psk, f.psk}, {s->server_name, f.server_name}, {s->outer_name, f.outer_name}, {s->unique, f.unique}, {s->peer, f.peer}, {s->verified, f.verified}};
	unsigned char *p;
	size_t n = 0, i;

	for (i = 0; i < sizeof parts / sizeof *parts; i++)
		n += parts[i].n;
	p = f.bytes = n > 0 ? malloc(n) : NULL;
	for (i = 0; p != NULL && i < sizeof parts / sizeof *parts; p += parts[i++].n)
		if (parts[i].n > 0)
			memcpy(p, parts[i].p, parts[i].n);
	free(s->peer);
	free(s->verified);
	d->facts = f;
	return p != NULL || n == 0;
}

static const char *take_over(cssl_conn *c)
{
	cssl_direct *d = c->direct;
	SSL *ssl = c->ssl;
	const cssl_ctx_data *x = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	const cssl_suite *suite = cipher != NULL ? cssl_suite_find(SSL_CIPHER_get_protocol_id(cipher)) : NULL;
	const char *obstacle;

	if (x->algorithms == NULL)
		return "the selected Context keeps OpenSSL's records";
	if (suite == NULL || SSL_version(ssl) < TLS1_2_VERSION)
		return "direct records do not support the cipher suite";
	if (x->algorithms->ciphers[suite->cipher] == NULL || (suite->tls13 ? x->algorithms->tls13 : x->algorithms->tls12) == NULL)
		return "no provider has the cipher or the key derivation function";
	if (SSL_has_pending(ssl))
		return "OpenSSL holds input";
	d->records.suite = suite;
	d->records.algorithms = x->algorithms;
	obstacle = suite->tls13 ? take_over_tls13(c) : take_over_tls12(c);
	if (obstacle != NULL)
		return obstacle;
	d->max_receive = (uint16_t)lower(SSL3_RT_MAX_PLAIN_LENGTH, (unsigned)cssl_ssl_max_fragment(ssl));
	d->max_send = (uint16_t)lower(lower(d->max_receive, c->data.own_limit != 0 ? c->data.own_limit : x->max_send_fragment), c->data.peer_limit);
	return NULL;
}

/* Leaves the connection to OpenSSL. */
static void give_up(cssl_conn *c, const char *obstacle)
{
	c->direct->obstacle = obstacle;
	ERR_clear_error();
	cssl_keys_wipe(&c->direct->records);
	OPENSSL_clear_free(c->direct->more, MORE);
	c->direct->more = NULL;
	OPENSSL_cleanse(c->direct->exporter, sizeof c->direct->exporter);
	SSL_set_read_ahead(c->ssl, c->t.ahead);
}

int cssl_direct_prepare(cssl_conn *c)
{
	const char *obstacle = c->direct != NULL ? take_over(c) : "";

	if (obstacle != NULL && c->direct != NULL)
		give_up(c, obstacle);
	return obstacle == NULL;
}

void cssl_direct_switch(cssl_conn *c, cssl_state facts)
{
	cssl_direct *d = c->direct;

	if (!keep_facts(d, &facts)) {
		give_up(c, "out of memory");
		return;
	}
	d->ctx = SSL_get_SSL_CTX(c->ssl);
	SSL_CTX_up_ref(d->ctx);
	if (SSL_CTX_get_session_cache_mode(d->ctx) & SSL_SESS_CACHE_SERVER)
		d->session = SSL_get1_session(c->ssl);
	/* Otherwise SSL_free would remove the session from the server's cache. */
	SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->ssl);
	c->ssl = NULL;
}

/* The exporter of TLS 1.3 (RFC 8446, section 7.5). */
static int export_tls13(const cssl_direct *d, const unsigned char *secret, unsigned char *buf, size_t len, const char *label,
                        size_t label_len, const unsigned char *context, size_t context_len)
{
	const cssl_ctx_data *x = cssl_data_of_ctx(d->ctx);
	const cssl_suite *s = d->records.suite;
	unsigned char hash[CSSL_MAX_SECRET], derived[CSSL_MAX_SECRET];
	int ok = EVP_Q_digest(x->library, s->digest, x->properties, "", 0, hash, NULL) &&
	         cssl_expand(&d->records, secret, label, label_len, hash, s->hash, derived, s->hash) &&
	         EVP_Q_digest(x->library, s->digest, x->properties, context, context_len, hash, NULL) &&
	         cssl_expand(&d->records, derived, "exporter", 8, hash, s->hash, buf, len);

	OPENSSL_cleanse(derived, sizeof derived);
	return ok;
}

/*
 * The exporter of TLS 1.2 (RFC 5705). Labels that TLS uses itself are refused,
 * as by OpenSSL.
 */
static int export_tls12(const cssl_direct *d, unsigned char *buf, size_t len, const char *label, size_t label_len,
                        const unsigned char *context, size_t context_len, int use_context)
{
	static const char *const reserved[] = {"client finished", "server finished", "master secret", "extended master secret",
	                                       "key expansion"};
	const unsigned char *randoms = d->more + SSL_MAX_MASTER_KEY_LENGTH;
	size_t n = label_len + 2 * SSL3_RANDOM_SIZE + (use_context ? 2 + context_len : 0), i;
	unsigned char *seed, *p;
	int ok;

	for (i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (label_len >= strlen(reserved[i]) && memcmp(label, reserved[i], strlen(reserved[i])) == 0) {
			ERR_raise(ERR_LIB_SSL, SSL_R_TLS_ILLEGAL_EXPORTER_LABEL);
			return 0;
		}
	if (!d->extended_master || context_len > 0xffff || (seed = malloc(n)) == NULL)
		return 0;
	p = seed;
	memcpy(p, label, label_len);
	p += label_len;
	memcpy(p, randoms + SSL3_RANDOM_SIZE, SSL3_RANDOM_SIZE); /* the client's first */
	memcpy(p + SSL3_RANDOM_SIZE, randoms, SSL3_RANDOM_SIZE);
	p += 2 * SSL3_RANDOM_SIZE;
	if (use_context) {
		*p++ = (unsigned char)(context_len >> 8);
		*p++ = (unsigned char)context_len;
		if (context_len > 0)
			memcpy(p, context, context_len);
	}
	ok = cssl_prf(&d->records, d->more, seed, n, buf, len);
	if (!ok) /* for example, the context is longer than the provider allows */
		ERR_raise(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR);
	free(seed);
	return ok;
}

int cssl_direct_export(const cssl_conn *c, int early, unsigned char *buf, size_t len, const char *label, size_t label_len,
                       const unsigned char *context, size_t context_len, int use_context)
{
	const cssl_direct *d = c->direct;

	if (early)
		return (d->secrets & EARLY_EXPORTER_SECRET) &&
		       export_tls13(d, d->more, buf, len, label, label_len, context, context_len);
	if (d->records.suite->tls13)
		return export_tls13(d, d->exporter, buf, len, label, label_len, context, context_len);
	return export_tls12(d, buf, len, label, label_len, context, context_len, use_context);
}
