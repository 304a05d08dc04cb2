//go:build cgo

#include "context.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

/*
 * Ticket keys that the application gives, so that several hosts can share them. The callback
 * runs inside a handshake, blocks on nothing and never calls into Go.
 */

typedef struct {
	unsigned char name[16], hmac[32], aes[32];
	size_t hmac_len, aes_len; /* 16 or 32 */
} ticket_key;

typedef struct {
	OSSL_LIB_CTX *library;
	EVP_CIPHER *cipher; /* of all keys */
	size_t count;
	ticket_key key[]; /* the first one encrypts */
} ticket_keys;

static int keys_index = -1, accepted_index = -1;

static void release_keys(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	ticket_keys *k = ptr;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (k == NULL)
		return;
	EVP_CIPHER_free(k->cipher);
	OPENSSL_cleanse(k, sizeof *k + k->count * sizeof k->key[0]);
	free(k);
}

int cssl_tickets_init(void)
{
	keys_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release_keys);
	accepted_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return keys_index >= 0 && accepted_index >= 0;
}

int cssl_tickets_keep(SSL *ssl, SSL_CTX *from)
{
	ticket_keys *k = SSL_CTX_get_ex_data(from, keys_index);

	return k == NULL || SSL_set_ex_data(ssl, accepted_index, k);
}

/* Sets up cipher and MAC for k. */
static int use_key(const ticket_keys *keys, ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->hmac, k->hmac_len),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_CipherInit_ex2(cipher, keys->cipher, k->aes, iv, encrypt, NULL) &&
	       EVP_MAC_CTX_set_params(mac, params);
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	ticket_keys *k = SSL_get_ex_data(ssl, accepted_index);

	if (k == NULL)
		k = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), keys_index);
	if (k == NULL)
		return 0;
	if (encrypt) {
		memcpy(name, k->key[0].name, sizeof k->key[0].name);
		return RAND_bytes_ex(k->library, iv, (size_t)EVP_CIPHER_get_iv_length(k->cipher), 0) == 1 && use_key(k, &k->key[0], iv, cipher, mac, 1) ? 1 : -1;
	}
	for (size_t i = 0; i < k->count; i++) {
		if (memcmp(name, k->key[i].name, sizeof k->key[i].name) != 0)
			continue;
		if (!use_key(k, &k->key[i], iv, cipher, mac, 0))
			return -1;
		return i == 0 ? 1 : 2; /* 2: the client gets a new one */
	}
	return 0;
}

int cssl_ctx_ticket_keys(SSL_CTX *ctx, const unsigned char *keys, size_t len, size_t count, cssl_reasons *out)
{
	ticket_keys *k = calloc(1, sizeof *k + count * sizeof k->key[0]);

	ERR_clear_error();
	if (k == NULL)
		return cssl_done(0, out);
	k->count = count;
	k->library = cssl_ctx_library(ctx);
	k->cipher = EVP_CIPHER_fetch(k->library, len == CSSL_TICKET_KEY_LONG ? "AES-256-CBC" : "AES-128-CBC", cssl_ctx_properties(ctx));
	for (size_t i = 0; i < count; i++) {
		const unsigned char *p = keys + i * len;
		ticket_key *t = &k->key[i];

		memcpy(t->name, p, sizeof t->name);
		p += sizeof t->name;
		t->hmac_len = t->aes_len = (len - sizeof t->name) / 2;
		if (len == CSSL_TICKET_KEY_LONG) {
			memcpy(t->hmac, p, t->hmac_len);
			memcpy(t->aes, p + t->hmac_len, t->aes_len);
		} else {
			memcpy(t->aes, p, t->aes_len);
			memcpy(t->hmac, p + t->aes_len, t->hmac_len);
		}
	}
	if (k->cipher == NULL || !SSL_CTX_set_ex_data(ctx, keys_index, k)) {
		release_keys(NULL, k, NULL, 0, 0, NULL);
		return cssl_done(0, out);
	}
	return cssl_done((int)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket), out);
}
