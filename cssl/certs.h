/*
 * Certificates that several SSL_CTX can share, keys, and what is trusted. Bytes come from memory, so nothing here blocks, but
 * cssl_ctx_trust_system on the system's files. Nothing calls Go.
 */
#ifndef CSSL_CERTS_H
#define CSSL_CERTS_H

#include "errors.h"

#include <openssl/ssl.h>

/* A chain, its key, and what is stapled to it. It does not change; who has made it frees it when no SSL_CTX has it any more. */
typedef struct {
	X509 *leaf;
	STACK_OF(X509) *chain; /* the intermediates */
	EVP_PKEY *key;
	unsigned char *staple; /* an OCSP response in DER, or NULL */
	int staple_len;
} cssl_cert;

/* What the certificates of one build are read with. It keeps what OpenSSL would make anew for each: decoders, and intermediates. */
typedef struct cssl_reader cssl_reader;

/* NULL without memory. ctx, whose providers decode, must outlive it. The caller frees it; NULL is nothing to free. */
cssl_reader *cssl_reader_new(SSL_CTX *ctx);
void cssl_reader_free(cssl_reader *r);

/*
 * A chain, leaf first, in PEM; the caller frees it. NULL with the reasons in out. key, unless key_len is 0, begins with a
 * private key in PEM: it becomes that of the chain if it is in the clear and of the leaf's type. Otherwise the caller sets
 * the key, which goes with the chain.
 */
cssl_cert *cssl_cert_new(cssl_reader *r, const void *chain, int chain_len, const void *key, int key_len, cssl_reasons *out);
/* Staples an OCSP response in DER to a new c. 1 on success, or 0 with the reasons in out. */
int cssl_cert_staple(cssl_cert *c, const unsigned char *der, int len, cssl_reasons *out);
void cssl_cert_free(cssl_cert *c);
/* How many there are. */
long cssl_certs(void);
/* OpenSSL's name for the type of the key, such as "RSA" or "EC": of each, an SSL has one. */
const char *cssl_cert_type(const cssl_cert *c);

/*
 * leaf, which may be NULL, and the certificates of chain from first on, in DER, each behind its length as 4 bytes, most significant
 * first. *out is malloc'ed, the caller's to free; NULL, and 0, without memory or where there is none.
 */
long cssl_put_chain(const X509 *leaf, const STACK_OF(X509) *chain, int first, unsigned char **out);

/* Makes c the certificate for its type of key, in ctx or in ssl, if the key and the security level fit. 0 with the reasons in out. */
int cssl_ctx_use(SSL_CTX *ctx, const cssl_cert *c, cssl_reasons *out);
int cssl_ssl_use(SSL *ssl, const cssl_cert *c, cssl_reasons *out);

/*
 * The private key in PEM, the caller's to free, or NULL. pass_len of -1 is no passphrase. asked says how long a passphrase may
 * be, or 0 if the key that was read, or not read, needs none.
 */
EVP_PKEY *cssl_ctx_read_key(SSL_CTX *ctx, const void *pem, int len, const void *pass, int pass_len, int *asked, cssl_reasons *out);
/* Trusted CAs from PEM; for a server also the names that it asks client certificates of. Answers how many, or -1. */
int cssl_ctx_trust(SSL_CTX *ctx, const void *pem, int len, int server, cssl_reasons *out);
int cssl_ctx_trust_system(SSL_CTX *ctx, cssl_reasons *out);
/* Revocation lists from PEM, and checking of the leaf against them. Answers how many, or -1. */
int cssl_ctx_crl(SSL_CTX *ctx, const void *pem, int len, cssl_reasons *out);

#endif
