//go:build cgo

#include "context.h"

#include <openssl/err.h>
#include <stdlib.h>

/* Record size limits (RFC 8449) below this are more than OpenSSL can do: see SSL_CTX_set_max_send_fragment(3). */
enum { MIN_SEND_FRAGMENT = 512, RECORD_SIZE_LIMIT = 28 };

static int extras_index = -1, peer_limit_index = -1, own_limit_index = -1;

static void release_extras(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

int cssl_extras_init(void)
{
	extras_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release_extras);
	peer_limit_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	own_limit_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return extras_index >= 0 && peer_limit_index >= 0 && own_limit_index >= 0 && cssl_psk_init();
}

/*
 * Early data is taken with a ticket alone. OpenSSL would take it with an external PSK too, of which it keeps
 * no account, and then fail the connection, since the PSK allows no bytes. A ticket that allows more than the setting is of an earlier one.
 */
static int allow_early(SSL *ssl, void *arg)
{
	uint32_t n = SSL_SESSION_get_max_early_data(SSL_get0_session(ssl));

	(void)arg;
	return n > 0 && n <= SSL_get_max_early_data(ssl);
}

/* What a server skips if it refuses early data: what any client may send that has a ticket of an earlier setting. */
static uint32_t skipped(uint32_t max)
{
	return max > SSL3_RT_MAX_PLAIN_LENGTH ? max : SSL3_RT_MAX_PLAIN_LENGTH;
}

static unsigned send_fragment(const cssl_extras *s)
{
	return s->max_send_fragment != 0 ? s->max_send_fragment : SSL3_RT_MAX_PLAIN_LENGTH;
}

/* What a connection's own setting is. It cannot rise above that of the SSL_CTX that it began with, which its buffer was made for. */
static unsigned send_limit(SSL *ssl, const cssl_extras *s)
{
	unsigned n = (unsigned)(uintptr_t)SSL_get_ex_data(ssl, own_limit_index);

	return n != 0 ? n : send_fragment(s);
}

/*
 * The extension record_size_limit, which OpenSSL does not have (up to 3.5): ours is sent, and the peer's is kept. That a
 * peer keeps ours is not checked; it counts a byte more than SSL_set_max_send_fragment in TLS 1.3 (the content type).
 */
static int add_limit(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *len, X509 *x, size_t chain,
                     int *alert, void *arg)
{
	const cssl_extras *s = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), extras_index);
	unsigned char *p;

	(void)type, (void)x, (void)chain, (void)arg;
	if (s == NULL || s->record_size_limit == 0)
		return 0;
	if (!(context & SSL_EXT_CLIENT_HELLO) && SSL_get_ex_data(ssl, peer_limit_index) == NULL)
		return 0; /* the client asks for what cannot be kept: as if the extension were not known */
	p = malloc(2);
	if (p == NULL) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return -1;
	}
	p[0] = (unsigned char)(s->record_size_limit >> 8);
	p[1] = (unsigned char)s->record_size_limit;
	*out = p;
	*len = 2;
	return 1;
}

static void free_limit(SSL *ssl, unsigned type, unsigned context, const unsigned char *out, void *arg)
{
	(void)ssl, (void)type, (void)context, (void)arg;
	free((void *)out);
}

static int parse_limit(SSL *ssl, unsigned type, unsigned context, const unsigned char *in, size_t len, X509 *x, size_t chain,
                       int *alert, void *arg)
{
	const cssl_extras *s = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), extras_index);
	unsigned limit = len == 2 ? (unsigned)in[0] << 8 | in[1] : 0, own = send_limit(ssl, s);
	int hello = (context & SSL_EXT_CLIENT_HELLO) != 0;
	int fragment = SSL_SESSION_get_max_fragment_length(SSL_get0_session(ssl)) != TLSEXT_max_fragment_length_DISABLED;

	(void)type, (void)x, (void)chain, (void)arg;
	if (limit < 64 || (!hello && fragment)) { /* RFC 8449, sections 4 and 5 */
		*alert = len == 2 ? SSL_AD_ILLEGAL_PARAMETER : SSL_AD_DECODE_ERROR;
		return 0;
	}
	if (SSL_version(ssl) >= TLS1_3_VERSION)
		limit--;
	if (limit > own)
		limit = own;
	if (limit < MIN_SEND_FRAGMENT || (hello && fragment)) {
		*alert = SSL_AD_HANDSHAKE_FAILURE;
		return hello;
	}
	SSL_set_ex_data(ssl, peer_limit_index, (void *)(uintptr_t)limit);
	return SSL_set_max_send_fragment(ssl, limit) == 1;
}

