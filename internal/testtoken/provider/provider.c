/*
 * An OpenSSL provider that stands for a token in tests: a STORE loader for "token:" URIs, and keys whose private part never
 * leaves it. Its keys are files <name>.pem in TOKEN_DIR, which the compiler is told, and the certificates of a key <name>.crt.
 * Other files there steer it, and each is read anew whenever it counts:
 *
 *   pin         what has to be given before a key is loaded; none is asked for without it
 *   delay       milliseconds that each signature takes
 *   gone        the token is gone: nothing is loaded and nothing is signed
 *   signatures  gets a byte for each signature
 *
 * "token:NAME" is one key, "token:" is all of them. Where certificates are expected, "token:NAME" is those of the key, and no PIN
 * is asked for.
 */
#include "token.h"

#include <dirent.h>
#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OSSL_ITEM reasons[] = {
	{REASON_GONE, (void *)"the token is gone"},
	{REASON_PIN, (void *)"wrong PIN"},
	{REASON_NO_KEY, (void *)"no such key"},
	{0, NULL},
};

/* The store. */

typedef struct {
	DIR *dir;
	char name[256]; /* empty: all */
	int done, asked;
	int expect, certs; /* a type of OSSL_STORE_INFO; certificates that were loaded */
} store;

static void *store_open(void *provctx, const char *uri)
{
	const char *name = strchr(uri, ':');
	store *s;

	(void)provctx;
	if (name == NULL || strchr(name, '/') != NULL || gone() || (s = calloc(1, sizeof *s)) == NULL)
		return NULL;
	snprintf(s->name, sizeof s->name, "%s", name + 1);
	s->dir = opendir(TOKEN_DIR);
	return s;
}

/* The file of the next key, or NULL at the end. */
static const char *next_file(store *s)
{
	const struct dirent *e;

	while (s->dir != NULL && (e = readdir(s->dir)) != NULL) {
		const char *dot = strrchr(e->d_name, '.');
		size_t n = dot == NULL ? 0 : (size_t)(dot - e->d_name);

		if (n > 0 && strcmp(dot, ".pem") == 0 && (s->name[0] == 0 || (strlen(s->name) == n && memcmp(s->name, e->d_name, n) == 0)))
			return e->d_name;
	}
	s->done = 1;
	return NULL;
}

static int log_in(store *s, OSSL_PASSPHRASE_CALLBACK *ask, void *arg)
{
	char want[64], pin[64];
	size_t len = 0;
	int n = content("pin", want, sizeof want), ok;

	if (n < 0 || s->asked)
		return 1;
	s->asked = 1;
	ok = ask(pin, sizeof pin, &len, NULL, arg) && len == (size_t)n && memcmp(pin, want, len) == 0;
	OPENSSL_cleanse(pin, sizeof pin);
	if (!ok)
		set_error(REASON_PIN, NULL);
	return ok;
}

/* Loads the next certificate of a key. */
static int load_cert(store *s, OSSL_CALLBACK *object, void *arg)
{
	int kind = OSSL_OBJECT_CERT, len, ok = 0;
	char file[300], pem[8192];
	unsigned char *der = NULL;
	X509 *x, *next;
	BIO *bio;

	snprintf(file, sizeof file, "%s.crt", s->name);
	bio = content(file, pem, sizeof pem) < 0 ? NULL : BIO_new_mem_buf(pem, -1);
	x = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
	for (int i = 0; x != NULL && i < s->certs; i++) {
		X509_free(x);
		x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	}
	next = x == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
	s->certs++;
	s->done = next == NULL;
	len = x == NULL ? -1 : i2d_X509(x, &der);
	if (len > 0) {
		OSSL_PARAM params[] = {
			OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &kind),
			OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, der, (size_t)len),
			OSSL_PARAM_construct_end(),
		};
		ok = object(params, arg);
	} else {
		set_error(REASON_NO_KEY, "%s", s->name);
	}
	OPENSSL_free(der);
	X509_free(next);
	X509_free(x);
	BIO_free(bio);
	return ok;
}

