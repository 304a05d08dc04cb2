//go:build cgo

#include "certs.h"
#include "newer.h"

#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

/*
 * Reads certificates, keys and revocation lists from PEM. The providers of the
 * SSL_CTX decode them.
 */

int cssl_end_of_pem(void)
{
	unsigned long e = ERR_peek_last_error();

	if (ERR_GET_LIB(e) != ERR_LIB_PEM || ERR_GET_REASON(e) != PEM_R_NO_START_LINE)
		return 0;
	ERR_clear_error();
	return 1;
}

/* The passphrase to return, and what OpenSSL asked for. */
typedef struct {
	const void *p;
	int len;  /* -1: none */
	int most; /* the greatest length; 0 until OpenSSL asks */
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

/*
 * Returns the next certificate, decoded by the providers of ctx; NULL at the
 * end or on failure. aux: it may be a TRUSTED CERTIFICATE.
 */
static X509 *next_cert(SSL_CTX *ctx, BIO *bio, int aux)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	X509 *x = X509_new_ex(d->library, d->properties);

	if (x != NULL && (aux ? PEM_read_bio_X509_AUX(bio, &x, NULL, NULL) : PEM_read_bio_X509(bio, &x, NULL, NULL)) == NULL) {
		X509_free(x);
		return NULL;
	}
	return x;
}

EVP_PKEY *cssl_ctx_read_key(SSL_CTX *ctx, const void *pem, int len, const void *pass, int pass_len, int *asked, cssl_reasons *out)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	passphrase pw = {pass, pass_len, 0};
	EVP_PKEY *key = NULL;
	BIO *bio;

	ERR_clear_error();
	bio = BIO_new_mem_buf(pem, len);
	if (bio != NULL)
		key = PEM_read_bio_PrivateKey_ex(bio, NULL, give_passphrase, &pw, d->library, d->properties);
	BIO_free(bio);
	*asked = pw.most;
	cssl_done(key != NULL, out);
	return key;
}

enum { CHAINS = 16, DECODERS = 4 };

struct cssl_reader {
	SSL_CTX *ctx;
	struct {
		char type[24]; /* OpenSSL's name of the key type; empty: no decoder yet */
		OSSL_DECODER_CTX *ctx;
	} decoder[DECODERS]; /* making one takes ten times as long as using it */
	EVP_PKEY *key;       /* where they store the key they find */
	struct {
		unsigned char *pem;
		int len;
		STACK_OF(X509) *chain;
	} known[CHAINS]; /* certificates of one CA share their intermediates; the key may follow them */
	unsigned next;
};

cssl_reader *cssl_reader_new(SSL_CTX *ctx)
{
	cssl_reader *r = calloc(1, sizeof *r);

	if (r != NULL)
		r->ctx = ctx;
	return r;
}

void cssl_reader_free(cssl_reader *r)
{
	if (r == NULL)
		return;
	for (int i = 0; i < CHAINS; i++) {
		OPENSSL_clear_free(r->known[i].pem, (size_t)r->known[i].len);
		sk_X509_pop_free(r->known[i].chain, X509_free);
	}
	for (int i = 0; i < DECODERS; i++)
		OSSL_DECODER_CTX_free(r->decoder[i].ctx);
	free(r);
}

/* Returns all certificates in PEM; the caller frees them. */
static STACK_OF(X509) *read_chain(SSL_CTX *ctx, const unsigned char *pem, int len)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *bio = BIO_new_mem_buf(pem, len);
	int ok = chain != NULL && bio != NULL;
	X509 *x;

	while (ok && (x = next_cert(ctx, bio, 0)) != NULL)
		if (!sk_X509_push(chain, x)) {
			X509_free(x);
			ok = 0;
		}
	ok = ok && cssl_end_of_pem();
	BIO_free(bio);
	if (ok)
		return chain;
	sk_X509_pop_free(chain, X509_free);
	return NULL;
}

/*
 * Like read_chain, but shares the certificates if the same PEM was read before.
 */
