/*
 * Certificates that several SSL_CTX can share, and the choice of one by the
 * server name that a client asks for.
 */
#ifndef CSSL_BYNAME_H
#define CSSL_BYNAME_H

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

/* NULL without memory. ctx, whose providers decode, must outlive it. None of the functions here blocks, calls back or calls Go. */
cssl_reader *cssl_reader_new(SSL_CTX *ctx);
void cssl_reader_free(cssl_reader *r);

/* The key in PEM that begins with a PRIVATE KEY, the caller's to free. NULL, and no error, if it is not that. */
EVP_PKEY *cssl_reader_key(cssl_reader *r, const unsigned char *pem, int len);

/* A chain, leaf first, in PEM. NULL with the reasons in out. The caller sets its key, which goes with it. */
cssl_cert *cssl_cert_new(cssl_reader *r, const void *chain, int chain_len, cssl_reasons *out);
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

/* Part of cssl_init. */
int cssl_names_init(void);
/*
 * Makes room for count names in ctx. own, of own_count, are the certificates of ctx itself; no more is done with them than to
 * staple. All certificates must outlive ctx. 0 without memory.
 */
int cssl_ctx_names(SSL_CTX *ctx, size_t count, cssl_cert *const *own, size_t own_count);
/*
 * Adds a name, in lower case, exact or "*." and a domain; in the order of memcmp, a shorter one before one that begins with it. Who
 * asks for it gets one of certs, and sessions with session_id_context (32 bytes). 0 without memory.
 */
int cssl_ctx_name(SSL_CTX *ctx, const char *name, size_t len, cssl_cert *const *certs, size_t count,
                  const unsigned char *session_id_context);
/*
 * Makes the choice for a ClientHello that is under way, before the session is looked up, if ctx has names; what was chosen
 * first stays. keep_sessions leaves ssl's session id context alone. 0 if it fails.
 */
int cssl_names_choose(SSL *ssl, int keep_sessions);
/* True if a name was chosen by. */
int cssl_names_chosen(const SSL *ssl);

#endif