int cssl_ctx_extras(SSL_CTX *ctx, const cssl_extras *s, cssl_reasons *out)
{
	cssl_extras *kept = malloc(sizeof *kept);
	int ok = kept != NULL;

	ERR_clear_error();
	if (ok) {
		*kept = *s;
		ok = SSL_CTX_set_ex_data(ctx, extras_index, kept);
		if (!ok)
			free(kept);
	}
	if (s->no_middlebox_compat)
		SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
	if (s->allow_replay)
		SSL_CTX_set_options(ctx, SSL_OP_NO_ANTI_REPLAY);
	if (s->post_handshake_auth && s->server)
		SSL_CTX_set_verify(ctx, SSL_CTX_get_verify_mode(ctx) | SSL_VERIFY_POST_HANDSHAKE, SSL_CTX_get_verify_callback(ctx));
	if (!s->server)
		SSL_CTX_set_post_handshake_auth(ctx, s->post_handshake_auth);
	if (s->server) {
		ok = ok && SSL_CTX_set_max_early_data(ctx, s->max_early_data) &&
		     SSL_CTX_set_recv_max_early_data(ctx, skipped(s->max_early_data)) && cssl_ctx_sessions(ctx);
		SSL_CTX_set_allow_early_data_cb(ctx, allow_early, NULL);
	}
	if (s->max_fragment != 0)
		ok = ok && SSL_CTX_set_tlsext_max_fragment_length(ctx, (uint8_t)s->max_fragment);
	if (s->max_send_fragment != 0)
		ok = ok && SSL_CTX_set_max_send_fragment(ctx, s->max_send_fragment);
	if (s->record_size_limit != 0)
		ok = ok && SSL_CTX_add_custom_ext(ctx, RECORD_SIZE_LIMIT,
		                                  SSL_EXT_TLS_ONLY | SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO |
		                                      SSL_EXT_TLS1_3_ENCRYPTED_EXTENSIONS,
		                                  add_limit, free_limit, NULL, parse_limit, NULL);
	return cssl_done(ok, out);
}

unsigned cssl_ctx_lifetime(const SSL_CTX *ctx)
{
	const cssl_extras *s = SSL_CTX_get_ex_data(ctx, extras_index);

	return s->session_lifetime;
}

int cssl_extras_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to)
{
	const cssl_extras *f = SSL_CTX_get_ex_data(from, extras_index), *t = SSL_CTX_get_ex_data(to, extras_index);
	uint32_t early = f->max_early_data < t->max_early_data ? f->max_early_data : t->max_early_data;
	unsigned send = send_fragment(f) < send_fragment(t) ? send_fragment(f) : send_fragment(t);

	if (f->allow_replay && !t->allow_replay)
		early = 0; /* the tickets are those of from, and nobody counts them */
	if (t->no_middlebox_compat)
		SSL_clear_options(ssl, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
	else
		SSL_set_options(ssl, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
	cssl_psk_switch(ssl, to);
	return SSL_set_max_early_data(ssl, early) && SSL_set_recv_max_early_data(ssl, skipped(early)) &&
	       SSL_set_max_send_fragment(ssl, send) == 1 && SSL_set_ex_data(ssl, own_limit_index, (void *)(uintptr_t)send);
}

int cssl_ssl_max_fragment(SSL *ssl)
{
	const SSL_SESSION *s = SSL_get0_session(ssl);
	int mode = s != NULL ? SSL_SESSION_get_max_fragment_length(s) : TLSEXT_max_fragment_length_DISABLED;

	return mode == TLSEXT_max_fragment_length_DISABLED ? 0 : 256 << mode;
}