static int store_load(void *ctx, OSSL_CALLBACK *object, void *object_arg, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
	store *s = ctx;
	int kind = OSSL_OBJECT_PKEY, ok = 0;
	const char *file;
	char pem[8192];
	BIO *bio;
	token_key *k;
	EVP_PKEY *pkey;

	if (s->expect == OSSL_STORE_INFO_CERT)
		return load_cert(s, object, object_arg);
	if (!log_in(s, ask, ask_arg)) {
		s->done = 1;
		return 0;
	}
	file = next_file(s);
	if (file == NULL || content(file, pem, sizeof pem) < 0) {
		set_error(REASON_NO_KEY, "%s", s->name);
		return 0;
	}
	bio = BIO_new_mem_buf(pem, -1);
	pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, inside, NULL);
	BIO_free(bio);
	k = pkey == NULL ? NULL : key_new(EVP_PKEY_is_a(pkey, "EC") ? "EC" : "RSA");
	if (k == NULL) {
		EVP_PKEY_free(pkey);
		return 0;
	}
	k->pkey = pkey;
	k->private = 1;
	if (s->name[0] != 0)
		s->done = 1; /* one name, one key */
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &kind),
		OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, (char *)k->type, 0),
		OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, &k, sizeof k),
		OSSL_PARAM_construct_end(),
	};
	ok = object(params, object_arg);
	key_free(k); /* unless key_load has taken it */
	return ok;
}

static int store_eof(void *ctx)
{
	return ((store *)ctx)->done;
}

static int store_close(void *ctx)
{
	store *s = ctx;

	if (s->dir != NULL)
		closedir(s->dir);
	free(s);
	return 1;
}

static const OSSL_PARAM *store_settable(void *provctx)
{
	static const OSSL_PARAM none[] = {OSSL_PARAM_int(OSSL_STORE_PARAM_EXPECT, NULL), OSSL_PARAM_END};

	(void)provctx;
	return none;
}

static int store_set(void *ctx, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_EXPECT);

	return p == NULL || OSSL_PARAM_get_int(p, &((store *)ctx)->expect);
}

static const OSSL_DISPATCH store_functions[] = {
	{OSSL_FUNC_STORE_OPEN, (void (*)(void))store_open},
	{OSSL_FUNC_STORE_SETTABLE_CTX_PARAMS, (void (*)(void))store_settable},
	{OSSL_FUNC_STORE_SET_CTX_PARAMS, (void (*)(void))store_set},
	{OSSL_FUNC_STORE_LOAD, (void (*)(void))store_load},
	{OSSL_FUNC_STORE_EOF, (void (*)(void))store_eof},
	{OSSL_FUNC_STORE_CLOSE, (void (*)(void))store_close},
	{0, NULL},
};

static const OSSL_ALGORITHM stores[] = {
	{"token", "provider=testtoken", store_functions, "keys of the test token"},
	{NULL, NULL, NULL, NULL},
};

/* The provider. */

static const OSSL_ALGORITHM *query(void *provctx, int operation, int *no_cache)
{
	(void)provctx;
	*no_cache = 0;
	switch (operation) {
	case OSSL_OP_KEYMGMT:
		return keymgmts;
	case OSSL_OP_SIGNATURE:
		return signatures;
	case OSSL_OP_STORE:
		return stores;
	}
	return NULL;
}

static const OSSL_ITEM *reason_strings(void *provctx)
{
	(void)provctx;
	return reasons;
}

static const OSSL_DISPATCH provider[] = {
	{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
	{OSSL_FUNC_PROVIDER_GET_REASON_STRINGS, (void (*)(void))reason_strings},
	{0, NULL},
};

/* May run again for another library context; core's handle then is that one's, whose errors go the same way. */
int OSSL_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provctx)
{
	set_functions(handle, in);
	if (inside == NULL)
		inside = OSSL_LIB_CTX_new();
	*out = provider;
	*provctx = inside;
	return inside != NULL;
}
