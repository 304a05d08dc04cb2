//go:build cgo

#include "record.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <string.h>

static const char *const cipher_names[CSSL_CIPHERS] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};

static const cssl_suite suites[] = {
	{0x1301, CSSL_AES_128_GCM, 1, 0, 16, 32, "SHA256"},
	{0x1302, CSSL_AES_256_GCM, 1, 0, 32, 48, "SHA384"},
	{0x1303, CSSL_CHACHA20_POLY1305, 1, 0, 32, 32, "SHA256"},
	/* ECDHE_ECDSA, ECDHE_RSA, DHE_RSA */
	{0xc02b, CSSL_AES_128_GCM, 0, 8, 16, 32, "SHA256"},
	{0xc02f, CSSL_AES_128_GCM, 0, 8, 16, 32, "SHA256"},
	{0x009e, CSSL_AES_128_GCM, 0, 8, 16, 32, "SHA256"},
	{0xc02c, CSSL_AES_256_GCM, 0, 8, 32, 48, "SHA384"},
	{0xc030, CSSL_AES_256_GCM, 0, 8, 32, 48, "SHA384"},
	{0x009f, CSSL_AES_256_GCM, 0, 8, 32, 48, "SHA384"},
	{0xcca9, CSSL_CHACHA20_POLY1305, 0, 0, 32, 32, "SHA256"},
	{0xcca8, CSSL_CHACHA20_POLY1305, 0, 0, 32, 32, "SHA256"},
	{0xccaa, CSSL_CHACHA20_POLY1305, 0, 0, 32, 32, "SHA256"},
};

const cssl_suite *cssl_suite_find(unsigned id)
{
	size_t i;

	for (i = 0; i < sizeof suites / sizeof *suites; i++)
		if (suites[i].id == id)
			return &suites[i];
	return NULL;
}

void cssl_algorithms_fetch(cssl_algorithms *a, OSSL_LIB_CTX *library, const char *properties)
{
	int i;

	ERR_set_mark();
	for (i = 0; i < CSSL_CIPHERS; i++)
		a->ciphers[i] = EVP_CIPHER_fetch(library, cipher_names[i], properties);
	a->tls13 = EVP_KDF_fetch(library, OSSL_KDF_NAME_TLS1_3_KDF, properties);
	a->tls12 = EVP_KDF_fetch(library, OSSL_KDF_NAME_TLS1_PRF, properties);
	ERR_pop_to_mark();
}

void cssl_algorithms_free(cssl_algorithms *a)
{
	int i;

	for (i = 0; i < CSSL_CIPHERS; i++)
		EVP_CIPHER_free(a->ciphers[i]);
	EVP_KDF_free(a->tls13);
	EVP_KDF_free(a->tls12);
}

/* A parameter that OpenSSL only reads. */
static OSSL_PARAM octets(const char *name, const void *p, size_t n)
{
	return OSSL_PARAM_construct_octet_string(name, (void *)p, n);
}

static int derive(EVP_KDF *kdf, const OSSL_PARAM *params, unsigned char *out, size_t len)
{
	EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
	int ok = ctx != NULL && EVP_KDF_derive(ctx, out, len, params) == 1;

	EVP_KDF_CTX_free(ctx); /* wipes its copy of the secret */
	return ok;
}

/* Returns a context for HKDF-Expand-Label with secret, or NULL. */
static EVP_KDF_CTX *expander(const cssl_records *r, const unsigned char *secret)
{
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)r->suite->digest, 0),
		octets(OSSL_KDF_PARAM_KEY, secret, r->suite->hash),
		octets(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(r->algorithms->tls13);

	if (ctx != NULL && EVP_KDF_CTX_set_params(ctx, params) == 1)
		return ctx;
	EVP_KDF_CTX_free(ctx);
	return NULL;
}

/* Expands one label. data may be NULL. ctx is that of expander. */
static int expand(EVP_KDF_CTX *ctx, const char *label, size_t label_len, const unsigned char *data, size_t data_len,
                  unsigned char *out, size_t len)
{
	const OSSL_PARAM params[] = {
		octets(OSSL_KDF_PARAM_LABEL, label, label_len),
		data_len > 0 ? octets(OSSL_KDF_PARAM_DATA, data, data_len) : OSSL_PARAM_construct_end(),
		OSSL_PARAM_construct_end(),
	};

	return ctx != NULL && EVP_KDF_derive(ctx, out, len, params) == 1;
}

