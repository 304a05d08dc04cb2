#include "token.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Keys, whose private part never leaves the token. */

void *key_new(const char *type)
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

void key_free(void *key)
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

const OSSL_ALGORITHM keymgmts[] = {
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

const OSSL_ALGORITHM signatures[] = {
	{"ECDSA", "provider=testtoken", sign, "ECDSA"},
	{"RSA:rsaEncryption", "provider=testtoken", sign, "RSA"},
	{NULL, NULL, NULL, NULL},
};
