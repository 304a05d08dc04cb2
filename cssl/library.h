/*
 * Library contexts (OSSL_LIB_CTX) and keys by URI (OSSL_STORE). NULL for a
 * library is the process's default one, and NULL for properties is none.
 */
#ifndef CSSL_LIBRARY_H
#define CSSL_LIBRARY_H

#include "errors.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdint.h>

/* What cssl_library_new may fail at; 0 and up is the index of a provider. */
enum { CSSL_LIBRARY_CREATE = -1, CSSL_LIBRARY_PATH = -2, CSSL_LIBRARY_CONFIG = -3, CSSL_LIBRARY_ACTIVE = -4 };

/*
 * Makes a library context. path (where modules are looked for) and config (an
 * openssl.cnf) may be NULL. providers are count names with a NUL behind each,
 * loaded in this order. Blocks on files, on what the modules do when they start
 * (a token, a self-test), and on nothing else. On failure it answers NULL, with
 * what failed in step. See library.c on why none is ever freed.
 */
OSSL_LIB_CTX *cssl_library_new(const char *path, const char *config, const char *providers, int count, int *step,
                               cssl_reasons *out);

/* 1 if a provider of the library has the digest. Blocks on nothing. */
int cssl_library_digest(OSSL_LIB_CTX *library, const char *properties, const char *name);

/*
 * The names of the providers that are active, each with a comma behind it, as
 * far as size allows. Blocks on nothing.
 */
void cssl_library_providers(OSSL_LIB_CTX *library, char *names, int size);

/*
 * A part of cssl_init: from here on nothing in this process asks a terminal for
 * a PIN. The pkcs11 provider would, even within a handshake when its token
 * wants a new login, and the thread would hang.
 */
int cssl_keystore_init(void);

/*
 * 1 if a provider of the library has a loader for URIs of scheme. Blocks on
 * nothing.
 */
int cssl_keystore_known(OSSL_LIB_CTX *library, const char *properties, const char *scheme);

/*
 * The private key that uri names, the caller's to free. pin is a handle for
 * cssl_go_pin. keys says how many there were. It answers NULL unless that is 1,
 * with OpenSSL's reasons. It blocks on the token for as long as the token
 * takes, and calls cssl_go_pin if the loader asks for a PIN or a passphrase, on
 * this thread.
 */
EVP_PKEY *cssl_keystore_key(OSSL_LIB_CTX *library, const char *properties, const char *uri, uintptr_t pin, int *keys,
                         cssl_reasons *out);

/* Implemented in Go: writes the PIN to buf and answers its length, or -1. */
extern int cssl_go_pin(uintptr_t handle, char *buf, int size);

#endif