static STACK_OF(X509) *shared_chain(cssl_reader *r, const unsigned char *pem, int len)
{
	STACK_OF(X509) *chain;
	unsigned char *copy;
	unsigned i;

	for (i = 0; i < CHAINS; i++)
		if (r->known[i].chain != NULL && r->known[i].len == len && memcmp(r->known[i].pem, pem, (size_t)len) == 0)
			return X509_chain_up_ref(r->known[i].chain);
	chain = read_chain(r->ctx, pem, len);
	copy = chain != NULL && len > 0 ? OPENSSL_malloc((size_t)len) : NULL;
	if (copy == NULL)
		return chain;
	memcpy(copy, pem, (size_t)len);
	i = r->next++ % CHAINS;
	OPENSSL_clear_free(r->known[i].pem, (size_t)r->known[i].len);
	sk_X509_pop_free(r->known[i].chain, X509_free);
	r->known[i].pem = copy;
	r->known[i].len = len;
	r->known[i].chain = chain;
	return X509_chain_up_ref(chain);
}

static long certs; /* how many exist; atomic */

long cssl_certs(void)
{
	return __atomic_load_n(&certs, __ATOMIC_RELAXED);
}

void cssl_cert_free(cssl_cert *c)
{
	if (c == NULL)
		return;
	X509_free(c->leaf);
	sk_X509_pop_free(c->chain, X509_free);
	EVP_PKEY_free(c->key);
	free(c->staple);
	for (int i = 0; c->compressed != NULL && i < CSSL_COMPRESSIONS; i++)
		OPENSSL_free(c->compressed[i].p);
	free(c->compressed);
	free(c);
	__atomic_sub_fetch(&certs, 1, __ATOMIC_RELAXED);
}

/*
 * Returns a decoder of PEM private keys of this type; NULL if there is no slot
 * for it or no memory.
 */
static OSSL_DECODER_CTX *decoder_of(cssl_reader *r, const char *type)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(r->ctx);
	int i = 0;

	while (i < DECODERS && r->decoder[i].type[0] != '\0' && strcmp(r->decoder[i].type, type) != 0)
		i++;
	if (i == DECODERS || strlen(type) >= sizeof r->decoder[i].type)
		return NULL;
	if (r->decoder[i].ctx == NULL) {
		strcpy(r->decoder[i].type, type);
		r->decoder[i].ctx = OSSL_DECODER_CTX_new_for_pkey(&r->key, "PEM", NULL, type, EVP_PKEY_KEYPAIR, d->library, d->properties);
	}
	return r->decoder[i].ctx;
}

/*
 * Returns the key that pem begins with if it is unencrypted and of the type of
 * c's leaf; otherwise NULL, without an error.
 */
static EVP_PKEY *read_key(cssl_reader *r, const cssl_cert *c, const unsigned char *pem, int len)
{
	const char *type = cssl_cert_type(c);
	OSSL_DECODER_CTX *decoder = type != NULL ? decoder_of(r, type) : NULL;
	size_t left = (size_t)len;

	r->key = NULL;
	if (decoder == NULL || !OSSL_DECODER_from_data(decoder, &pem, &left)) {
		EVP_PKEY_free(r->key);
		r->key = NULL;
	}
	ERR_clear_error();
	return r->key;
}

cssl_cert *cssl_cert_new(cssl_reader *r, const void *chain, int chain_len, const void *key, int key_len, cssl_reasons *out)
{
	cssl_cert *c = calloc(1, sizeof *c);
	BIO *bio;
	int left;

	ERR_clear_error();
	if (c == NULL) {
		cssl_done(0, out);
		return NULL;
	}
	__atomic_add_fetch(&certs, 1, __ATOMIC_RELAXED);
	bio = BIO_new_mem_buf(chain, chain_len);
	if (bio != NULL)
		c->leaf = next_cert(r->ctx, bio, 1);
	left = c->leaf != NULL ? (int)BIO_pending(bio) : 0;
	if (c->leaf != NULL)
		c->chain = shared_chain(r, (const unsigned char *)chain + (chain_len - left), left);
	BIO_free(bio);
	if (!cssl_done(c->chain != NULL, out)) {
		cssl_cert_free(c);
		return NULL;
	}
	if (key_len > 0)
		c->key = read_key(r, c, key, key_len);
	return c;
}

