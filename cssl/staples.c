//go:build cgo

#include "beside.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/*
 * What a client requests about the server's certificate. OpenSSL's own support
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
