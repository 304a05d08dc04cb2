/*
 * An OpenSSL provider that stands for a token in tests: a STORE loader for "token:" URIs, and keys whose private part never
 * leaves it. Its keys are files <name>.pem in TOKEN_DIR, which the compiler is told. Other files there steer it, and each
 * is read anew whenever it counts:
 *
 *   pin         what has to be given before a key is loaded; none is asked for without it
 *   delay       milliseconds that each signature takes
 *   gone        the token is gone: nothing is loaded and nothing is signed
 *   signatures  gets a byte for each signature
 *
 * "token:NAME" is one key, "token:" is all of them.
 */
#include <dirent.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef TOKEN_DIR
#define TOKEN_DIR "."
#endif

enum { REASON_GONE = 1, REASON_PIN, REASON_NO_KEY };

static const OSSL_ITEM reasons[] = {
	{REASON_GONE, (void *)"the token is gone"},
	{REASON_PIN, (void *)"wrong PIN"},
	{REASON_NO_KEY, (void *)"no such key"},
	{0, NULL},
};

static OSSL_LIB_CTX *inside; /* where the private keys really are; never freed, since threads have state in it */
static const OSSL_CORE_HANDLE *core;
static OSSL_FUNC_core_new_error_fn *new_error;
static OSSL_FUNC_core_vset_error_fn *vset_error;

static void set_error(unsigned reason, const char *format, ...)
{
	va_list args;

	new_error(core);
	va_start(args, format);
	vset_error(core, reason, format, args);
	va_end(args);
}

/* A file of TOKEN_DIR, with a NUL behind it. Answers its length, or -1 if there is none. */
static int content(const char *name, char *buf, size_t size)
{
	char path[4096];
	FILE *f;
	size_t n;

	snprintf(path, sizeof path, "%s/%s", TOKEN_DIR, name);
	if ((f = fopen(path, "r")) == NULL)
		return -1;
	n = fread(buf, 1, size - 1, f);
	buf[n] = 0;
	fclose(f);
	return (int)n;
}

static int gone(void)
{
	char c[2];

	if (content("gone", c, sizeof c) < 0)
		return 0;
	set_error(REASON_GONE, NULL);
	return 1;
}

/* Keys. */

typedef struct {
	EVP_PKEY *pkey; /* in inside; NULL until import */
	const char *type;
	int private;
} token_key;

static void *key_new(const char *type)
{
	token_key *k = calloc(1, sizeof *k);

	if (k != NULL)
		k->type = type;
	return k;
}

static void *ec_new(void *provctx)
{
	(void)provctx;
	return key_new("EC");
}

static void *rsa_new(void *provctx)
{
	(void)provctx;
	return key_new("RSA");
}

static void key_free(void *key)
{
	token_key *k = key;

	if (k != NULL)
		EVP_PKEY_free(k->pkey);
	free(k);
}

/* reference is a token_key*, which the caller gets. */
static void *key_load(const void *reference, size_t size)
{
	token_key *k;

	if (size != sizeof k)
		return NULL;
	k = *(token_key **)reference;
	*(token_key **)reference = NULL;
	return k;
}

static int key_has(const void *key, int selection)
{
	const token_key *k = key;

	return k->pkey != NULL && ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0 || k->private);
}

static int key_match(const void *a, const void *b, int selection)
{
	const token_key *x = a, *y = b;

	if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) == 0)
		return EVP_PKEY_parameters_eq(x->pkey, y->pkey) == 1;
	return EVP_PKEY_eq(x->pkey, y->pkey) == 1;
}

static int key_import(void *key, int selection, const OSSL_PARAM params[])
{
	token_key *k = key;
	EVP_PKEY_CTX *c;
	int ok;

	if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)
		return 0;
	c = EVP_PKEY_CTX_new_from_name(inside, k->type, NULL);
	ok = c != NULL && EVP_PKEY_fromdata_init(c) == 1 &&
	     EVP_PKEY_fromdata(c, &k->pkey, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)params) == 1;
	EVP_PKEY_CTX_free(c);
	return ok;
}

