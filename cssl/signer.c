//go:build cgo

#include "signer.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/proverr.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * libssl signs with a key of any provider. It first offers the key to the
 * algorithms of its own library context, which fails, since key_export gives
 * away no private key; then it takes the algorithms of the key's provider
 * (EVP_DigestSignInit_ex(3)).
 */

/* Of this thread; see cssl_signer_failure. */
static _Thread_local uintptr_t failure;

uintptr_t cssl_signer_failure(void)
{
	uintptr_t f = failure;

	failure = 0;
	return f;
}

/* Keeps the error of a failed call, and drops one that nobody has taken. */
static void keep(uintptr_t f)
{
	if (failure != 0)
		cssl_go_signer_free(failure);
	failure = f;
}

/* Keys. */

typedef struct {
	const char *type;
	EVP_PKEY *public; /* NULL until import */
	uintptr_t signer; /* 0 is none */
	int decrypts;
} signer_key;

static void *key_new(const char *type)
{
	signer_key *k = calloc(1, sizeof *k);

	if (k != NULL)
		k->type = type;
	return k;
}

static void *rsa_new(void *provider)
{
	(void)provider;
	return key_new("RSA");
}

static void *ec_new(void *provider)
{
	(void)provider;
	return key_new("EC");
}

static void *ed25519_new(void *provider)
{
	(void)provider;
	return key_new("ED25519");
}

static void key_free(void *key)
{
	signer_key *k = key;

	if (k == NULL)
		return;
	EVP_PKEY_free(k->public);
	if (k->signer != 0)
		cssl_go_signer_free(k->signer);
	free(k);
}

static int key_has(const void *key, int selection)
{
	const signer_key *k = key;

	return k->public != NULL && ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0 || k->signer != 0);
}

static int key_match(const void *a, const void *b, int selection)
{
	const signer_key *x = a, *y = b;

	if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) == 0)
		return EVP_PKEY_parameters_eq(x->public, y->public) == 1;
	return EVP_PKEY_eq(x->public, y->public) == 1;
}

/* The one parameter of import: the address of a signer_key to move from. */
#define PARAM_KEY "cssl-key"

/* Only cssl_signer_key imports. Keys of other providers are compared there. */
static int key_import(void *key, int selection, const OSSL_PARAM params[])
{
	signer_key *k = key, *from;
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, PARAM_KEY);

	(void)selection;
	if (p == NULL || p->data_size != sizeof from || k->public != NULL)
		return 0;
	memcpy(&from, p->data, sizeof from);
	if (strcmp(k->type, from->type) != 0)
		return 0;
	*k = *from;
	from->public = NULL;
	from->signer = 0;
	return 1;
}

static const OSSL_PARAM *key_import_types(int selection)
{
	static const OSSL_PARAM types[] = {OSSL_PARAM_octet_string(PARAM_KEY, NULL, 0), OSSL_PARAM_END};

	(void)selection;
	return types;
}

/* There is a public key to export, and no private one. */
static int key_export(void *key, int selection, OSSL_CALLBACK *callback, void *arg)
{
	const signer_key *k = key;
	OSSL_PARAM *params = NULL;
	int ok;

	if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)
		return 0;
	ok = EVP_PKEY_todata(k->public, EVP_PKEY_PUBLIC_KEY, &params) == 1 && callback(params, arg);
	OSSL_PARAM_free(params);
	return ok;
}

static const OSSL_PARAM public_params[] = {
	OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
	OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
	OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
	OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
	OSSL_PARAM_END,
};

static const OSSL_PARAM *key_export_types(int selection)
{
	return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : public_params;
}

static const OSSL_PARAM *key_gettable(void *provider)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)provider;
	return params;
}

static int key_get(void *key, OSSL_PARAM params[])
{
	const signer_key *k = key;

	return EVP_PKEY_get_params(k->public, params);
}

static const char *rsa_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE || operation == OSSL_OP_ASYM_CIPHER ? "RSA" : NULL;
}

static const char *ec_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

static const char *ed25519_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ED25519" : NULL;
}

