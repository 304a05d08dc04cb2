//go:build cgo

#include "beside.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

/*
 * Ticket keys from the application, so that several hosts can share them. The
 * callback runs inside a handshake; it does not block or call Go.
 */

struct cssl_ticket_keys {
	EVP_CIPHER *cipher; /* for all keys */
	size_t count, len;
	unsigned char key[]; /* count of len bytes; the first one encrypts */
};

enum { NAME = 16 };

void cssl_ticket_keys_free(cssl_ticket_keys *k)
{
	if (k == NULL)
		return;
	EVP_CIPHER_free(k->cipher);
	OPENSSL_cleanse(k, sizeof *k + k->count * k->len);
	free(k);
}

void cssl_tickets_switch(SSL *ssl, SSL_CTX *from)
{
	cssl_data_of_ssl(ssl)->ticket_keys = cssl_data_of_ctx(from)->ticket_keys;
}

/* Sets up cipher and MAC with a key, which begins with its name. */
static int use_key(const cssl_ticket_keys *k, unsigned char *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	size_t half = (k->len - NAME) / 2;
	unsigned char *first = key + NAME, *second = first + half;
	int hmac_first = k->len == CSSL_TICKET_KEY_LONG;
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac_first ? first : second, half),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_CipherInit_ex2(cipher, k->cipher, hmac_first ? second : first, iv, encrypt, NULL) &&
	       EVP_MAC_CTX_set_params(mac, params);
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));
	cssl_ticket_keys *k = cssl_data_of_ssl(ssl)->ticket_keys;

	if (k == NULL)
		k = d->ticket_keys;
	if (k == NULL)
		return 0;
	if (encrypt) {
		memcpy(name, k->key, NAME);
		return RAND_bytes_ex(d->library, iv, (size_t)EVP_CIPHER_get_iv_length(k->cipher), 0) == 1 && use_key(k, k->key, iv, cipher, mac, 1) ? 1 : -1;
	}
	for (size_t i = 0; i < k->count; i++) {
		if (memcmp(name, k->key + i * k->len, NAME) != 0)
			continue;
		if (!use_key(k, k->key + i * k->len, iv, cipher, mac, 0))
			return -1;
		return i == 0 ? 1 : 2; /* 2: the client gets a new ticket */
	}
	return 0;
}

int cssl_ctx_ticket_keys(SSL_CTX *ctx, const unsigned char *keys, size_t len, size_t count, cssl_reasons *out)
{
	cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	cssl_ticket_keys *k = malloc(sizeof *k + count * len);

	ERR_clear_error();
	if (k == NULL)
		return cssl_done(0, out);
	k->count = count;
	k->len = len;
	memcpy(k->key, keys, count * len);
	k->cipher = EVP_CIPHER_fetch(d->library, len == CSSL_TICKET_KEY_LONG ? "AES-256-CBC" : "AES-128-CBC", d->properties);
	if (k->cipher == NULL) {
		cssl_ticket_keys_free(k);
		return cssl_done(0, out);
	}
	d->ticket_keys = k;
	return cssl_done((int)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket), out);
}
