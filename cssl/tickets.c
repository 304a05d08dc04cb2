//go:build cgo

#include "tickets.h"

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

struct cssl_ticket_keys {
	OSSL_LIB_CTX *library;
	EVP_CIPHER *cipher; /* of all keys */
	size_t count;
	ticket_key key[]; /* the first one encrypts */
};

void cssl_ticket_keys_free(cssl_ticket_keys *k)
{
	if (k == NULL)
		return;
	EVP_CIPHER_free(k->cipher);
	OPENSSL_cleanse(k, sizeof *k + k->count * sizeof k->key[0]);
	free(k);
}

void cssl_tickets_switch(SSL *ssl, SSL_CTX *from)
{
	cssl_data_of_ssl(ssl)->ticket_keys = cssl_data_of_ctx(from)->ticket_keys;
}

/* Sets up cipher and MAC for k. */
static int use_key(const cssl_ticket_keys *keys, ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
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
	cssl_ticket_keys *k = cssl_data_of_ssl(ssl)->ticket_keys;

	if (k == NULL)
		k = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl))->ticket_keys;
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
	cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	cssl_ticket_keys *k = calloc(1, sizeof *k + count * sizeof k->key[0]);

	ERR_clear_error();
	if (k == NULL)
		return cssl_done(0, out);
	k->count = count;
	k->library = d->library;
	k->cipher = EVP_CIPHER_fetch(k->library, len == CSSL_TICKET_KEY_LONG ? "AES-256-CBC" : "AES-128-CBC", d->properties);
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
	if (k->cipher == NULL) {
		cssl_ticket_keys_free(k);
		return cssl_done(0, out);
	}
	d->ticket_keys = k;
	return cssl_done((int)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket), out);
}
