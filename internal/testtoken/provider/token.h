/* Shared by provider.c, keys.c and token.c. Each calls only those after it. */
#ifndef TOKEN_H
#define TOKEN_H

#include <openssl/core_dispatch.h>
#include <openssl/evp.h>

#ifndef TOKEN_DIR
#define TOKEN_DIR "."
#endif

/*
 * The library context of the private keys. It is never freed, since threads
 * keep state in it.
 */
extern OSSL_LIB_CTX *inside;

enum { REASON_GONE = 1, REASON_PIN, REASON_NO_KEY };

/*
 * set_functions stores the functions of OpenSSL that set_error needs. set_error
 * works like ERR_raise_data.
 */
void set_functions(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in);
void set_error(unsigned reason, const char *format, ...);

/*
 * Reads a file of TOKEN_DIR into buf and adds a NUL. Returns its length, or -1
 * if there is no such file.
 */
int content(const char *name, char *buf, size_t size);
/* Returns 1 if the token is gone, and then sets an error. */
int gone(void);

typedef struct {
	EVP_PKEY *pkey; /* made in inside; NULL until import */
	const char *type;
	int private;
} token_key;

/*
 * key_new makes an empty key of type "EC" or "RSA", or returns NULL. key_free
 * accepts NULL.
 */
void *key_new(const char *type);
void key_free(void *key);

extern const OSSL_ALGORITHM keymgmts[], signatures[];

#endif
