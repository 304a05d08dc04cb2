//go:build cgo

#include "beside.h"

#include <openssl/err.h>
#include <stdlib.h>

/*
 * OpenSSL cannot keep record size limits (RFC 8449) below MIN_SEND_FRAGMENT,
 * see SSL_CTX_set_max_send_fragment(3). RECORD_SIZE_LIMIT is the extension's
 * number.
 */
enum { MIN_SEND_FRAGMENT = 512, RECORD_SIZE_LIMIT = 28 };

static unsigned send_fragment(const cssl_ctx_data *s)
{
	return s->max_send_fragment != 0 ? s->max_send_fragment : SSL3_RT_MAX_PLAIN_LENGTH;
}

/*
 * Returns a connection's own limit. It cannot exceed that of the first SSL_CTX,
 * for which its buffer was allocated.
 */
static unsigned send_limit(const SSL *ssl, const cssl_ctx_data *s)
{
	unsigned n = cssl_data_of_ssl(ssl)->own_limit;

	return n != 0 ? n : send_fragment(s);
}

/*
 * The extension record_size_limit, which OpenSSL lacks (up to 3.5). It sends
 * our limit and applies the peer's. It does not check that the peer keeps ours.
 * In TLS 1.3 the limit counts one byte more than SSL_set_max_send_fragment: the
 * content type.
 */
static int add_limit(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *len, X509 *x, size_t chain,
                     int *alert, void *arg)
{
	const cssl_ctx_data *s = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));
	unsigned char *p;

	(void)type, (void)x, (void)chain, (void)arg;
	if (s->record_size_limit == 0)
		return 0;
	if (!(context & SSL_EXT_CLIENT_HELLO) && cssl_data_of_ssl(ssl)->peer_limit == 0)
		return 0; /* the client's limit cannot be kept: ignore the extension */
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
	const cssl_ctx_data *s = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));
	unsigned limit = len == 2 ? (unsigned)in[0] << 8 | in[1] : 0, own = send_limit(ssl, s);
	int hello = (context & SSL_EXT_CLIENT_HELLO) != 0;
	int fragment = SSL_SESSION_get_max_fragment_length(SSL_get0_session(ssl)) != TLSEXT_max_fragment_length_DISABLED;

	(void)type, (void)x, (void)chain, (void)arg;
	if (s->record_size_limit == 0)
		return 1; /* a server's that has no limit, see beside.h */
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
	cssl_data_of_ssl(ssl)->peer_limit = limit;
	return SSL_set_max_send_fragment(ssl, limit) == 1;
}

int cssl_ctx_record_size_limit(SSL_CTX *ctx, cssl_reasons *out)
{
	ERR_clear_error();
	return cssl_done(SSL_CTX_add_custom_ext(ctx, RECORD_SIZE_LIMIT,
	                                        SSL_EXT_TLS_ONLY | SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO |
	                                            SSL_EXT_TLS1_3_ENCRYPTED_EXTENSIONS,
	                                        add_limit, free_limit, NULL, parse_limit, NULL), out);
}

int cssl_recordsize_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to)
{
	unsigned f = send_fragment(cssl_data_of_ctx(from)), t = send_fragment(cssl_data_of_ctx(to)), n = f < t ? f : t;

	cssl_data_of_ssl(ssl)->own_limit = n;
	return SSL_set_max_send_fragment(ssl, n) == 1;
}

int cssl_ssl_max_fragment(SSL *ssl)
{
	const SSL_SESSION *s = SSL_get0_session(ssl);
	int mode = s != NULL ? SSL_SESSION_get_max_fragment_length(s) : TLSEXT_max_fragment_length_DISABLED;

	return mode == TLSEXT_max_fragment_length_DISABLED ? 0 : 256 << mode;
}
