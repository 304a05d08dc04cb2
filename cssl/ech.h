/*
 * Encrypted Client Hello (RFC 9849), which OpenSSL has since 4.0. With older
 * headers each function fails, or says that there was none. Nothing here blocks
 * or calls back.
 */
#ifndef CSSL_ECH_H
#define CSSL_ECH_H

#include "errors.h"
#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>

/* What became of it: the numbers of ECHStatus in Go. */
enum { CSSL_ECH_NONE, CSSL_ECH_ACCEPTED, CSSL_ECH_REJECTED, CSSL_ECH_GREASE };

/* Room for a DNS name with its 0. */
enum { CSSL_NAME = 256 };

/* The most bytes of ALPN for the rest of the world to see (OSSL_ECH_MAX_ALPNLEN). */
enum { CSSL_OUTER_ALPN = 255 };

/* Returns 1 if OpenSSL has it. */
int cssl_ech_supported(void);

/*
 * Adds a key with its configurations, as openssl-ech(1) writes them, to a
 * server's ctx. If retry, clients that use another key are sent these. Returns
 * 1, or 0 with the reasons in out.
 */
int cssl_ctx_ech_key(SSL_CTX *ctx, const void *pem, int len, int retry, cssl_reasons *out);
/* Makes a server try each key if none has the number that the client names. */
void cssl_ctx_ech_trial(SSL_CTX *ctx);
/* Makes a client send an extension that only looks like one. */
void cssl_ctx_ech_grease(SSL_CTX *ctx);

/*
 * Makes a client encrypt its ClientHello for one of the configurations in list,
 * an ECHConfigList. outer is the name for the rest of the world to see, or NULL
 * for that of the configuration. alpn are the protocols for the rest of the
 * world, each preceded by its length; if alpn_len is 0, it sees those that are
 * encrypted. All are copied. Lower versions than TLS 1.3 are off then (RFC 9849,
 * section 6.1). Returns 1, or 0 with the reasons in out.
 */
int cssl_ssl_ech(SSL *ssl, const unsigned char *list, size_t len, const char *outer, const unsigned char *alpn, size_t alpn_len,
                 cssl_reasons *out);

/*
 * Returns what became of it, as far as that is known. outer gets the name in
 * the unencrypted ClientHello, if this side has encrypted or decrypted one; it
 * may be empty.
 */
int cssl_ssl_ech_status(SSL *ssl, char outer[CSSL_NAME]);

/*
 * Returns 1 if a client's handshake failed because the server has rejected it.
 * *list is then NULL, or the configurations that a server with a valid
 * certificate for the public name, or with a trusted raw public key, has sent
 * instead, *len bytes, which the caller frees with free.
 */
int cssl_ssl_ech_retry(SSL *ssl, const cssl_reasons *reasons, unsigned char **list, size_t *len);

/*
 * In the ClientHello callback: returns the length of the message that was
 * encrypted, with handshake header, in *out, malloc'ed; the caller frees it.
 * OpenSSL has dropped extensions that neither it nor the SSL_CTX knows. Returns
 * 0 if there was none, and -1 if out of memory.
 */
long cssl_ech_inner(SSL *ssl, unsigned char **out);

#endif