int cssl_cert_staple(cssl_cert *c, const unsigned char *der, int len, cssl_reasons *out)
{
	const unsigned char *p = der;
	int ok;

	ERR_clear_error();
	do {
		OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &p, der + len - p);

		ok = r != NULL && OCSP_response_status(r) == OCSP_RESPONSE_STATUS_SUCCESSFUL;
		OCSP_RESPONSE_free(r);
		if (c->staples++ == 0)
			c->first_staple = (int)(p - der);
	} while (ok && p < der + len);
	if (ok)
		c->staple = malloc((size_t)len);
	if (c->staple != NULL) {
		memcpy(c->staple, der, (size_t)len);
		c->staple_len = len;
	}
	return cssl_done(c->staple != NULL, out);
}

const char *cssl_cert_type(const cssl_cert *c)
{
	const EVP_PKEY *key = X509_get0_pubkey(c->leaf);

	return key != NULL ? EVP_PKEY_get0_type_name(key) : NULL;
}

int cssl_ctx_use(SSL_CTX *ctx, const cssl_cert *c, cssl_reasons *out)
{
	int ok;

	ERR_clear_error();
	ok = SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 1) == 1;
	for (int i = 0; ok && c->compressed != NULL && i < CSSL_COMPRESSIONS; i++)
		if (c->compressed[i].p != NULL)
			ok = cssl_newer.SSL_CTX_set1_compressed_cert(ctx, i, c->compressed[i].p, c->compressed[i].len, c->compressed[i].whole);
	return cssl_done(ok, out);
}

int cssl_ssl_put(SSL *ssl, const cssl_cert *c)
{
	int ok = SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1) == 1;

	for (int i = 0; ok && c->compressed != NULL && i < CSSL_COMPRESSIONS; i++)
		if (c->compressed[i].p != NULL)
			ok = cssl_newer.SSL_set1_compressed_cert(ssl, i, c->compressed[i].p, c->compressed[i].len, c->compressed[i].whole);
	return ok;
}

int cssl_ssl_use(SSL *ssl, const cssl_cert *c, cssl_reasons *out)
{
	ERR_clear_error();
	return cssl_done(cssl_ssl_put(ssl, c), out);
}

int cssl_ctx_compress(SSL_CTX *ctx, const int *algorithms, size_t count)
{
	cssl_ctx_data *d = cssl_data_of_ctx(ctx);

	for (size_t i = 0; i < count; i++) {
		d->compress[i] = algorithms[i];
		/* Given several, OpenSSL leaves out those that it lacks. */
		if (!cssl_newer.SSL_CTX_set1_cert_comp_preference(ctx, &d->compress[i], 1))
			return 0;
	}
	d->compress_count = count;
	return cssl_newer.SSL_CTX_set1_cert_comp_preference(ctx, d->compress, count);
}

int cssl_ssl_compress(SSL *ssl, const SSL_CTX *ctx)
{
	cssl_ctx_data *d = cssl_data_of_ctx(ctx);

	return d->compress_count == 0 || cssl_newer.SSL_set1_cert_comp_preference(ssl, d->compress, d->compress_count);
}

void cssl_cert_compress(cssl_cert *c, SSL *ssl)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));
	struct cssl_compressed *all;

	if (d->compress_count == 0 || c->staple != NULL)
		return;
	all = cssl_ssl_put(ssl, c) ? calloc(CSSL_COMPRESSIONS, sizeof *all) : NULL;
	for (size_t i = 0; all != NULL && i < d->compress_count; i++) {
		struct cssl_compressed *x = &all[d->compress[i]];

		x->len = cssl_newer.SSL_get1_compressed_cert(ssl, d->compress[i], &x->p, &x->whole);
		if (x->len < x->whole)
			continue;
		OPENSSL_free(x->p);
		x->p = NULL;
	}
	c->compressed = all;
	ERR_clear_error();
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
	ok = ok && bio != NULL && cssl_end_of_pem();
	BIO_free(bio);
	return cssl_done(ok, out) ? n : -1;
}

