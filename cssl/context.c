//go:build cgo

#include "context.h"
#include "byname.h"
#include "decide.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/*
 * From nine indices of SSL_CTX on, SSL_CTX_free allocates memory for the list of
 * them, and calls no function that frees if there is none. So there are no more
 * than eight.
 */
static int origin_index = -1, handle_index = -1, alpn_index = -1, groups_index = -1;

static long contexts; /* how many SSL_CTX there are; atomic */

/* What an SSL_CTX was made with, which OpenSSL does not tell again. */
typedef struct {
	OSSL_LIB_CTX *library;
	char *properties; /* or NULL */
} origin;

/* OpenSSL also calls this for an SSL_CTX that it could not complete; only those that were counted have ptr. */
static void release_origin(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	origin *o = ptr;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (o == NULL)
		return;
	free(o->properties);
	free(o);
	__atomic_sub_fetch(&contexts, 1, __ATOMIC_RELAXED);
}

long cssl_contexts(void)
{
	return __atomic_load_n(&contexts, __ATOMIC_RELAXED);
}

static void release_handle(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (ptr != NULL)
		cssl_go_release((uintptr_t)ptr);
}

/* A server's ALPN list in wire form. */
typedef struct {
	unsigned len;
	unsigned char wire[];
} alpn_list;

static void release_memory(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

int cssl_init(void)
{
	if (!OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL))
		return 0;
	origin_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release_origin);
	handle_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release_handle);
	alpn_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release_memory);
	groups_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release_memory);
	return origin_index >= 0 && handle_index >= 0 && alpn_index >= 0 && groups_index >= 0 && cssl_tickets_init() &&
	       cssl_store_init() && cssl_decide_init() && cssl_extras_init() && cssl_names_init();
}

int cssl_done(int ok, cssl_reasons *out)
{
	if (!ok)
		cssl_take_reasons(out);
	ERR_clear_error();
	return ok;
}

OSSL_LIB_CTX *cssl_ctx_library(const SSL_CTX *ctx)
{
	const origin *o = SSL_CTX_get_ex_data(ctx, origin_index);

	return o->library;
}

const char *cssl_ctx_properties(const SSL_CTX *ctx)
{
	const origin *o = SSL_CTX_get_ex_data(ctx, origin_index);

	return o->properties;
}

/* Counts ctx, and keeps what it was made with. False when out of memory. */
static int keep_origin(SSL_CTX *ctx, const cssl_settings *s)
{
	origin *o = calloc(1, sizeof *o);

	if (o == NULL)
		return 0;
	o->library = s->library;
	if ((s->properties == NULL || (o->properties = strdup(s->properties)) != NULL) &&
	    SSL_CTX_set_ex_data(ctx, origin_index, o)) {
		__atomic_add_fetch(&contexts, 1, __ATOMIC_RELAXED);
		return 1;
	}
	free(o->properties);
	free(o);
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
	if (ctx == NULL || !keep_origin(ctx, s)) {
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
	SSL_CTX_set_verify(ctx, s->verify_mode, NULL);
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
			char *kept = strdup(value), *before = SSL_CTX_get_ex_data(ctx, groups_index);
			ok = kept != NULL && SSL_CTX_set_ex_data(ctx, groups_index, kept);
			free(ok ? before : kept);
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
	const alpn_list *a = arg;

	(void)ssl;
	if (SSL_select_next_proto((unsigned char **)chosen, chosen_len, a->wire, a->len, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, section 3.2: no_application_protocol */
	return SSL_TLSEXT_ERR_OK;
}

int cssl_ctx_alpn(SSL_CTX *ctx, int server, const unsigned char *wire, unsigned len, cssl_reasons *out)
{
	alpn_list *a;

	ERR_clear_error();
	if (!server)
		return cssl_done(SSL_CTX_set_alpn_protos(ctx, wire, len) == 0, out);
	a = malloc(sizeof *a + len);
	if (a == NULL)
		return cssl_done(0, out);
	a->len = len;
	memcpy(a->wire, wire, len);
	if (!SSL_CTX_set_ex_data(ctx, alpn_index, a)) {
		free(a);
		return cssl_done(0, out);
	}
	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, a);
	return cssl_done(1, out);
}

static uintptr_t handle_of(const SSL_CTX *ctx)
{
	return (uintptr_t)SSL_CTX_get_ex_data(ctx, handle_index);
}

static void on_keylog(const SSL *ssl, const char *line)
{
	cssl_go_keylog(handle_of(SSL_get_SSL_CTX(ssl)), (char *)line);
}

const char *cssl_ctx_groups(const SSL_CTX *ctx)
{
	return SSL_CTX_get_ex_data(ctx, groups_index);
}

int cssl_ctx_bind(SSL_CTX *ctx, uintptr_t handle, int keylog)
{
	if (!SSL_CTX_set_ex_data(ctx, handle_index, (void *)handle))
		return 0;
	if (keylog)
		SSL_CTX_set_keylog_callback(ctx, on_keylog);
	return 1;
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

static long put_cert(const X509 *x, unsigned char *p)
{
	int n = i2d_X509(x, NULL);

	if (n < 0)
		return 0;
	if (p != NULL) {
		p[0] = (unsigned char)(n >> 24);
		p[1] = (unsigned char)(n >> 16);
		p[2] = (unsigned char)(n >> 8);
		p[3] = (unsigned char)n;
		p += 4;
		i2d_X509(x, &p);
	}
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

long cssl_ssl_peer_chain(SSL *ssl, unsigned char **out)
{
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	/* A client's chain begins with the leaf, a server's does not hold it. */
	int first = SSL_is_server(ssl) ? 0 : 1;

	return cssl_put_chain(leaf, leaf != NULL ? SSL_get_peer_cert_chain(ssl) : NULL, first, out);
}

long cssl_ssl_verified_chain(SSL *ssl, unsigned char **out)
{
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);

	*out = NULL;
	if (leaf == NULL || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE || SSL_get_verify_result(ssl) != X509_V_OK)
		return 0;
	return sk_X509_num(chain) > 0 ? cssl_put_chain(NULL, chain, 0, out) : cssl_put_chain(leaf, NULL, 0, out);
}

const char *cssl_ssl_group(SSL *ssl)
{
	const char *name = NULL;
	int id = (int)SSL_get_negotiated_group(ssl);

	if (id != 0)
		name = SSL_group_to_name(ssl, id);
	ERR_clear_error();
	return name;
}

int cssl_ssl_export(SSL *ssl, void *buf, size_t len, const char *label, size_t label_len, const void *context,
                    size_t context_len, int use_context, cssl_reasons *out)
{
	ERR_clear_error();
	if (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1)
		return cssl_done(0, out);
	return cssl_done(SSL_export_keying_material(ssl, buf, len, label, label_len, context, context_len, use_context) == 1, out);
}
