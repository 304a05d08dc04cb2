//go:build cgo

#include "byname.h"

#include "beside.h"
#include "exdata.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/*
 * Chooses a certificate by server name. The choice is made from the
 * ClientHello, before OpenSSL looks for a session, so that a session is valid
 * for its name only. The SSL gets the certificates when a full handshake needs
 * one.
 */

struct cssl_server_name {
	unsigned char session_id_context[32];
	cssl_cert **certs;
	size_t count; /* of certs */
	size_t first; /* preferred certs; the others are for clients that support none of these */
	size_t len;
	char name[];
};

struct cssl_name_table {
	size_t count;
	cssl_server_name *own;     /* for clients that ask for no name in the table */
	cssl_server_name *entry[]; /* sorted */
};

static void free_name(cssl_server_name *n)
{
	if (n != NULL)
		free(n->certs);
	free(n);
}

void cssl_names_free(cssl_name_table *t)
{
	for (size_t i = 0; t != NULL && i < t->count; i++)
		free_name(t->entry[i]);
	if (t != NULL)
		free_name(t->own);
	free(t);
}

/* The order of the table. */
static int compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return c != 0 ? c : (a_len > b_len) - (a_len < b_len);
}

static cssl_server_name *find(const cssl_name_table *t, const char *name, size_t len)
{
	size_t from = 0, to = t->count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;
		int c = compare(name, len, t->entry[middle]->name, t->entry[middle]->len);

		if (c == 0)
			return t->entry[middle];
		if (c < 0)
			to = middle;
		else
			from = middle + 1;
	}
	return NULL;
}

/*
 * Writes the host name of the ClientHello (RFC 6066, section 3) to name, in
 * lower case and without a final dot. Returns its length; 0 if there is none or
 * OpenSSL will reject it.
 */
static size_t asked_for(SSL *ssl, char name[256])
{
	const unsigned char *p;
	size_t len, n;

	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &len) || len < 5 || p[2] != TLSEXT_NAMETYPE_host_name)
		return 0;
	n = (size_t)p[3] << 8 | p[4];
	if (n != len - 5 || n > 255)
		return 0;
	if (n > 0 && p[5 + n - 1] == '.')
		n--;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = p[5 + i];

		name[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
	}
	return n;
}

int cssl_names_choose(SSL *ssl, int keep_sessions)
{
	const cssl_name_table *t = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl))->names;
	cssl_ssl_data *d = cssl_data_of_ssl(ssl);
	char name[256] = "", *dot;
	cssl_server_name *n;
	size_t len;

	if (t == NULL || t->count == 0 || d->name != NULL)
		return 1;
	len = asked_for(ssl, name);
	n = find(t, name, len);
	dot = n == NULL && len > 0 ? memchr(name, '.', len) : NULL;
	if (dot != NULL && dot > name) {
		/* Replace the first label with a wildcard. */
		*--dot = '*';
		n = find(t, dot, len - (size_t)(dot - name));
	}
	d->name = n != NULL ? n : t->own;
	return n == NULL || (keep_sessions || SSL_set_session_id_context(ssl, n->session_id_context, sizeof n->session_id_context));
}

/*
 * Returns what was chosen, or else the certificates of the SSL_CTX; NULL if
 * that has no table.
 */
static const cssl_server_name *chosen(const SSL *ssl)
{
	const cssl_server_name *n = cssl_data_of_ssl(ssl)->name;
	const cssl_name_table *t = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl))->names;

	return n != NULL ? n : t != NULL ? t->own : NULL;
}

int cssl_names_chosen(const SSL *ssl)
{
	const cssl_server_name *n = cssl_data_of_ssl(ssl)->name;

	return n != NULL && n->len > 0;
}

