//go:build cgo

#include "beside.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <stdlib.h>
#include <string.h>

/*
 * What is sent about the server's certificates. OpenSSL's own support
 * of timestamps (SSL_CTX_enable_ct(3)) also parses the certificate and the OCSP
 * response, and leaves errors about these on the queue.
 */

/* Keeps the timestamps of the leaf. Runs inside a handshake. */
static int parse_timestamps(SSL *ssl, unsigned type, unsigned context, const unsigned char *in, size_t len, X509 *x, size_t index,
                            int *alert, void *arg)
{
	cssl_ssl_data *d = cssl_data_of_ssl(ssl);

	(void)type, (void)context, (void)x, (void)arg;
	if (index > 0 || len == 0)
		return 1;
	free(d->timestamps);
	d->timestamps_len = 0;
	d->timestamps = malloc(len);
	if (d->timestamps == NULL) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return 0;
	}
	memcpy(d->timestamps, in, len);
	d->timestamps_len = len;
	return 1;
}

int cssl_ctx_staples(SSL_CTX *ctx, cssl_reasons *out)
{
	ERR_clear_error();
	return cssl_done(SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp) &&
	                     SSL_CTX_add_custom_ext(ctx, TLSEXT_TYPE_signed_certificate_timestamp,
	                                            SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO | SSL_EXT_TLS1_3_CERTIFICATE, NULL,
	                                            NULL, NULL, parse_timestamps, NULL),
	                 out);
}

/*
 * The commands of SSL_get0_tlsext_status_ocsp_resp_ex(3) and its counterpart,
 * since 3.6. Older versions return 0.
 */
enum { GET_RESPONSES = 142, SET_RESPONSES = 143 };

static void free_response(void *r)
{
	OCSP_RESPONSE_free(r);
}

/*
 * Returns the responses in DER as a STACK_OF(OCSP_RESPONSE), a type that 3.0
 * lacks, which the caller frees; or NULL.
 */
static OPENSSL_STACK *responses(const cssl_cert *c)
{
	OPENSSL_STACK *all = OPENSSL_sk_new_reserve(NULL, c->staples);
	const unsigned char *p = c->staple;

	while (all != NULL && p < c->staple + c->staple_len) {
		OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &p, c->staple + c->staple_len - p);

		if (r == NULL) {
			OPENSSL_sk_pop_free(all, free_response);
			return NULL;
		}
		OPENSSL_sk_push(all, r); /* there is room */
	}
	return all;
}

int cssl_ssl_staple(SSL *ssl, const cssl_cert *c)
{
	OPENSSL_STACK *all;
	unsigned char *der;

	if (c->staples > 1 && SSL_version(ssl) >= TLS1_3_VERSION)
		return (all = responses(c)) != NULL && SSL_ctrl(ssl, SET_RESPONSES, 0, all); /* takes all */
	der = OPENSSL_memdup(c->staple, (size_t)c->first_staple);
	return der != NULL && SSL_set_tlsext_status_ocsp_resp(ssl, der, c->first_staple); /* takes der */
}

/* Writes a response, or nothing, behind its length to p, if that is not NULL. Returns how much. */
static long put_response(OCSP_RESPONSE *r, unsigned char *p)
{
	int n = r != NULL ? i2d_OCSP_RESPONSE(r, NULL) : 0;

	if (n < 0)
		n = 0;
	if (p != NULL) {
		cssl_put_length(p, n);
		p += 4;
		if (n > 0)
			i2d_OCSP_RESPONSE(r, &p);
	}
	return n + 4;
}

long cssl_put_staples(SSL *ssl, unsigned char **out)
{
	OPENSSL_STACK *all = NULL;
	long total = 0, at = 0;

	*out = NULL;
	SSL_ctrl(ssl, GET_RESPONSES, 0, &all);
	for (int i = 1; i < OPENSSL_sk_num(all); i++)
		total += put_response(OPENSSL_sk_value(all, i), NULL);
	if (total > 0)
		*out = malloc((size_t)total);
	for (int i = 1; *out != NULL && i < OPENSSL_sk_num(all); i++)
		at += put_response(OPENSSL_sk_value(all, i), *out + at);
	return at;
}