int cssl_ctx_trust_system(SSL_CTX *ctx, cssl_reasons *out)
{
	ERR_clear_error();
	return cssl_done(SSL_CTX_set_default_verify_paths(ctx), out);
}

/* Returns the next revocation list, like next_cert. */
static X509_CRL *next_crl(SSL_CTX *ctx, BIO *bio)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	X509_CRL *crl = X509_CRL_new_ex(d->library, d->properties);

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
	ok = ok && bio != NULL && cssl_end_of_pem() && X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	BIO_free(bio);
	return cssl_done(ok, out) ? n : -1;
}

unsigned char *cssl_put_length(unsigned char *p, long n)
{
	p[0] = (unsigned char)(n >> 24);
	p[1] = (unsigned char)(n >> 16);
	p[2] = (unsigned char)(n >> 8);
	p[3] = (unsigned char)n;
	return p + 4;
}

static long put_cert(const X509 *x, unsigned char *p)
{
	int n = i2d_X509(x, NULL);

	if (n < 0)
		return 0;
	if (p != NULL) {
		p = cssl_put_length(p, n);
		i2d_X509(x, &p);
	}
	return n + 4;
}

long cssl_put_key(const EVP_PKEY *key, unsigned char **out)
{
	int n = i2d_PUBKEY(key, NULL);
	unsigned char *p = *out = n > 0 ? malloc((size_t)n + 4) : NULL;

	if (p == NULL)
		return 0;
	p = cssl_put_length(p, n);
	i2d_PUBKEY(key, &p);
	return n + 4;
}

long cssl_put_chain(const X509 *leaf, const STACK_OF(X509) *chain, int first, unsigned char **out)
{
	int i, count = sk_X509_num(chain);
	long total = 0, at = 0;

	*out = NULL;
	if (leaf != NULL)
		total = put_cert(leaf, NULL);
	for (i = first; i < count; i++)
		total += put_cert(sk_X509_value(chain, i), NULL);
	if (total > 0)
		*out = malloc((size_t)total);
	if (*out == NULL)
		return 0;
	if (leaf != NULL)
		at = put_cert(leaf, *out);
	for (i = first; i < count; i++)
		at += put_cert(sk_X509_value(chain, i), *out + at);
	ERR_clear_error();
	return at;
}

STACK_OF(X509) *cssl_take_chain(const unsigned char *p, long len)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	const unsigned char *end = p + len, *next;
	X509 *x;

	while (chain != NULL && end - p >= 4) {
		long n = (long)p[0] << 24 | (long)p[1] << 16 | (long)p[2] << 8 | (long)p[3];

		p += 4;
		next = p;
		x = n <= end - p ? d2i_X509(NULL, &next, n) : NULL;
		if (x == NULL || !sk_X509_push(chain, x)) {
			X509_free(x);
			sk_X509_pop_free(chain, X509_free);
			return NULL;
		}
		p += n;
	}
	return chain;
}

int cssl_ctx_ca_name(SSL_CTX *ctx, const unsigned char *der, long len, cssl_reasons *out)
{
	STACK_OF(X509_NAME) *names = SSL_CTX_get_client_CA_list(ctx);
	const unsigned char *p = der;
	X509_NAME *name;
	int ok;

	ERR_clear_error();
	name = d2i_X509_NAME(NULL, &p, len);
	if (names == NULL && (names = sk_X509_NAME_new_null()) != NULL)
		SSL_CTX_set_client_CA_list(ctx, names); /* which owns it */
	ok = names != NULL && name != NULL && p == der + len && sk_X509_NAME_push(names, name);
	if (!ok)
		X509_NAME_free(name);
	return cssl_done(ok, out);
}