#define KEYMGMT(type) \
	{ \
		{OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))type##_new}, \
		{OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))key_free}, \
		{OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))key_has}, \
		{OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))key_match}, \
		{OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))key_import}, \
		{OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))key_import_types}, \
		{OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))key_export}, \
		{OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))key_export_types}, \
		{OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))key_get}, \
		{OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))key_gettable}, \
		{OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))type##_operation}, \
		{0, NULL}, \
	}

static const OSSL_DISPATCH rsa_keymgmt[] = KEYMGMT(rsa);
static const OSSL_DISPATCH ec_keymgmt[] = KEYMGMT(ec);
static const OSSL_DISPATCH ed25519_keymgmt[] = KEYMGMT(ed25519);

#define PROPERTIES "provider=cssl-signer"

static const OSSL_ALGORITHM keymgmts[] = {
	{"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, rsa_keymgmt, "RSA"},
	{"EC:id-ecPublicKey:1.2.840.10045.2.1", PROPERTIES, ec_keymgmt, "EC"},
	{"ED25519:1.3.101.112", PROPERTIES, ed25519_keymgmt, "ED25519"},
	{NULL, NULL, NULL, NULL},
};

/* What signatures and decryptions have in common: the parameters of libssl. */

typedef struct {
	const signer_key *key; /* the EVP_PKEY_CTX holds a reference */
	int hash;
	int padding;
	int salt;                /* the length for PSS; RSA_PSS_SALTLEN_DIGEST */
	unsigned version, other; /* that a premaster secret must begin with */
} operation;

static void *operation_new(void *provider, const char *properties)
{
	operation *o = calloc(1, sizeof *o);

	(void)provider, (void)properties;
	if (o != NULL) {
		o->padding = RSA_PKCS1_PADDING;
		o->salt = RSA_PSS_SALTLEN_DIGEST;
	}
	return o;
}

static void *cipher_new(void *provider)
{
	return operation_new(provider, NULL);
}

static void operation_free(void *ctx)
{
	free(ctx);
}

static void *operation_dup(void *ctx)
{
	operation *o = malloc(sizeof *o);

	return o != NULL ? memcpy(o, ctx, sizeof *o) : NULL;
}

/* OpenSSL passes some numbers as names. */
static int number_of(const OSSL_PARAM *p, const char *const names[], const int numbers[], int *n)
{
	if (p->data_type != OSSL_PARAM_UTF8_STRING)
		return OSSL_PARAM_get_int(p, n);
	for (int i = 0; names[i] != NULL; i++)
		if (strcasecmp(p->data, names[i]) == 0) {
			*n = numbers[i];
			return 1;
		}
	return 0;
}

static int operation_set(void *ctx, const OSSL_PARAM params[])
{
	static const char *const paddings[] = {OSSL_PKEY_RSA_PAD_MODE_PKCSV15, OSSL_PKEY_RSA_PAD_MODE_PSS, NULL};
	static const int padding_numbers[] = {RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING};
	static const char *const salts[] = {OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST, NULL};
	static const int salt_numbers[] = {RSA_PSS_SALTLEN_DIGEST};
	operation *o = ctx;
	const OSSL_PARAM *p;

	if ((p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PAD_MODE)) != NULL &&
	    !number_of(p, paddings, padding_numbers, &o->padding))
		return 0;
	if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN)) != NULL &&
	    !number_of(p, salts, salt_numbers, &o->salt))
		return 0;
	if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION)) != NULL &&
	    !OSSL_PARAM_get_uint(p, &o->version))
		return 0;
	if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION)) != NULL &&
	    !OSSL_PARAM_get_uint(p, &o->other))
		return 0;
	return 1;
}

/* Signatures. TLS signs a whole message with one call (EVP_DigestSign(3)). */

