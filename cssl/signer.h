/*
 * Private keys that are not OpenSSL's: an EVP_PKEY whose signatures, and RSA
 * decryptions, are made by a crypto.Signer. A provider of this package holds
 * them. It is loaded in a library context of its own, so that no fetch finds
 * its algorithms but one for such a key.
 */
#ifndef CSSL_SIGNER_H
#define CSSL_SIGNER_H

#include "errors.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

/* How a message is hashed before it is signed: the numbers of crypto.Hash. */
enum {
	CSSL_HASH_NONE = 0, /* Ed25519 */
	CSSL_HASH_SHA1 = 3,
	CSSL_HASH_SHA224 = 4,
	CSSL_HASH_SHA256 = 5,
	CSSL_HASH_SHA384 = 6,
	CSSL_HASH_SHA512 = 7,
	CSSL_HASH_MD5SHA1 = 8,
};

/*
 * The length of a premaster secret of RSA key exchange (RFC 5246, section
 * 7.4.7.1).
 */
enum { CSSL_PREMASTER = 48 };

/*
 * Loads the provider, once. Does not block or call back. Returns 1, or 0 with
 * the reasons in out. What it makes is never freed, see library.c.
 */
int cssl_signer_init(cssl_reasons *out);

/*
 * Returns a private key for a public one, of which it takes a reference;
 * signatures are made by cssl_go_sign with signer and, if decrypts, RSA
 * decryptions by cssl_go_decrypt. The caller frees the key. Returns NULL if the
 * type of public is not supported, or if its signatures cannot be used with
 * library and properties, with the reasons in out. signer belongs to the key,
 * also on failure: cssl_go_signer_free gets it. Does not block, or sign.
 */
EVP_PKEY *cssl_signer_key(OSSL_LIB_CTX *library, const char *properties, EVP_PKEY *public, uintptr_t signer, int decrypts,
                          cssl_reasons *out);

/*
 * Returns the handle of the error of a signature or decryption that failed in a
 * call on this thread, and forgets it; 0 if none did. The caller deletes the
 * handle.
 */
uintptr_t cssl_signer_failure(void);

/*
 * Implemented in Go. They run inside a handshake and block as long as the
 * signer does. cssl_go_sign returns the length of the signature that it wrote
 * to sig, at most size; on failure it returns 0. cssl_go_decrypt writes
 * CSSL_PREMASTER bytes to out, which are random on failure; other is a second
 * version that the secret may begin with, or 0. On failure both set *failure to
 * the handle of an error.
 */
extern size_t cssl_go_sign(uintptr_t signer, int hash, int pss, unsigned char *message, size_t len, unsigned char *sig, size_t size,
                           uintptr_t *failure);
extern void cssl_go_decrypt(uintptr_t signer, unsigned char *in, size_t len, unsigned version, unsigned other, unsigned char *out,
                            uintptr_t *failure);
/* Deletes a handle, of a signer or an error. */
extern void cssl_go_signer_free(uintptr_t handle);

#endif
