/* What provider.c, keys.c and token.c share. Each calls those behind it. */
#ifndef TOKEN_H
#define TOKEN_H

#include <openssl/core_dispatch.h>
#include <openssl/evp.h>

#ifndef TOKEN_DIR
#define TOKEN_DIR "."
#endif

/* Where the private keys really are; never freed, since threads have state in it. */
extern OSSL_LIB_CTX *inside;

enum { REASON_GONE = 1, REASON_PIN, REASON_NO_KEY };

/* Takes the functions of OpenSSL that set_error, like ERR_raise_data, needs. */
void set_functions(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in);
void set_error(unsigned reason, const char *format, ...);

/* A file of TOKEN_DIR, with a NUL behind it. Answers its length, or -1 if there is none. */
int content(const char *name, char *buf, size_t size);
/* True if the token is gone, with an error that says so. */
int gone(void);

typedef struct {
	EVP_PKEY *pkey; /* in inside; NULL until import */
	const char *type;
	int private;
} token_key;

/* A key of type "EC" or "RSA" without content, or NULL; and its end, which takes NULL. */
void *key_new(const char *type);
void key_free(void *key);

extern const OSSL_ALGORITHM keymgmts[], signatures[];

#endif