/* Returns the hash of that name, or -1. EVP has two names for some. */
static int hash_of(const char *name)
{
	static const struct {
		const char *name;
		int hash;
	} hashes[] = {
		{"SHA2-256", CSSL_HASH_SHA256}, {"SHA256", CSSL_HASH_SHA256},     {"SHA2-384", CSSL_HASH_SHA384}, {"SHA384", CSSL_HASH_SHA384},
		{"SHA2-512", CSSL_HASH_SHA512}, {"SHA512", CSSL_HASH_SHA512},     {"SHA1", CSSL_HASH_SHA1},       {"SHA2-224", CSSL_HASH_SHA224},
		{"SHA224", CSSL_HASH_SHA224},   {"MD5-SHA1", CSSL_HASH_MD5SHA1},
	};

	if (name == NULL || name[0] == '\0')
		return CSSL_HASH_NONE;
	for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
		if (strcasecmp(name, hashes[i].name) == 0)
			return hashes[i].hash;
	return -1;
}

static int sign_init(void *ctx, const char *digest, void *key, const OSSL_PARAM params[])
{
	operation *o = ctx;

	if (key != NULL)
		o->key = key;
	o->hash = hash_of(digest);
	if (o->key == NULL || o->key->signer == 0 || o->hash < 0 ||
	    (strcmp(o->key->type, "ED25519") == 0) != (o->hash == CSSL_HASH_NONE))
		return 0;
	return params == NULL || operation_set(ctx, params);
}

static int sign(void *ctx, unsigned char *sig, size_t *len, size_t size, const unsigned char *message, size_t message_len)
{
	const operation *o = ctx;
	int most = EVP_PKEY_get_size(o->key->public), pss = o->padding == RSA_PKCS1_PSS_PADDING;
	uintptr_t f = 0;
	size_t n;

	if (most <= 0 || o->salt != RSA_PSS_SALTLEN_DIGEST || (!pss && o->padding != RSA_PKCS1_PADDING)) {
		ERR_raise(ERR_LIB_PROV, PROV_R_ILLEGAL_OR_UNSUPPORTED_PADDING_MODE);
		return 0;
	}
	if (sig == NULL) {
		*len = (size_t)most;
		return 1;
	}
	n = cssl_go_sign(o->key->signer, o->hash, pss, (unsigned char *)message, message_len, sig, size, &f);
	if (n == 0) {
		keep(f);
		ERR_raise(ERR_LIB_PROV, PROV_R_FAILED_TO_SIGN);
		return 0;
	}
	*len = n;
	return 1;
}

static const OSSL_PARAM *sign_settable(void *ctx, void *provider)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)ctx, (void)provider;
	return params;
}

static const OSSL_DISPATCH signature[] = {
	{OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))operation_new},
	{OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))operation_free},
	{OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))operation_dup},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))sign_init},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))sign},
	{OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))operation_set},
	{OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))sign_settable},
	{0, NULL},
};

static const OSSL_ALGORITHM signatures[] = {
	{"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, signature, "RSA"},
	{"ECDSA", PROPERTIES, signature, "ECDSA"},
	{"ED25519:1.3.101.112", PROPERTIES, signature, "ED25519"},
	{NULL, NULL, NULL, NULL},
};

/* RSA key exchange. */

static int decrypt_init(void *ctx, void *key, const OSSL_PARAM params[])
{
	operation *o = ctx;

	o->key = key;
	return o->key != NULL && o->key->signer != 0 && o->key->decrypts && (params == NULL || operation_set(ctx, params));
}

static int decrypt(void *ctx, unsigned char *out, size_t *len, size_t size, const unsigned char *in, size_t in_len)
{
	const operation *o = ctx;
	uintptr_t f = 0;

	*len = CSSL_PREMASTER;
	if (out == NULL)
		return 1;
	if (o->padding != RSA_PKCS1_WITH_TLS_PADDING || size < CSSL_PREMASTER || o->version == 0) {
		ERR_raise(ERR_LIB_PROV, PROV_R_ILLEGAL_OR_UNSUPPORTED_PADDING_MODE);
		return 0;
	}
	cssl_go_decrypt(o->key->signer, (unsigned char *)in, in_len, o->version, o->other, out, &f);
	if (f != 0)
		keep(f);
	return 1;
}

static const OSSL_PARAM *decrypt_settable(void *ctx, void *provider)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
		OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL),
		OSSL_PARAM_END,
	};

	(void)ctx, (void)provider;
	return params;
}