static int key_export(void *key, int selection, OSSL_CALLBACK *callback, void *arg)
{
	token_key *k = key;
	OSSL_PARAM *params = NULL;
	int ok;

	if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)
		return 0;
	ok = EVP_PKEY_todata(k->pkey, EVP_PKEY_PUBLIC_KEY, &params) == 1 && callback(params, arg);
	OSSL_PARAM_free(params);
	return ok;
}

static const OSSL_PARAM ec_public[] = {
	OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
	OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
	OSSL_PARAM_END,
};

static const OSSL_PARAM rsa_public[] = {
	OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
	OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
	OSSL_PARAM_END,
};

static const OSSL_PARAM *ec_types(int selection)
{
	return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : ec_public;
}

static const OSSL_PARAM *rsa_types(int selection)
{
	return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : rsa_public;
}

static const OSSL_PARAM facts[] = {
	OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
	OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
	OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
	OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
	OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
	OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
	OSSL_PARAM_END,
};

static const OSSL_PARAM *key_gettable(void *provctx)
{
	(void)provctx;
	return facts;
}

/* Only what is in facts: the key inside would give its private part too. */
static int key_get(void *key, OSSL_PARAM params[])
{
	const token_key *k = key;

	for (const OSSL_PARAM *f = facts; f->key != NULL; f++) {
		OSSL_PARAM one[2] = {OSSL_PARAM_END, OSSL_PARAM_END};
		OSSL_PARAM *p = OSSL_PARAM_locate(params, f->key);

		if (p == NULL)
			continue;
		one[0] = *p;
		EVP_PKEY_get_params(k->pkey, one);
		p->return_size = one[0].return_size;
	}
	return 1;
}

static const char *ec_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

static const char *rsa_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "RSA" : NULL;
}

#define KEYMGMT(type) \
	{ \
		{OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))type##_new}, \
		{OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))key_free}, \
		{OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))key_load}, \
		{OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))key_has}, \
		{OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))key_match}, \
		{OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))key_import}, \
		{OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))type##_types}, \
		{OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))key_export}, \
		{OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))type##_types}, \
		{OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))key_get}, \
		{OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))key_gettable}, \
		{OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))type##_operation}, \
		{0, NULL}, \
	}

static const OSSL_DISPATCH ec_keymgmt[] = KEYMGMT(ec);
static const OSSL_DISPATCH rsa_keymgmt[] = KEYMGMT(rsa);

static const OSSL_ALGORITHM keymgmts[] = {
	{"EC:id-ecPublicKey:1.2.840.10045.2.1", "provider=testtoken", ec_keymgmt, "EC"},
	{"RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=testtoken", rsa_keymgmt, "RSA"},
	{NULL, NULL, NULL, NULL},
};

/* Signatures: EVP_DigestSign of the key inside, later and only if the token is there. */

typedef struct {
	EVP_MD_CTX *md;
	EVP_PKEY_CTX *pkey; /* md's */
} signature;

static void *sign_new(void *provctx, const char *properties)
{
	(void)provctx, (void)properties;
	return calloc(1, sizeof(signature));
}

static void sign_free(void *ctx)
{
	signature *s = ctx;

	if (s != NULL)
		EVP_MD_CTX_free(s->md);
	free(s);
}

static void *sign_dup(void *ctx)
{
	const signature *from = ctx;
	signature *to = calloc(1, sizeof *to);

	if (to == NULL || from->md == NULL)
		return to;
	to->md = EVP_MD_CTX_new();
	if (to->md == NULL || !EVP_MD_CTX_copy_ex(to->md, from->md)) {
		sign_free(to);
		return NULL;
	}
	to->pkey = EVP_MD_CTX_get_pkey_ctx(to->md);
	return to;
}

