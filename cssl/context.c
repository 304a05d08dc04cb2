//go:build cgo

#include "context.h"
#include "byname.h"
#include "decide.h"
#include "exdata.h"
#include "library.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

static long contexts; /* how many SSL_CTX there are; atomic */

long cssl_contexts(void)
{
	return __atomic_load_n(&contexts, __ATOMIC_RELAXED);
}

/* The last reference to an SSL_CTX has gone. OpenSSL also calls this for one that it could not complete, which has no data. */
static void free_data(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	cssl_ctx_data *d = ptr;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (d == NULL)
		return;
	cssl_names_free(d->names);
	cssl_psks_free(d->psks);
	cssl_ticket_keys_free(d->ticket_keys);
	free(d->alpn);
	free(d->groups);
	free(d->properties);
	if (d->handle != 0)
		cssl_go_release(d->handle); /* certificates, which the names point to, and other SSL_CTX */
	free(d);
	__atomic_sub_fetch(&contexts, 1, __ATOMIC_RELAXED);
}

int cssl_init(void)
{
	return OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL) && cssl_exdata_init(free_data) && cssl_keystore_init();
}

/* Counts ctx, and keeps what it was made with. False when out of memory. */
static int keep_data(SSL_CTX *ctx, const cssl_settings *s)
{
	cssl_ctx_data *d = calloc(1, sizeof *d);

	if (d == NULL)
		return 0;
	d->library = s->library;
	if ((s->properties == NULL || (d->properties = strdup(s->properties)) != NULL) && cssl_data_set_ctx(ctx, d)) {
		__atomic_add_fetch(&contexts, 1, __ATOMIC_RELAXED);
		return 1;
	}
	free(d->properties);
	free(d);
	return 0;
}

/* False if properties cannot be parsed: OpenSSL tells no one then, and fetches as if none had been given. */
static int parses(const char *properties)
{
	OSSL_LIB_CTX *scratch;
	int ok;

	if (properties == NULL)
		return 1;
	scratch = OSSL_LIB_CTX_new();
	ok = scratch != NULL && EVP_set_default_properties(scratch, properties);
	OSSL_LIB_CTX_free(scratch);
	return ok;
}

SSL_CTX *cssl_ctx_new(const cssl_settings *s, cssl_reasons *out)
{
	SSL_CTX *ctx = NULL;
	int ok;

	ERR_clear_error();
	if (parses(s->properties))
		ctx = SSL_CTX_new_ex(s->library, s->properties, s->server ? TLS_server_method() : TLS_client_method());
	if (ctx == NULL || !keep_data(ctx, s)) {
		cssl_done(0, out);
		SSL_CTX_free(ctx);
		return NULL;
	}
	/* Legacy renegotiation and compression stay off: OpenSSL's defaults since 3.0 and 1.1.0. */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                          (s->release_buffers ? SSL_MODE_RELEASE_BUFFERS : 0));
	SSL_CTX_set_read_ahead(ctx, s->read_ahead);
	/* OpenSSL 3.0 refuses a client's own renegotiation unless it is allowed by name. */
	SSL_CTX_set_options(ctx, s->renegotiation ? SSL_OP_ALLOW_CLIENT_RENEGOTIATION : SSL_OP_NO_RENEGOTIATION);
	if (s->no_tickets)
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	if (s->server) {
		SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
		cssl_decide_name(ctx);
	}
	if (s->no_middlebox_compat)
		SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
	SSL_CTX_set_verify(ctx, s->verify_mode | (s->server && s->post_handshake_auth ? SSL_VERIFY_POST_HANDSHAKE : 0), NULL);
	if (!s->server)
		SSL_CTX_set_post_handshake_auth(ctx, s->post_handshake_auth);
	/* A chain may end in any certificate that is trusted, not in a self-signed one alone. */
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
	if (s->verify_depth >= 0)
		SSL_CTX_set_verify_depth(ctx, s->verify_depth);
	if (!s->server) {
		SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	} else if (s->session_cache > 0) {
		SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER);
		SSL_CTX_sess_set_cache_size(ctx, s->session_cache);
	} else {
		SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	}
	ok = SSL_CTX_set_min_proto_version(ctx, s->min_version) && SSL_CTX_set_max_proto_version(ctx, s->max_version) &&
	     SSL_CTX_set_num_tickets(ctx, (size_t)s->tickets) && cssl_default_ciphers(ctx) && cssl_default_groups(ctx, 0) &&
	     SSL_CTX_set_session_id_context(ctx, s->session_id_context, sizeof s->session_id_context);
	if (!cssl_done(ok, out)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

int cssl_ctx_has_cipher(SSL_CTX *ctx, const char *name)
{
	const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);

	for (int i = 0; i < sk_SSL_CIPHER_num(all); i++)
		if (strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(all, i)), name) == 0)
			return 1;
	return 0;
}