static const OSSL_DISPATCH cipher[] = {
	{OSSL_FUNC_ASYM_CIPHER_NEWCTX, (void (*)(void))cipher_new},
	{OSSL_FUNC_ASYM_CIPHER_FREECTX, (void (*)(void))operation_free},
	{OSSL_FUNC_ASYM_CIPHER_DUPCTX, (void (*)(void))operation_dup},
	{OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT, (void (*)(void))decrypt_init},
	{OSSL_FUNC_ASYM_CIPHER_DECRYPT, (void (*)(void))decrypt},
	{OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS, (void (*)(void))operation_set},
	{OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS, (void (*)(void))decrypt_settable},
	{0, NULL},
};

static const OSSL_ALGORITHM ciphers[] = {
	{"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, cipher, "RSA"},
	{NULL, NULL, NULL, NULL},
};

/* The provider. */

static const OSSL_ALGORITHM *query(void *provider, int operation_id, int *no_cache)
{
	(void)provider;
	*no_cache = 0;
	switch (operation_id) {
	case OSSL_OP_KEYMGMT:
		return keymgmts;
	case OSSL_OP_SIGNATURE:
		return signatures;
	case OSSL_OP_ASYM_CIPHER:
		return ciphers;
	}
	return NULL;
}

static const OSSL_DISPATCH functions[] = {
	{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
	{0, NULL},
};

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provider)
{
	(void)in;
	*out = functions;
	*provider = (void *)handle;
	return 1;
}

static OSSL_LIB_CTX *signers; /* never freed; library.c says why */

int cssl_signer_init(cssl_reasons *out)
{
	OSSL_LIB_CTX *made;

	ERR_clear_error();
	made = OSSL_LIB_CTX_new();
	if (made == NULL || !OSSL_PROVIDER_add_builtin(made, "cssl-signer", init) || OSSL_PROVIDER_load(made, "cssl-signer") == NULL) {
		OSSL_LIB_CTX_free(made);
		return cssl_done(0, out);
	}
	signers = made;
	return cssl_done(1, out);
}

/*
 * Returns 1 if a handshake with library and properties would find the
 * algorithms of the key.
 */
static int usable(OSSL_LIB_CTX *library, const char *properties, EVP_PKEY *key)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	const char *digest = EVP_PKEY_is_a(key, "ED25519") ? NULL : "SHA256";
	int ok = md != NULL && EVP_DigestSignInit_ex(md, NULL, digest, library, properties, key, NULL) == 1;

	EVP_MD_CTX_free(md);
	return ok;
}

EVP_PKEY *cssl_signer_key(OSSL_LIB_CTX *library, const char *properties, EVP_PKEY *public, uintptr_t signer, int decrypts,
                          cssl_reasons *out)
{
	static const char *const types[] = {"RSA", "EC", "ED25519", NULL};
	signer_key from = {NULL, NULL, signer, decrypts}, *address = &from;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(PARAM_KEY, &address, sizeof address), OSSL_PARAM_construct_end()};
	EVP_PKEY_CTX *c = NULL;
	EVP_PKEY *key = NULL;
	int i, ok;

	ERR_clear_error();
	for (i = 0; from.type == NULL && types[i] != NULL; i++)
		if (EVP_PKEY_is_a(public, types[i]))
			from.type = types[i];
	if (from.type != NULL && EVP_PKEY_up_ref(public)) {
		from.public = public;
		c = EVP_PKEY_CTX_new_from_name(signers, from.type, NULL);
	}
	ok = c != NULL && EVP_PKEY_fromdata_init(c) == 1 && EVP_PKEY_fromdata(c, &key, EVP_PKEY_KEYPAIR, params) == 1 &&
	     usable(library, properties, key);
	EVP_PKEY_CTX_free(c);
	EVP_PKEY_free(from.public); /* unless the key has taken it; so below */
	if (from.signer != 0)
		cssl_go_signer_free(from.signer);
	if (!ok) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	cssl_done(ok, out);
	return key;
}
