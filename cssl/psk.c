//go:build cgo

#include "beside.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/*
 * External pre-shared keys (RFC 8446, section 4.2.11). Each is an SSL_SESSION,
 * as OpenSSL expects; it wipes the key when it frees one. The identity is in
 * the session's application data, which the tickets of the connection inherit,
 * so a resumption knows the identity.
 */
struct cssl_psk_table {
	size_t count;
	SSL_SESSION *session[]; /* in the order of compare */
};

typedef struct {
	const unsigned char *p;
	size_t len;
} identity;

void cssl_psks_free(cssl_psk_table *t)
{
	for (size_t i = 0; t != NULL && i < t->count; i++)
		SSL_SESSION_free(t->session[i]);
	free(t);
}

/*
 * Returns the identity in the session's application data; length 0 if there is
 * none.
 */
static identity identity_of(SSL_SESSION *s)
{
	identity none = {NULL, 0};
	void *p = NULL;
	size_t n = 0;

	if (!SSL_SESSION_get0_ticket_appdata(s, &p, &n) || n <= CSSL_LIFE)
		return none;
	return (identity){(unsigned char *)p + CSSL_LIFE, n - CSSL_LIFE};
}

static int compare(const void *wanted, const void *entry)
{
	const identity *x = wanted, y = identity_of(*(SSL_SESSION *const *)entry);

	if (x->len != y.len)
		return x->len < y.len ? -1 : 1;
	return memcmp(x->p, y.p, y.len);
}

static SSL_SESSION *find(const SSL_CTX *ctx, identity wanted)
{
	const cssl_psk_table *t = cssl_data_of_ctx(ctx)->psks;
	SSL_SESSION *const *s = t != NULL ? bsearch(&wanted, t->session, t->count, sizeof t->session[0], compare) : NULL;

	return s != NULL ? *s : NULL;
}

/*
 * A server's callback. OpenSSL copies the session, so all connections can share
 * one.
 */
static int find_session(SSL *ssl, const unsigned char *p, size_t len, SSL_SESSION **out)
{
	SSL_SESSION *s = find(SSL_get_SSL_CTX(ssl), (identity){p, len});

	*out = s != NULL && SSL_SESSION_up_ref(s) ? s : NULL; /* NULL: it may be a ticket */
	return 1;
}

/*
 * A client's callback. md is the hash that a HelloRetryRequest has fixed, or
 * NULL. OpenSSL changes the session, so each connection gets its own.
 */
static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **p, size_t *len, SSL_SESSION **out)
{
	SSL_SESSION *s = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl))->psks->session[0];
	identity id = identity_of(s);

	*out = NULL;
	*p = id.p;
	*len = id.len;
	if (md != NULL && !EVP_MD_is_a(md, EVP_MD_get0_name(SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(s)))))
		return 1; /* in OpenSSL 3 the pointers may differ for the same hash */
	*out = SSL_SESSION_dup(s);
	return *out != NULL;
}

/*
 * A ticket of a connection that used a PSK is valid as long as the PSK is
 * configured, whichever Context issued it: several may share ticket keys.
 * Sessions in the cache belong to this Context, whose table does not change.
 */
int cssl_psk_known(const SSL_CTX *ctx, SSL_SESSION *s)
{
	identity id = identity_of(s);

	return id.len == 0 || find(ctx, id) != NULL;
}

int cssl_ctx_psk(SSL_CTX *ctx, const unsigned char *p, size_t len, const unsigned char *key, size_t key_len,
                 const SSL_CIPHER *cipher, const unsigned char *session_id_context, cssl_reasons *out)
{
	cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	size_t count = d->psks != NULL ? d->psks->count : 0;
	cssl_psk_table *t = realloc(d->psks, sizeof *t + (count + 1) * sizeof t->session[0]);
	unsigned char data[CSSL_LIFE + CSSL_MAX_IDENTITY] = {0};
	SSL_SESSION *s;

	ERR_clear_error();
	if (t == NULL)
		return cssl_done(0, out);
	d->psks = t;
	t->count = count;
	s = SSL_SESSION_new();
	memcpy(data + CSSL_LIFE, p, len);
	if (s == NULL || !SSL_SESSION_set1_master_key(s, key, key_len) || !SSL_SESSION_set_cipher(s, cipher) ||
	    !SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) || !SSL_SESSION_set1_id_context(s, session_id_context, 32) ||
	    !SSL_SESSION_set1_ticket_appdata(s, data, CSSL_LIFE + len)) {
		SSL_SESSION_free(s);
		return cssl_done(0, out);
	}
	t->session[t->count++] = s;
	if (SSL_CTX_get_ssl_method(ctx) == TLS_server_method())
		SSL_CTX_set_psk_find_session_callback(ctx, find_session);
	else
		SSL_CTX_set_psk_use_session_callback(ctx, use_session);
	return cssl_done(1, out);
}

void cssl_psk_switch(SSL *ssl, SSL_CTX *to)
{
	SSL_set_psk_find_session_callback(ssl, cssl_data_of_ctx(to)->psks != NULL ? find_session : NULL);
}

size_t cssl_ssl_psk(SSL *ssl, const unsigned char **p)
{
	SSL_SESSION *s = SSL_get_session(ssl);
	identity id = s != NULL ? identity_of(s) : (identity){NULL, 0};

	*p = id.p;
	return id.len;
}