static int sign_init(void *ctx, const char *digest, void *key, const OSSL_PARAM params[])
{
	signature *s = ctx;
	token_key *k = key;

	if (k == NULL) /* again, with the same one */
		return s->md != NULL && EVP_DigestSignInit_ex(s->md, NULL, digest, inside, NULL, NULL, params) == 1;
	if (!k->private)
		return 0;
	EVP_MD_CTX_free(s->md);
	s->md = EVP_MD_CTX_new();
	return s->md != NULL && EVP_DigestSignInit_ex(s->md, &s->pkey, digest, inside, NULL, k->pkey, params) == 1;
}

static int sign_update(void *ctx, const unsigned char *data, size_t len)
{
	return EVP_DigestSignUpdate(((signature *)ctx)->md, data, len) == 1;
}

static int sign_final(void *ctx, unsigned char *sig, size_t *len, size_t size)
{
	signature *s = ctx;
	char text[32];
	FILE *f;

	if (sig == NULL)
		return EVP_DigestSignFinal(s->md, NULL, len) == 1;
	if (content("delay", text, sizeof text) > 0) {
		long ms = strtol(text, NULL, 10);
		struct timespec t = {ms / 1000, ms % 1000 * 1000000};

		while (nanosleep(&t, &t) != 0)
			;
	}
	if (gone())
		return 0;
	if ((f = fopen(TOKEN_DIR "/signatures", "a")) != NULL) {
		fputc('.', f);
		fclose(f);
	}
	*len = size;
	return EVP_DigestSignFinal(s->md, sig, len) == 1;
}

static const OSSL_PARAM sign_params[] = {
	OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
	OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
	OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
	OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
	OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
	OSSL_PARAM_END,
};

static const OSSL_PARAM *sign_settable(void *ctx, void *provctx)
{
	(void)ctx, (void)provctx;
	return sign_params;
}

static int sign_set(void *ctx, const OSSL_PARAM params[])
{
	return EVP_PKEY_CTX_set_params(((signature *)ctx)->pkey, params) == 1;
}

static int sign_get(void *ctx, OSSL_PARAM params[])
{
	return EVP_PKEY_CTX_get_params(((signature *)ctx)->pkey, params) == 1;
}

static const OSSL_DISPATCH sign[] = {
	{OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))sign_new},
	{OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))sign_free},
	{OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))sign_dup},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))sign_init},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))sign_update},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))sign_final},
	{OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))sign_set},
	{OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))sign_settable},
	{OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))sign_get},
	{OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))sign_settable},
	{0, NULL},
};

static const OSSL_ALGORITHM signatures[] = {
	{"ECDSA", "provider=testtoken", sign, "ECDSA"},
	{"RSA:rsaEncryption", "provider=testtoken", sign, "RSA"},
	{NULL, NULL, NULL, NULL},
};

/* The store. */

typedef struct {
	DIR *dir;
	char name[256]; /* empty: all */
	int done, asked;
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

static int store_load(void *ctx, OSSL_CALLBACK *object, void *object_arg, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg)
{
	store *s = ctx;
	int kind = OSSL_OBJECT_PKEY, ok = 0;
	const char *file;
	char pem[8192];
	BIO *bio;
	token_key *k;
	EVP_PKEY *pkey;

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
	(void)ctx, (void)params;
	return 1;
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
	core = handle;
	for (; in->function_id != 0; in++) {
		if (in->function_id == OSSL_FUNC_CORE_NEW_ERROR)
			new_error = OSSL_FUNC_core_new_error(in);
		else if (in->function_id == OSSL_FUNC_CORE_VSET_ERROR)
			vset_error = OSSL_FUNC_core_vset_error(in);
	}
	if (inside == NULL)
		inside = OSSL_LIB_CTX_new();
	*out = provider;
	*provctx = inside;
	return inside != NULL;
}