int cssl_expand(const cssl_records *r, const unsigned char *secret, const char *label, size_t label_len,
                const unsigned char *data, size_t data_len, unsigned char *out, size_t len)
{
	EVP_KDF_CTX *ctx = expander(r, secret);
	int ok = expand(ctx, label, label_len, data, data_len, out, len);

	EVP_KDF_CTX_free(ctx); /* wipes its copy of the secret */
	return ok;
}

int cssl_prf(const cssl_records *r, const unsigned char *master, const unsigned char *seed, size_t seed_len, unsigned char *out,
             size_t len)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)r->suite->digest, 0),
		octets(OSSL_KDF_PARAM_SECRET, master, SSL_MAX_MASTER_KEY_LENGTH),
		octets(OSSL_KDF_PARAM_SEED, seed, seed_len),
		OSSL_PARAM_construct_end(),
	};

	return derive(r->algorithms->tls12, params, out, len);
}

int cssl_keys_tls13(cssl_records *r, cssl_key *k)
{
	EVP_KDF_CTX *ctx = expander(r, k->secret);
	int ok = expand(ctx, "key", 3, NULL, 0, k->key, r->suite->key) && expand(ctx, "iv", 2, NULL, 0, k->iv, sizeof k->iv);

	k->keyed = 0;
	EVP_KDF_CTX_free(ctx); /* wipes its copy of the secret */
	return ok;
}

int cssl_keys_tls12(cssl_records *r, int server, const unsigned char *master, const unsigned char *randoms)
{
	static const char label[] = "key expansion";
	unsigned char seed[sizeof label - 1 + 2 * SSL3_RANDOM_SIZE], block[2 * (32 + 12)], *p = block;
	size_t key = r->suite->key, iv = sizeof r->read.iv - r->suite->explicit;
	cssl_key *client = server ? &r->read : &r->write, *own = server ? &r->write : &r->read;
	int ok;

	memcpy(seed, label, sizeof label - 1);
	memcpy(seed + sizeof label - 1, randoms, 2 * SSL3_RANDOM_SIZE);
	ok = cssl_prf(r, master, seed, sizeof seed, block, 2 * (key + iv));
	memcpy(client->key, p, key);
	memcpy(own->key, p + key, key);
	memcpy(client->iv, p + 2 * key, iv);
	memcpy(own->iv, p + 2 * key + iv, iv);
	OPENSSL_cleanse(block, sizeof block);
	return ok;
}

int cssl_keys_update(cssl_records *r, cssl_key *k)
{
	unsigned char next[CSSL_MAX_SECRET];
	int ok = cssl_expand(r, k->secret, "traffic upd", 11, NULL, 0, next, r->suite->hash);

	if (ok)
		memcpy(k->secret, next, r->suite->hash);
	OPENSSL_cleanse(next, sizeof next);
	k->seq = 0;
	return ok && cssl_keys_tls13(r, k);
}

void cssl_keys_idle(cssl_records *r)
{
	EVP_CIPHER_CTX_free(r->read.ctx);
	EVP_CIPHER_CTX_free(r->write.ctx);
	r->read.ctx = r->write.ctx = NULL;
	r->read.keyed = r->write.keyed = 0;
}

void cssl_keys_wipe(cssl_records *r)
{
	cssl_keys_idle(r); /* wipes the key schedules */
	OPENSSL_cleanse(r, sizeof *r);
}

/* Returns the context of a direction, with its key; NULL on failure. */
static EVP_CIPHER_CTX *context_of(const cssl_records *r, cssl_key *k, int seal)
{
	if (k->keyed)
		return k->ctx;
	if (k->ctx == NULL && (k->ctx = EVP_CIPHER_CTX_new()) == NULL)
		return NULL;
	if (EVP_CipherInit_ex2(k->ctx, r->algorithms->ciphers[r->suite->cipher], k->key, NULL, seal, NULL) != 1)
		return NULL;
	k->keyed = 1;
	return k->ctx;
}

static void put64(unsigned char *p, uint64_t v)
{
	int i;

	for (i = 7; i >= 0; i--, v >>= 8)
		p[i] = (unsigned char)v;
}

/* The nonce that is not in the record: the iv, combined with the number. */
static void implicit_nonce(unsigned char *nonce, const cssl_key *k)
{
	int i;

	memset(nonce, 0, 4);
	put64(nonce + 4, k->seq);
	for (i = 0; i < 12; i++)
		nonce[i] ^= k->iv[i];
}

