//go:build cgo

#include "context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

/* Certificates, keys and revocation lists from PEM, decoded by the providers of the SSL_CTX. */

/* True when the last error only says that the PEM data has come to its end; that entry is then removed. */
static int end_of_pem(void)
{
	unsigned long e = ERR_peek_last_error();

	if (ERR_GET_LIB(e) != ERR_LIB_PEM || ERR_GET_REASON(e) != PEM_R_NO_START_LINE)
		return 0;
	ERR_clear_error();
	return 1;
}

/* The passphrase that is to be given, and what OpenSSL asked for. */
typedef struct {
	const void *p;
	int len;  /* -1: there is none */
	int most; /* how long it may be; 0 until OpenSSL asks */
} passphrase;

static int give_passphrase(char *buf, int size, int writing, void *arg)
{
	passphrase *pw = arg;

	(void)writing;
	pw->most = size;
	if (pw->len < 0 || pw->len > size)
		return -1;
	if (pw->len > 0)
		memcpy(buf, pw->p, (size_t)pw->len);
	return pw->len;
}

/* The next certificate, decoded by the providers of ctx; NULL at the end or on failure. aux: it may be a TRUSTED CERTIFICATE. */
static X509 *next_cert(SSL_CTX *ctx, BIO *bio, int aux)
{
	X509 *x = X509_new_ex(cssl_ctx_library(ctx), cssl_ctx_properties(ctx));

	if (x != NULL && (aux ? PEM_read_bio_X509_AUX(bio, &x, NULL, NULL) : PEM_read_bio_X509(bio, &x, NULL, NULL)) == NULL) {
		X509_free(x);
		return NULL;
	}
	return x;
}

EVP_PKEY *cssl_ctx_read_key(SSL_CTX *ctx, const void *pem, int len, const void *pass, int pass_len, int *asked, cssl_reasons *out)
{
	passphrase pw = {pass, pass_len, 0};
	EVP_PKEY *key = NULL;
	BIO *bio;

	ERR_clear_error();
	bio = BIO_new_mem_buf(pem, len);
	if (bio != NULL)
		key = PEM_read_bio_PrivateKey_ex(bio, NULL, give_passphrase, &pw, cssl_ctx_library(ctx), cssl_ctx_properties(ctx));
	BIO_free(bio);
	*asked = pw.most;
	cssl_done(key != NULL, out);
	return key;
}

int cssl_ctx_cert(SSL_CTX *ctx, const void *chain, int chain_len, EVP_PKEY *key, cssl_reasons *out)
{
	BIO *chain_bio = NULL;
	STACK_OF(X509) *rest = NULL;
	X509 *leaf = NULL, *x;
	int ok = -1;

	ERR_clear_error();
	chain_bio = BIO_new_mem_buf(chain, chain_len);
	rest = sk_X509_new_null();
	if (chain_bio == NULL || rest == NULL)
		goto end;
	leaf = next_cert(ctx, chain_bio, 1);
	if (leaf == NULL)
		goto end;
	while ((x = next_cert(ctx, chain_bio, 0)) != NULL)
		if (!sk_X509_push(rest, x)) {
			X509_free(x);
			goto end;
		}
	if (!end_of_pem())
		goto end;
	ok = SSL_CTX_use_cert_and_key(ctx, leaf, key, rest, 1) == 1;
end:
	X509_free(leaf);
	sk_X509_pop_free(rest, X509_free);
	BIO_free(chain_bio);
	cssl_done(ok == 1, out);
	return ok;
}

int cssl_ctx_trust(SSL_CTX *ctx, const void *pem, int len, int server, cssl_reasons *out)
{
	BIO *bio;
	X509 *x;
	int n = 0, ok = 1;

	ERR_clear_error();
	bio = BIO_new_mem_buf(pem, len);
	while (ok && bio != NULL && (x = next_cert(ctx, bio, 0)) != NULL) {
		ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) && (!server || SSL_CTX_add_client_CA(ctx, x));
		X509_free(x);
		n++;
	}
	ok = ok && bio != NULL && end_of_pem();
	BIO_free(bio);
	return cssl_done(ok, out) ? n : -1;
}

int cssl_ctx_trust_system(SSL_CTX *ctx, cssl_reasons *out)
{
	ERR_clear_error();
	return cssl_done(SSL_CTX_set_default_verify_paths(ctx), out);
}

/* The next revocation list, like next_cert. */
static X509_CRL *next_crl(SSL_CTX *ctx, BIO *bio)
{
	X509_CRL *crl = X509_CRL_new_ex(cssl_ctx_library(ctx), cssl_ctx_properties(ctx));

	if (crl != NULL && PEM_read_bio_X509_CRL(bio, &crl, NULL, NULL) == NULL) {
		X509_CRL_free(crl);
		return NULL;
	}
	return crl;
}

int cssl_ctx_crl(SSL_CTX *ctx, const void *pem, int len, cssl_reasons *out)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *bio;
	X509_CRL *crl;
	int n = 0, ok = 1;

	ERR_clear_error();
	bio = BIO_new_mem_buf(pem, len);
	while (ok && bio != NULL && (crl = next_crl(ctx, bio)) != NULL) {
		ok = X509_STORE_add_crl(store, crl);
		X509_CRL_free(crl);
		n++;
	}
	ok = ok && bio != NULL && end_of_pem() && X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	BIO_free(bio);
	return cssl_done(ok, out) ? n : -1;
}
