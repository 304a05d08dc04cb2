/*
 * How large records are: RFC 6066's fragment length, RFC 8449's limit, and the
 * setting of OpenSSL. Nothing here calls into Go or blocks.
 */
#ifndef CSSL_RECORDSIZE_H
#define CSSL_RECORDSIZE_H

#include "errors.h"

#include <openssl/ssl.h>

/*
 * Sends and takes RFC 8449's extension, with the limit that is beside ctx. 1,
 * or 0 with the reasons in out.
 */
int cssl_ctx_record_size_limit(SSL_CTX *ctx, cssl_reasons *out);

/*
 * A part of changing from one SSL_CTX to another: the smaller setting of the
 * two. 0 if OpenSSL refuses.
 */
int cssl_recordsize_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to);

/* The fragment length that was agreed on (RFC 6066), in bytes; 0 is none. */
int cssl_ssl_max_fragment(SSL *ssl);

#endif
