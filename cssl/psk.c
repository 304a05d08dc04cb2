//go:build cgo

#include "psk.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/*
 * External pre-shared keys (RFC 8446, section 4.2.11). Each is an SSL_SESSION, which is what OpenSSL wants to be given; it wipes
 * the key when it frees one. The identity is in it a second time, as the ticket's data of the application, which goes
 * on into the tickets that the connection gets: so a resumption knows who it is.
 */
typedef struct {
	unsigned char *identity;
	size_t len;
	SSL_SESSION *session;
} entry;

struct cssl_psk_table {
	size_t count;
	entry entry[]; /* sorted */
};

void cssl_psks_free(cssl_psk_table *t)
{
	for (size_t i = 0; t != NULL && i < t->count; i++) {
		free(t->entry[i].identity);
		SSL_SESSION_free(t->entry[i].session);
	}
	free(t);
}

static int compare(const void *a, const void *b)
{
	const entry *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->identity, y->identity, x->len);
}

static const entry *find(const cssl_psk_table *t, const unsigned char *identity, size_t len)
{
	entry wanted = {(unsigned char *)identity, len, NULL};

	return t != NULL ? bsearch(&wanted, t->entry, t->count, sizeof t->entry[0], compare) : NULL;
}

/* A server's. OpenSSL makes a copy of the session, so all connections may have the same one. */
static int find_session(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **out)
{
	const entry *e = find(cssl_data_of_ctx(SSL_get_SSL_CTX(ssl))->psks, identity, len);

	*out = e != NULL && SSL_SESSION_up_ref(e->session) ? e->session : NULL; /* NULL: it may be a ticket */
	return 1;
}

/* A client's. md is the hash that a HelloRetryRequest has settled, or NULL. OpenSSL changes the session, so each connection has its own. */
static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *len, SSL_SESSION **out)
{
	const cssl_psk_table *t = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl))->psks;
	const entry *e = &t->entry[0];

	*out = NULL;
	*identity = e->identity;
	*len = e->len;
	if (md != NULL && !EVP_MD_is_a(md, EVP_MD_get0_name(SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(e->session)))))
		return 1; /* the pointers differ for the same hash, in OpenSSL 3 */
	*out = SSL_SESSION_dup(e->session);
	return *out != NULL;
}

/* The identity in the session's data of the application; 0 is none. */
static size_t identity_of(SSL_SESSION *s, const unsigned char **identity)
{
	void *p = NULL;
	size_t n = 0;

	if (!SSL_SESSION_get0_ticket_appdata(s, &p, &n) || n <= CSSL_LIFE)
		return 0;
	*identity = (unsigned char *)p + CSSL_LIFE;
	return n - CSSL_LIFE;
}

/*
 * Tickets of a connection that had a PSK are good as long as the PSK is here, whatever Context made them (several may share
 * ticket keys). Sessions in the cache are of this Context, whose table does not change.
 */
int cssl_psk_known(const SSL_CTX *ctx, SSL_SESSION *s)
{
	const unsigned char *identity;
	size_t len = identity_of(s, &identity);

	return len == 0 || find(cssl_data_of_ctx(ctx)->psks, identity, len) != NULL;
}

/* Whether c is for TLS 1.3 and has the hash. */
static int fits(const SSL_CIPHER *c, int sha384)
{
	const EVP_MD *md = SSL_CIPHER_get_handshake_digest(c);

	return (SSL_CIPHER_get_protocol_id(c) & 0xff00) == 0x1300 && md != NULL &&
	       EVP_MD_is_a(md, sha384 ? "SHA2-384" : "SHA2-256");
}

/* The first cipher of ctx with the hash, or NULL. */
static const SSL_CIPHER *cipher_with(SSL_CTX *ctx, int sha384)
{
	const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);

	for (int i = 0; i < sk_SSL_CIPHER_num(all); i++)
		if (fits(sk_SSL_CIPHER_value(all, i), sha384))
			return sk_SSL_CIPHER_value(all, i);
	return NULL;
}

/*
 * OpenSSL chooses the cipher suite before it looks at the PSK, which it then ignores if the hash is another one. So those
 * with the hash come first.
 */
static int order_ciphers(SSL_CTX *ctx, int sha384, int alone)
{
	const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);
	char list[1024] = "";

	for (int pass = 0; pass < (alone ? 1 : 2); pass++) {
		for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
			const SSL_CIPHER *c = sk_SSL_CIPHER_value(all, i);

			if (!fits(c, pass == 0 ? sha384 : !sha384) || strlen(list) + strlen(SSL_CIPHER_get_name(c)) + 2 > sizeof list)
				continue;
			if (list[0] != 0)
				strcat(list, ":");
			strcat(list, SSL_CIPHER_get_name(c));
		}
	}
	return SSL_CTX_set_ciphersuites(ctx, list);
}

static int fill(entry *e, const cssl_psk *k, const SSL_CIPHER *cipher, const unsigned char *session_id_context)
{
	unsigned char data[CSSL_LIFE + CSSL_MAX_IDENTITY] = {0};

	e->identity = malloc(k->identity_len);
	e->len = k->identity_len;
	e->session = SSL_SESSION_new();
	if (e->identity == NULL || e->session == NULL)
		return 0;
	memcpy(e->identity, k->identity, k->identity_len);
	memcpy(data + CSSL_LIFE, k->identity, k->identity_len);
	return SSL_SESSION_set1_master_key(e->session, k->key, k->key_len) && SSL_SESSION_set_cipher(e->session, cipher) &&
	       SSL_SESSION_set_protocol_version(e->session, TLS1_3_VERSION) &&
	       SSL_SESSION_set1_id_context(e->session, session_id_context, 32) &&
	       SSL_SESSION_set1_ticket_appdata(e->session, data, CSSL_LIFE + k->identity_len);
}

int cssl_ctx_psks(SSL_CTX *ctx, int server, const cssl_psk *keys, size_t count, int order, int alone,
                  const unsigned char *session_id_context, size_t *bad, cssl_reasons *out)
{
	cssl_psk_table *t = calloc(1, sizeof *t + count * sizeof t->entry[0]);

	ERR_clear_error();
	if (t == NULL)
		return cssl_done(0, out);
	t->count = count;
	for (*bad = 0; *bad < count; (*bad)++) {
		const cssl_psk *k = &keys[*bad];
		const SSL_CIPHER *cipher = cipher_with(ctx, k->sha384);

		if (cipher == NULL) {
			cssl_psks_free(t);
			return -1;
		}
		if (!fill(&t->entry[*bad], k, cipher, session_id_context)) {
			cssl_psks_free(t);
			return cssl_done(0, out);
		}
	}
	if (order && !order_ciphers(ctx, keys[0].sha384, alone)) {
		cssl_psks_free(t);
		return cssl_done(0, out);
	}
	qsort(t->entry, count, sizeof t->entry[0], compare);
	cssl_data_of_ctx(ctx)->psks = t;
	if (server)
		SSL_CTX_set_psk_find_session_callback(ctx, find_session);
	else
		SSL_CTX_set_psk_use_session_callback(ctx, use_session);
	return cssl_done(1, out);
}

void cssl_psk_switch(SSL *ssl, SSL_CTX *to)
{
	SSL_set_psk_find_session_callback(ssl, cssl_data_of_ctx(to)->psks != NULL ? find_session : NULL);
}

size_t cssl_ssl_psk(SSL *ssl, const unsigned char **identity)
{
	SSL_SESSION *s = SSL_get_session(ssl);

	return s != NULL ? identity_of(s, identity) : 0;
}