/* Whether ctx is a server's and has a suite with DHE. */
static int serves_dhe(SSL_CTX *ctx)
{
	const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);

	if (SSL_CTX_get_ssl_method(ctx) != TLS_server_method())
		return 0;
	for (int i = 0; i < sk_SSL_CIPHER_num(all); i++)
		if (SSL_CIPHER_get_kx_nid(sk_SSL_CIPHER_value(all, i)) == NID_kx_dhe)
			return 1;
	return 0;
}

int cssl_ctx_string(SSL_CTX *ctx, int which, const char *value, cssl_reasons *out)
{
	int ok = 0;

	ERR_clear_error();
	switch (which) {
	case CSSL_CIPHERS:
		/* For the suites with DHE that are named. The default list leaves a server without them. */
		ok = SSL_CTX_set_cipher_list(ctx, value) && SSL_CTX_set_dh_auto(ctx, 1) &&
		     (!serves_dhe(ctx) || cssl_default_groups(ctx, 1)); /* CSSL_GROUPS comes later */
		break;
	case CSSL_CIPHERSUITES:
		ok = SSL_CTX_set_ciphersuites(ctx, value);
		break;
	case CSSL_GROUPS:
		ok = (int)SSL_CTX_set1_groups_list(ctx, value);
		if (ok == 1) {
			/* OpenSSL does not tell them again, and a change of SSL_CTX has to copy them. */
			cssl_ctx_data *d = cssl_data_of_ctx(ctx);
			free(d->groups);
			d->groups = strdup(value);
			ok = d->groups != NULL;
		}
		break;
	case CSSL_SIGALGS:
		ok = (int)SSL_CTX_set1_sigalgs_list(ctx, value);
		break;
	}
	return cssl_done(ok == 1, out);
}

static int select_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
	const cssl_ctx_data *d = arg;

	(void)ssl;
	if (SSL_select_next_proto((unsigned char **)chosen, chosen_len, d->alpn, d->alpn_len, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, section 3.2: no_application_protocol */
	return SSL_TLSEXT_ERR_OK;
}

int cssl_ctx_alpn(SSL_CTX *ctx, int server, const unsigned char *wire, unsigned len, cssl_reasons *out)
{
	cssl_ctx_data *d = cssl_data_of_ctx(ctx);

	ERR_clear_error();
	if (!server)
		return cssl_done(SSL_CTX_set_alpn_protos(ctx, wire, len) == 0, out);
	d->alpn = malloc(len);
	if (d->alpn == NULL)
		return cssl_done(0, out);
	d->alpn_len = len;
	memcpy(d->alpn, wire, len);
	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, d);
	return cssl_done(1, out);
}

static void on_keylog(const SSL *ssl, const char *line)
{
	cssl_go_keylog(cssl_data_of_ctx(SSL_get_SSL_CTX(ssl))->handle, (char *)line);
}

void cssl_ctx_bind(SSL_CTX *ctx, uintptr_t handle, int keylog)
{
	cssl_data_of_ctx(ctx)->handle = handle;
	if (keylog)
		SSL_CTX_set_keylog_callback(ctx, on_keylog);
}

long cssl_ctx_cached(SSL_CTX *ctx)
{
	return SSL_CTX_sess_number(ctx);
}

int cssl_ssl_server_name(SSL *ssl, const char *name, cssl_reasons *out)
{
	ERR_clear_error();
	return cssl_done((int)SSL_set_tlsext_host_name(ssl, name), out);
}

#if OPENSSL_VERSION_NUMBER < 0x40000000L
#define SSL_set1_dnsname SSL_set1_host /* which 4.0 deprecates */
#endif

int cssl_ssl_verify_name(SSL *ssl, const char *name, int is_ip, int common_name, cssl_reasons *out)
{
	ERR_clear_error();
	if (is_ip)
		return cssl_done(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name), out);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | (common_name ? 0 : X509_CHECK_FLAG_NEVER_CHECK_SUBJECT));
	return cssl_done(SSL_set1_dnsname(ssl, name), out);
}
