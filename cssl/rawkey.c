//go:build cgo

#include "beside.h"
#include "certs.h"
#include "newer.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Raw public keys (RFC 7250). Which keys are trusted is decided here and not by
 * SSL_add_expected_rpk(3), which has a list for each connection.
 */

/* From openssl/tls1.h and openssl/x509_vfy.h of OpenSSL 3.2. */
enum { X509_TYPE = 0 /* TLSEXT_cert_type_x509 */, RAW_TYPE = 2 /* TLSEXT_cert_type_rpk */ };
#ifndef X509_V_ERR_RPK_UNTRUSTED
#define X509_V_ERR_RPK_UNTRUSTED 95
#endif

enum { KEY_HASH = 32 }; /* SHA-256 of a SubjectPublicKeyInfo */

struct cssl_raw_keys {
	unsigned char own[2], peer[2]; /* types of certificate, the preferred one first */
	size_t own_count, peer_count;  /* 0: OpenSSL's default, which is X.509 */
	size_t count;                  /* of known */
	unsigned char (*known)[KEY_HASH]; /* sorted */
};

void cssl_raw_keys_free(cssl_raw_keys *k)
{
	if (k != NULL)
		free(k->known);
	free(k);
}

/* A list as OpenSSL wants it. */
static const unsigned char *list(const unsigned char *types, size_t count)
{
	return count > 0 ? types : NULL;
}

int cssl_ctx_raw_keys(SSL_CTX *ctx, int server, int own, int peer, int certificates, cssl_reasons *out)
{
	cssl_raw_keys *k = calloc(1, sizeof *k);
	int ok;

	ERR_clear_error();
	if (k == NULL)
		return cssl_done(0, out);
	cssl_data_of_ctx(ctx)->raw_keys = k;
	k->own[0] = k->peer[0] = RAW_TYPE;
	k->own[1] = k->peer[1] = X509_TYPE;
	k->own_count = own ? 2 : 0;
	k->peer_count = peer ? (certificates ? 2 : 1) : 0;
	if (server)
		ok = cssl_newer.SSL_CTX_set1_server_cert_type(ctx, list(k->own, k->own_count), k->own_count) &&
		     cssl_newer.SSL_CTX_set1_client_cert_type(ctx, list(k->peer, k->peer_count), k->peer_count);
	else
		ok = cssl_newer.SSL_CTX_set1_client_cert_type(ctx, list(k->own, k->own_count), k->own_count) &&
		     cssl_newer.SSL_CTX_set1_server_cert_type(ctx, list(k->peer, k->peer_count), k->peer_count);
	if (peer)
		SSL_CTX_set_cert_verify_callback(ctx, cssl_raw_keys_verify, NULL);
	return cssl_done(ok, out);
}

int cssl_raw_keys_switch(SSL *ssl, const SSL_CTX *from, const SSL_CTX *to)
{
	static const cssl_raw_keys none;
	const cssl_raw_keys *k = cssl_data_of_ctx(to)->raw_keys;

	if (k == NULL && cssl_data_of_ctx(from)->raw_keys == NULL)
		return 1;
	if (k == NULL)
		k = &none;
	return cssl_newer.SSL_set1_server_cert_type(ssl, list(k->own, k->own_count), k->own_count) &&
	       cssl_newer.SSL_set1_client_cert_type(ssl, list(k->peer, k->peer_count), k->peer_count);
}

/* Returns 0 if the key cannot be encoded. */
static int hash_of(const cssl_ctx_data *d, const EVP_PKEY *key, unsigned char *out)
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der), ok = n > 0 && EVP_Q_digest(d->library, "SHA256", d->properties, der, (size_t)n, out, NULL);

	OPENSSL_free(der);
	return ok;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, KEY_HASH);
}

int cssl_ctx_peer_keys(SSL_CTX *ctx, const void *pem, int len, cssl_reasons *out)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	cssl_raw_keys *k = d->raw_keys;
	BIO *bio;
	unsigned char *der;
	long n;
	int ok = 1;

	ERR_clear_error();
	bio = BIO_new_mem_buf(pem, len);
	while (ok && bio != NULL && PEM_bytes_read_bio(&der, &n, NULL, PEM_STRING_PUBLIC, bio, NULL, NULL)) {
		const unsigned char *p = der;
		EVP_PKEY *key = d2i_PUBKEY_ex(NULL, &p, n, d->library, d->properties);
		void *more = realloc(k->known, (k->count + 1) * sizeof *k->known);

		if (more != NULL)
			k->known = more;
		ok = key != NULL && more != NULL && hash_of(d, key, k->known[k->count++]);
		EVP_PKEY_free(key);
		OPENSSL_free(der);
	}
	ok = ok && bio != NULL && cssl_end_of_pem();
	BIO_free(bio);
	if (ok && k->count > 0)
		qsort(k->known, k->count, sizeof *k->known, compare);
	return cssl_done(ok, out) ? (int)k->count : -1;
}

/* Keeps why the peer with this key is refused, as far as there is memory. */
static void refuse(cssl_ssl_data *s, const unsigned char *hash)
{
	static const char before[] = "the raw public key with the SHA-256 ", after[] = " is not in PeerKeys";
	size_t at = sizeof before - 1;

	s->refused = malloc(at + 2 * KEY_HASH + sizeof after);
	if (s->refused == NULL)
		return;
	memcpy(s->refused, before, at);
	for (size_t i = 0; i < KEY_HASH; i++, at += 2)
		sprintf(s->refused + at, "%02x", hash[i]);
	memcpy(s->refused + at, after, sizeof after);
}

int cssl_raw_keys_verify(X509_STORE_CTX *x, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
	const cssl_ctx_data *d = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));
	cssl_ssl_data *s = cssl_data_of_ssl(ssl);
	const cssl_raw_keys *k = d->raw_keys;
	int ok = X509_verify_cert(x) > 0;
	const EVP_PKEY *key = cssl_raw_key_of(x);
	unsigned char hash[KEY_HASH];

	(void)arg;
	free(s->refused);
	s->refused = NULL;
	if (k == NULL || k->peer_count == 0)
		return ok;
	if (key == NULL && k->peer_count == 1) {
		s->refused = strdup("the peer has sent a certificate, and only raw public keys are accepted; set CAFile to accept both");
		X509_STORE_CTX_set_error(x, X509_V_ERR_INVALID_PURPOSE); /* sends unsupported_certificate */
		return 0;
	}
	if (key == NULL || ok || X509_STORE_CTX_get_error(x) != X509_V_ERR_RPK_UNTRUSTED || !hash_of(d, key, hash))
		return ok;
	if (k->count > 0 && bsearch(hash, k->known, k->count, sizeof *k->known, compare) != NULL) {
		X509_STORE_CTX_set_error(x, X509_V_OK);
		return 1;
	}
	refuse(s, hash);
	return 0;
}

EVP_PKEY *cssl_raw_key_of(X509_STORE_CTX *x)
{
	return cssl_newer.X509_STORE_CTX_get0_rpk != NULL ? cssl_newer.X509_STORE_CTX_get0_rpk(x) : NULL;
}

EVP_PKEY *cssl_raw_key_of_session(SSL_SESSION *s)
{
	return s != NULL && cssl_newer.SSL_SESSION_get0_peer_rpk != NULL ? cssl_newer.SSL_SESSION_get0_peer_rpk(s) : NULL;
}
