//go:build cgo

#include "ech.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#if OPENSSL_VERSION_NUMBER >= 0x40000000L && !defined(OPENSSL_NO_ECH)

#include <openssl/ech.h>
#include <openssl/x509v3.h>

int cssl_ech_supported(void)
{
	return 1;
}

int cssl_ctx_ech_key(SSL_CTX *ctx, const void *pem, int len, int retry, cssl_reasons *out)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	OSSL_ECHSTORE *store = SSL_CTX_get1_echstore(ctx);
	BIO *in = BIO_new_mem_buf(pem, len);
	int before = 0, after = 0, ok;

	ERR_clear_error();
	if (store == NULL)
		store = OSSL_ECHSTORE_new(d->library, d->properties);
	ok = store != NULL && in != NULL && OSSL_ECHSTORE_num_keys(store, &before) &&
	     OSSL_ECHSTORE_read_pem(store, in, retry ? OSSL_ECH_FOR_RETRY : OSSL_ECH_NO_RETRY) && OSSL_ECHSTORE_num_keys(store, &after) &&
	     after > before && SSL_CTX_set1_echstore(ctx, store);
	OSSL_ECHSTORE_free(store);
	BIO_free(in);
	return cssl_done(ok, out);
}

void cssl_ctx_ech_trial(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_ECH_TRIALDECRYPT);
}

void cssl_ctx_ech_grease(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_ECH_GREASE);
}

int cssl_ssl_ech(SSL *ssl, const unsigned char *list, size_t len, const char *outer, const unsigned char *alpn, size_t alpn_len,
                 cssl_reasons *out)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));
	OSSL_ECHSTORE *store;
	BIO *in;
	int ok, n = 0;

	ERR_clear_error();
	store = OSSL_ECHSTORE_new(d->library, d->properties);
	in = BIO_new_mem_buf(list, (int)len);
	ok = store != NULL && in != NULL && OSSL_ECHSTORE_read_echconfiglist(store, in) && OSSL_ECHSTORE_num_entries(store, &n) && n > 0 &&
	     SSL_set1_echstore(ssl, store) && SSL_set_min_proto_version(ssl, TLS1_3_VERSION) &&
	     (outer == NULL || SSL_ech_set1_outer_server_name(ssl, outer, 0)) &&
	     (alpn_len == 0 || SSL_ech_set1_outer_alpn_protos(ssl, alpn, alpn_len));
	OSSL_ECHSTORE_free(store);
	BIO_free(in);
	SSL_clear_options(ssl, SSL_OP_ECH_GREASE);
	return cssl_done(ok, out);
}

int cssl_ssl_ech_status(SSL *ssl, char outer[CSSL_NAME])
{
	char *inner = NULL, *name = NULL;
	int status = SSL_ech_get1_status(ssl, &inner, &name);

	outer[0] = 0;
	if (name != NULL)
		strncat(outer, name, CSSL_NAME - 1);
	OPENSSL_free(inner);
	OPENSSL_free(name);
	switch (status) {
	case SSL_ECH_STATUS_SUCCESS:
	case SSL_ECH_STATUS_BAD_NAME: /* the verification, which is another matter, has failed */
		return CSSL_ECH_ACCEPTED;
	case SSL_ECH_STATUS_GREASE:
	case SSL_ECH_STATUS_GREASE_ECH:
		return SSL_is_server(ssl) ? CSSL_ECH_REJECTED : CSSL_ECH_GREASE;
	case SSL_ECH_STATUS_NOT_TRIED:
	case SSL_ECH_STATUS_NOT_CONFIGURED:
	case SSL_ECH_STATUS_BACKEND:
		return CSSL_ECH_NONE;
	}
	ERR_clear_error();
	return CSSL_ECH_REJECTED;
}

/*
 * Whether the server's certificate, which is valid for the outer name, is for
 * the public name as well (RFC 9849, section 6.1.7). If the outer name is none
 * of the list's public names, it must be for each of these, since OpenSSL does
 * not tell which configuration it has used. A raw public key is for any name.
 */
static int for_public_name(SSL *ssl, const char *outer)
{
	OSSL_ECHSTORE *store = SSL_get1_echstore(ssl);
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	unsigned flags = X509_VERIFY_PARAM_get_hostflags(SSL_get0_param(ssl));
	int i, n = 0, has_key, for_retry, all = 1, one = 0;

	if (store == NULL || !OSSL_ECHSTORE_num_entries(store, &n))
		all = 0;
	for (i = 0; i < n; i++) {
		char *name = NULL, *config = NULL;
		time_t age;

		if (OSSL_ECHSTORE_get1_info(store, i, &age, &name, &config, &has_key, &for_retry) && name != NULL) {
			one |= outer != NULL && OPENSSL_strcasecmp(name, outer) == 0;
			all &= leaf == NULL || X509_check_host(leaf, name, 0, flags, NULL) == 1;
		} else {
			all = 0;
		}
		OPENSSL_free(name);
		OPENSSL_free(config);
	}
	OSSL_ECHSTORE_free(store);
	return one || all;
}

