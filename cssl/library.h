/*
 * Library contexts (OSSL_LIB_CTX), and keys and certificates that are named by
 * URI (OSSL_STORE) or are in PKCS#12. A NULL library is the process's default
 * one; NULL properties are none.
 */
#ifndef CSSL_LIBRARY_H
#define CSSL_LIBRARY_H

#include "errors.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdint.h>

/* Where cssl_library_new failed; 0 and up is the index of a provider. */
enum { CSSL_LIBRARY_CREATE = -1, CSSL_LIBRARY_PATH = -2, CSSL_LIBRARY_CONFIG = -3, CSSL_LIBRARY_ACTIVE = -4 };

/*
 * Makes a library context. path (where modules are searched for) and config (an
 * openssl.cnf) may be NULL. providers holds count names, each followed by a
 * NUL; they are loaded in this order. Blocks on files, and on what the modules
 * do when they start (open a token, run self-tests). Calls no callback. Returns
 * NULL on failure, with the step and the reasons. It is never freed; library.c
 * says why.
 */
OSSL_LIB_CTX *cssl_library_new(const char *path, const char *config, const char *providers, int count, int *step,
                               cssl_reasons *out);

/* Returns 1 if a provider of the library has the digest. Does not block. */
int cssl_library_digest(OSSL_LIB_CTX *library, const char *properties, const char *name);

/*
 * Writes the names of the active providers to names, each followed by a comma,
 * as far as size allows. Does not block.
 */
void cssl_library_providers(OSSL_LIB_CTX *library, char *names, int size);

/*
 * A part of cssl_init. Keeps OpenSSL from asking for a PIN on the terminal.
 * Otherwise the pkcs11 provider would, even inside a handshake when its token
 * needs a new login, and the thread would hang. Returns 1 on success.
 */
int cssl_keystore_init(void);

/*
 * Returns 1 if a provider of the library has a loader for the URI scheme. Does
 * not block.
 */
int cssl_keystore_known(OSSL_LIB_CTX *library, const char *properties, const char *scheme);

/*
 * Loads the private key that uri names; the caller frees it. *keys is the
 * number of keys found. Returns NULL unless that is 1, with the reasons in out.
 * Blocks as long as the token does. If the loader needs a PIN or a passphrase,
 * it calls cssl_go_pin with pin, on this thread.
 */
EVP_PKEY *cssl_keystore_key(OSSL_LIB_CTX *library, const char *properties, const char *uri, uintptr_t pin, int *keys,
                            cssl_reasons *out);

/* What was found before a function below succeeded or failed. */
typedef struct {
	int read;    /* PKCS#12: its outer structure can be read */
	int mac;     /* PKCS#12: it has a MAC */
	int slow;    /* PKCS#12: its MAC has more rounds than CSSL_PKCS12_ROUNDS */
	int open;    /* PKCS#12: it was decrypted */
	int key;     /* PKCS#12: it has a private key that was wanted */
	int certs;   /* certificates in the chain */
	int outside; /* certificates that are not in it */
} cssl_keystore;

/*
 * Loads the certificates that uri names, in any order, and writes them in PEM:
 * the leaf, its issuers, theirs and so on. Each must be in this chain. Returns
 * NULL on failure. Blocks and calls cssl_go_pin like cssl_keystore_key. The
 * caller frees the BIO, which wipes its memory.
 */
BIO *cssl_keystore_chain(OSSL_LIB_CTX *library, const char *properties, const char *uri, uintptr_t pin, cssl_keystore *found,
                         cssl_reasons *out);

/*
 * The same for a PKCS#12 file (RFC 7292). If want_key is 1, the first private
 * key follows in PEM, unencrypted; it is an error if there is none. A NULL
 * passphrase tries none, and an empty one. The library's providers decrypt. The
 * MAC is checked before anything is decrypted, so that only who knows the
 * passphrase chooses how long that takes; of a file without a MAC, everybody
 * does. Calls nothing back.
 */
#define CSSL_PKCS12_ROUNDS 10000000
BIO *cssl_keystore_pkcs12(OSSL_LIB_CTX *library, const char *properties, const void *p, int len, const char *passphrase, int want_key,
                          cssl_keystore *found, cssl_reasons *out);

/* Implemented in Go. Writes the PIN to buf and returns its length, or -1. */
extern int cssl_go_pin(uintptr_t handle, char *buf, int size);

#endif