/*
 * The additional data that is authenticated: in TLS 1.3 the header, in TLS 1.2
 * the number, type, version, and the length of the plaintext. Returns its
 * length, at most 13.
 */
static int additional(unsigned char *aad, const cssl_records *r, const cssl_key *k, const unsigned char *header, size_t plain)
{
	if (r->suite->tls13) {
		memcpy(aad, header, CSSL_HEADER);
		return CSSL_HEADER;
	}
	put64(aad, k->seq);
	memcpy(aad + 8, header, 3);
	aad[11] = (unsigned char)(plain >> 8);
	aad[12] = (unsigned char)plain;
	return 13;
}

size_t cssl_seal(cssl_records *r, unsigned char *out, const unsigned char *in, size_t n, int type)
{
	cssl_key *k = &r->write;
	const cssl_suite *s = r->suite;
	EVP_CIPHER_CTX *ctx = context_of(r, k, 1);
	unsigned char nonce[12], aad[13], inner = (unsigned char)type, *body = out + CSSL_HEADER + s->explicit;
	size_t plain = n + s->tls13, len = s->explicit + plain + CSSL_TAG;
	OSSL_PARAM tag[] = {octets(OSSL_CIPHER_PARAM_AEAD_TAG, body + plain, CSSL_TAG), OSSL_PARAM_construct_end()};
	int l, ok;

	if (ctx == NULL || k->seq == UINT64_MAX)
		return 0;
	out[0] = s->tls13 ? SSL3_RT_APPLICATION_DATA : inner;
	out[1] = TLS1_2_VERSION >> 8;
	out[2] = TLS1_2_VERSION & 0xff;
	out[3] = (unsigned char)(len >> 8);
	out[4] = (unsigned char)len;
	if (s->explicit > 0) {
		memcpy(nonce, k->iv, 4);
		put64(nonce + 4, r->nonce + k->seq);
		memcpy(out + CSSL_HEADER, nonce + 4, 8);
	} else {
		implicit_nonce(nonce, k);
	}
	l = additional(aad, r, k, out, n);
	k->seq++; /* first of all: a nonce is never used again, whatever fails */
	ok = EVP_EncryptInit_ex2(ctx, NULL, NULL, nonce, NULL) == 1 && EVP_EncryptUpdate(ctx, NULL, &l, aad, l) == 1 &&
	     (n == 0 || EVP_EncryptUpdate(ctx, body, &l, in, (int)n) == 1) &&
	     (!s->tls13 || EVP_EncryptUpdate(ctx, body + n, &l, &inner, 1) == 1) && EVP_EncryptFinal_ex(ctx, body, &l) == 1 &&
	     EVP_CIPHER_CTX_get_params(ctx, tag) == 1;
	return ok ? CSSL_HEADER + len : 0;
}

int cssl_open(cssl_records *r, cssl_key *k, unsigned char *p, size_t body, unsigned char **plain, size_t *n)
{
	const cssl_suite *s = r->suite;
	EVP_CIPHER_CTX *ctx = context_of(r, k, 0);
	unsigned char nonce[12], aad[13], *text = p + CSSL_HEADER + s->explicit;
	OSSL_PARAM tag[2];
	size_t len;
	int l;

	if (ctx == NULL || k->seq == UINT64_MAX)
		return -1;
	if (body < (size_t)s->explicit + CSSL_TAG)
		return 0;
	len = body - s->explicit - CSSL_TAG;
	tag[0] = octets(OSSL_CIPHER_PARAM_AEAD_TAG, text + len, CSSL_TAG);
	tag[1] = OSSL_PARAM_construct_end();
	if (s->explicit > 0) {
		memcpy(nonce, k->iv, 4);
		memcpy(nonce + 4, p + CSSL_HEADER, 8);
	} else {
		implicit_nonce(nonce, k);
	}
	l = additional(aad, r, k, p, len);
	if (EVP_DecryptInit_ex2(ctx, NULL, NULL, nonce, tag) != 1 || EVP_DecryptUpdate(ctx, NULL, &l, aad, l) != 1 ||
	    (len > 0 && EVP_DecryptUpdate(ctx, text, &l, text, (int)len) != 1) || EVP_DecryptFinal_ex(ctx, text, &l) != 1)
		return 0;
	k->seq++;
	*plain = text;
	*n = len;
	return 1;
}