int cssl_ssl_ech_retry(SSL *ssl, const cssl_reasons *reasons, unsigned char **list, size_t *len)
{
	unsigned char *p = NULL;
	char *inner = NULL, *outer = NULL;
	size_t n = 0;
	int i, proven, required = 0;

	for (i = 0; reasons != NULL && i < reasons->count; i++)
		required |= ERR_GET_LIB(reasons->entry[i].code) == ERR_LIB_SSL && ERR_GET_REASON(reasons->entry[i].code) == SSL_R_ECH_REQUIRED;
	*list = NULL;
	*len = 0;
	if (!required || SSL_is_server(ssl))
		return 0;
	proven = SSL_ech_get1_status(ssl, &inner, &outer) == SSL_ECH_STATUS_FAILED_ECH && for_public_name(ssl, outer);
	OPENSSL_free(inner);
	OPENSSL_free(outer);
	if (proven && SSL_ech_get1_retry_config(ssl, &p, &n) && n > 0 && (*list = malloc(n)) != NULL)
		memcpy(*list, p, *len = n);
	OPENSSL_free(p);
	ERR_clear_error();
	return 1;
}

static unsigned char *put(unsigned char *p, size_t n, int bytes)
{
	while (bytes-- > 0)
		*p++ = (unsigned char)(n >> 8 * bytes);
	return p;
}

static unsigned char *put_all(unsigned char *p, const unsigned char *from, size_t n)
{
	return n > 0 ? (unsigned char *)memcpy(p, from, n) + n : p;
}

long cssl_ech_inner(SSL *ssl, unsigned char **out)
{
	char outer[CSSL_NAME];
	const unsigned char *random, *id, *suites, *methods, *ext;
	size_t random_len, id_len, suites_len, methods_len, ext_len, count = 0, all = 0, total, i;
	unsigned char *p;
	int *types = NULL;

	*out = NULL;
	if (cssl_ssl_ech_status(ssl, outer) != CSSL_ECH_ACCEPTED)
		return 0;
	random_len = SSL_client_hello_get0_random(ssl, &random);
	id_len = SSL_client_hello_get0_session_id(ssl, &id);
	suites_len = SSL_client_hello_get0_ciphers(ssl, &suites);
	methods_len = SSL_client_hello_get0_compression_methods(ssl, &methods);
	if (!SSL_client_hello_get1_extensions_present(ssl, &types, &count))
		return -1;
	for (i = 0; i < count; i++)
		if (SSL_client_hello_get0_ext(ssl, (unsigned)types[i], &ext, &ext_len))
			all += 4 + ext_len;
	total = 4 + 2 + random_len + 1 + id_len + 2 + suites_len + 1 + methods_len + 2 + all;
	p = *out = malloc(total);
	if (p != NULL) {
		*p++ = SSL3_MT_CLIENT_HELLO;
		p = put(p, total - 4, 3);
		p = put(p, SSL_client_hello_get0_legacy_version(ssl), 2);
		p = put_all(p, random, random_len);
		p = put_all(put(p, id_len, 1), id, id_len);
		p = put_all(put(p, suites_len, 2), suites, suites_len);
		p = put_all(put(p, methods_len, 1), methods, methods_len);
		p = put(p, all, 2);
		for (i = 0; i < count; i++)
			if (SSL_client_hello_get0_ext(ssl, (unsigned)types[i], &ext, &ext_len))
				p = put_all(put(put(p, (size_t)types[i], 2), ext_len, 2), ext, ext_len);
	}
	OPENSSL_free(types);
	return p != NULL ? (long)total : -1;
}

#else

int cssl_ech_supported(void)
{
	return 0;
}

int cssl_ctx_ech_key(SSL_CTX *ctx, const void *pem, int len, int retry, cssl_reasons *out)
{
	(void)ctx, (void)pem, (void)len, (void)retry;
	return cssl_done(0, out);
}

void cssl_ctx_ech_trial(SSL_CTX *ctx)
{
	(void)ctx;
}

void cssl_ctx_ech_grease(SSL_CTX *ctx)
{
	(void)ctx;
}

int cssl_ssl_ech(SSL *ssl, const unsigned char *list, size_t len, const char *outer, const unsigned char *alpn, size_t alpn_len,
                 cssl_reasons *out)
{
	(void)ssl, (void)list, (void)len, (void)outer, (void)alpn, (void)alpn_len;
	return cssl_done(0, out);
}

int cssl_ssl_ech_status(SSL *ssl, char outer[CSSL_NAME])
{
	(void)ssl;
	outer[0] = 0;
	return CSSL_ECH_NONE;
}

int cssl_ssl_ech_retry(SSL *ssl, const cssl_reasons *reasons, unsigned char **list, size_t *len)
{
	(void)ssl, (void)reasons, (void)list, (void)len;
	return 0;
}

long cssl_ech_inner(SSL *ssl, unsigned char **out)
{
	(void)ssl, (void)out;
	return 0;
}

#endif
