/*
 * Certificates that several SSL_CTX can share, private keys, trusted CAs and
 * revocation lists. Nothing here calls Go. Input is in memory, so nothing
 * blocks, except cssl_ctx_trust_system, which reads the system's files, and
 * what uses a key in a token.
 *
 * A function with an out parameter stores the reasons there when it fails.
 */
#ifndef CSSL_CERTS_H
#define CSSL_CERTS_H

#include "errors.h"
#include "exdata.h"

#include <openssl/ssl.h>

/*
 * A chain, its key and its OCSP response. Compressed it has no OCSP response, so
 * that with a response it is not. It does not change once it is in use.
 * Its maker frees it, once no SSL_CTX uses it.
 */
typedef struct {
	X509 *leaf;
	STACK_OF(X509) *chain; /* the intermediates */
	EVP_PKEY *key;
	unsigned char *staple; /* OCSP responses in DER, about the leaf and then the intermediates, or NULL */
	int staple_len, staples; /* of all of them, and how many they are */
	int first_staple;        /* the length of the first one */
	struct cssl_compressed {
		unsigned char *p; /* OPENSSL_malloc'ed: the Certificate message, compressed; NULL: not */
		size_t len, whole;
	} *compressed; /* CSSL_COMPRESSIONS, by number of the algorithm; or NULL */
} cssl_cert;

/*
 * Returns 1 if the last error only means the end of the PEM data, and then
 * clears the queue.
 */
int cssl_end_of_pem(void);

/*
 * Reads the certificates of one build. It keeps what OpenSSL would make again
 * for each of them: decoders, and intermediates that were already parsed.
 */
typedef struct cssl_reader cssl_reader;

/*
 * Returns NULL if out of memory. The providers of ctx decode; ctx must outlive
 * the reader. The caller frees it; cssl_reader_free accepts NULL.
 */
cssl_reader *cssl_reader_new(SSL_CTX *ctx);
void cssl_reader_free(cssl_reader *r);

/*
 * Parses a chain in PEM, leaf first. Returns NULL on failure; the caller frees
 * it. If key_len is not 0, key begins with a private key in PEM. That becomes
 * the chain's key if it is unencrypted and of the leaf's type; otherwise key is
 * left NULL and the caller sets it. cssl_cert_free also frees the key.
 */
cssl_cert *cssl_cert_new(cssl_reader *r, const void *chain, int chain_len, const void *key, int key_len, cssl_reasons *out);
/*
 * Adds OCSP responses in DER, one behind the other, to a new c. Returns 1, or 0
 * on failure.
 */
int cssl_cert_staple(cssl_cert *c, const unsigned char *der, int len, cssl_reasons *out);
/*
 * Compresses a new c for a server, with the algorithms of ssl's SSL_CTX, where
 * that makes it shorter. ssl is a server's without a handshake, whose
 * certificates change. What cannot be done is left out.
 */
void cssl_cert_compress(cssl_cert *c, SSL *ssl);
void cssl_cert_free(cssl_cert *c);
/* Returns how many cssl_cert exist. */
long cssl_certs(void);
/*
 * Returns OpenSSL's name of the key type, such as "RSA" or "EC", or NULL. An
 * SSL has at most one certificate of each type.
 */
const char *cssl_cert_type(const cssl_cert *c);

/*
 * Encodes leaf, which may be NULL, and the certificates of chain from index
 * first on, in DER. Each follows its length: 4 bytes, most significant first.
 * Returns the total length; *out is malloc'ed and the caller frees it. With
 * nothing to encode, or out of memory, returns 0 and *out is NULL.
 */
long cssl_put_chain(const X509 *leaf, const STACK_OF(X509) *chain, int first, unsigned char **out);

/* Writes these 4 bytes, and returns what follows them. */
unsigned char *cssl_put_length(unsigned char *p, long n);

/* Encodes a public key (SubjectPublicKeyInfo) in the same way. */
long cssl_put_key(const EVP_PKEY *key, unsigned char **out);

/*
 * Parses what cssl_put_chain has encoded. Returns NULL on failure; the caller
 * frees it.
 */
STACK_OF(X509) *cssl_take_chain(const unsigned char *p, long len);

/*
 * Makes c the certificate for its key type, in ctx or in ssl. Takes references,
 * no copies. If the key is in a token, comparing it with the certificate may
 * block on the token. Returns 0 if they do not match or the security level
 * forbids it, else 1.
 */
int cssl_ctx_use(SSL_CTX *ctx, const cssl_cert *c, cssl_reasons *out);
int cssl_ssl_use(SSL *ssl, const cssl_cert *c, cssl_reasons *out);
/* cssl_ssl_use inside a handshake: it leaves the error queue alone. */
int cssl_ssl_put(SSL *ssl, const cssl_cert *c);

/*
 * Turns certificate compression off, which OpenSSL 3.2 and newer have on
 * (SSL_CTX_set_options(3)). The macros are those of openssl/ssl.h, which 3.0
 * lacks; it ignores the bits.
 */
#define CSSL_NO_COMPRESSION ((uint64_t)1 << 32 /* SSL_OP_NO_TX_CERTIFICATE_COMPRESSION */ | (uint64_t)1 << 33 /* …_RX_… */)

/*
 * Sets how certificates may be compressed, in both directions, where that is not
 * turned off. Needs OpenSSL 3.2. Returns 0 if OpenSSL was built without one of
 * the algorithms.
 */
int cssl_ctx_compress(SSL_CTX *ctx, const int *algorithms, size_t count);
/* Makes ssl compress with the algorithms of ctx, if it has any. Returns 1, or 0 on failure. */
int cssl_ssl_compress(SSL *ssl, const SSL_CTX *ctx);

/*
 * Parses a private key in PEM. Returns NULL on failure; the caller frees it.
 * pass_len is -1 if there is no passphrase. *asked is the greatest length of a
 * passphrase that OpenSSL would take, or 0 if it did not ask for one.
 */
EVP_PKEY *cssl_ctx_read_key(SSL_CTX *ctx, const void *pem, int len, const void *pass, int pass_len, int *asked, cssl_reasons *out);
/*
 * Trusts the CAs in PEM; a server also sends their names when it requests a
 * client certificate. Returns their number, or -1.
 */
int cssl_ctx_trust(SSL_CTX *ctx, const void *pem, int len, int server, cssl_reasons *out);
int cssl_ctx_trust_system(SSL_CTX *ctx, cssl_reasons *out);
/* Adds a name in DER to those in a server's certificate request. Returns 1, or 0. */
int cssl_ctx_ca_name(SSL_CTX *ctx, const unsigned char *der, long len, cssl_reasons *out);
/*
 * Adds the revocation lists in PEM, and checks leaf certificates against them.
 * Returns their number, or -1.
 */
int cssl_ctx_crl(SSL_CTX *ctx, const void *pem, int len, cssl_reasons *out);

#endif