static int on_hello(SSL *ssl, int *alert, void *arg)
{
	(void)arg;
	*alert = SSL_AD_INTERNAL_ERROR;
	return cssl_names_choose(ssl, 0) ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

/*
 * Returns 1 if a client of TLS 1.2 or earlier has a cipher suite that
 * authenticates with c's type of key.
 */
static int has_suite(const SSL *ssl, const cssl_cert *c)
{
	const STACK_OF(SSL_CIPHER) *suites = SSL_get_client_ciphers(ssl), *ours = SSL_get_ciphers(ssl);
	int auth = EVP_PKEY_is_a(c->key, "RSA") || EVP_PKEY_is_a(c->key, "RSA-PSS") ? NID_auth_rsa : NID_auth_ecdsa;

	for (int i = 0; i < sk_SSL_CIPHER_num(suites); i++) {
		const SSL_CIPHER *suite = sk_SSL_CIPHER_value(suites, i);

		if (SSL_CIPHER_get_auth_nid(suite) == auth && sk_SSL_CIPHER_find((STACK_OF(SSL_CIPHER) *)ours, suite) >= 0)
			return 1;
	}
	return 0;
}

/* Returns 1 if the client supports one of n's first certificates. */
static int first_will_do(SSL *ssl, const cssl_server_name *n)
{
	int tls13 = SSL_version(ssl) >= TLS1_3_VERSION;
	int need = tls13 ? CERT_PKEY_EE_SIGNATURE : CERT_PKEY_SIGN | CERT_PKEY_EE_PARAM;

	for (size_t i = 0; i < n->first; i++) {
		const cssl_cert *c = n->certs[i];

		if ((SSL_check_chain(ssl, c->leaf, c->key, c->chain) & need) == need && (tls13 || has_suite(ssl, c)))
			return 1;
	}
	return 0;
}

/*
 * The certificate callback: a full handshake is about to choose among the
 * certificates of ssl.
 */
static int on_certificate(SSL *ssl, void *arg)
{
	const cssl_server_name *n = cssl_data_of_ssl(ssl)->name;
	size_t count;

	(void)arg;
	if (n == NULL || n->len == 0)
		return 1; /* those of the SSL_CTX */
	count = n->first == n->count || first_will_do(ssl, n) ? n->first : n->count;
	SSL_certs_clear(ssl);
	for (size_t i = 0; i < count; i++)
		if (!cssl_ssl_put(ssl, n->certs[i]))
			return 0;
	return 1;
}

/*
 * The status callback: the client asks for an OCSP response, and the
 * certificate is already chosen.
 */
static int on_status(SSL *ssl, void *arg)
{
	const cssl_server_name *n = chosen(ssl);
	const X509 *leaf = SSL_get_certificate(ssl);

	(void)arg;
	for (size_t i = 0; n != NULL && i < n->count; i++)
		if (n->certs[i]->leaf == leaf && n->certs[i]->staple != NULL)
			return cssl_ssl_staple(ssl, n->certs[i]) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
	return SSL_TLSEXT_ERR_NOACK;
}

static cssl_server_name *new_name(SSL_CTX *ctx, const char *name, size_t len, cssl_cert *const *certs, size_t count)
{
	cssl_server_name *n = calloc(1, sizeof *n + len);

	if (n == NULL)
		return NULL;
	n->certs = calloc(count + 1, sizeof n->certs[0]);
	if (n->certs == NULL) {
		free(n);
		return NULL;
	}
	n->len = len;
	memcpy(n->name, name, len);
	for (; n->count < count; n->count++) {
		n->certs[n->count] = certs[n->count];
		if (certs[n->count]->staple != NULL)
			SSL_CTX_set_tlsext_status_cb(ctx, on_status);
	}
	return n;
}

int cssl_ctx_names(SSL_CTX *ctx, size_t count, cssl_cert *const *own, size_t own_count)
{
	cssl_name_table *t = calloc(1, sizeof *t + count * sizeof t->entry[0]);

	if (t == NULL || (t->own = new_name(ctx, "", 0, own, own_count)) == NULL) {
		cssl_names_free(t);
		return 0;
	}
	cssl_data_of_ctx(ctx)->names = t;
	if (count > 0) {
		SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
		SSL_CTX_set_cert_cb(ctx, on_certificate, NULL);
	}
	return 1;
}

int cssl_ctx_name(SSL_CTX *ctx, const char *name, size_t len, cssl_cert *const *certs, size_t count,
                  size_t first, const unsigned char *session_id_context)
{
	cssl_name_table *t = cssl_data_of_ctx(ctx)->names;
	cssl_server_name *n = new_name(ctx, name, len, certs, count);

	if (n == NULL)
		return 0;
	n->first = first;
	memcpy(n->session_id_context, session_id_context, sizeof n->session_id_context);
	t->entry[t->count++] = n;
	return 1;
}
