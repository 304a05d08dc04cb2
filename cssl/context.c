//go:build cgo

#include "context.h"
#include "byname.h"
#include "decide.h"
#include "direct.h"
#include "exdata.h"
#include "ktls.h"
#include "library.h"
#include "newer.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

static long contexts; /* how many SSL_CTX exist; atomic */

long cssl_contexts(void)
{
	return __atomic_load_n(&contexts, __ATOMIC_RELAXED);
}

/*
 * Runs when the last reference to an SSL_CTX is dropped. OpenSSL also calls it
 * for one that it could not complete, which has no data.
 */
static void free_data(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	cssl_ctx_data *d = ptr;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (d == NULL)
		return;
	cssl_names_free(d->names);
	cssl_psks_free(d->psks);
	cssl_raw_keys_free(d->raw_keys);
	cssl_ticket_keys_free(d->ticket_keys);
	free(d->alpn);
	free(d->groups);
	free(d->properties);
	if (d->algorithms != NULL)
		cssl_algorithms_free(d->algorithms);
	free(d->algorithms);
	if (d->handle != 0)
		cssl_go_release(d->handle); /* frees certificates, which names has, and other SSL_CTX */
	free(d);
	__atomic_sub_fetch(&contexts, 1, __ATOMIC_RELAXED);
}

int cssl_init(void)
{
	cssl_newer_init();
	return OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL) && cssl_exdata_init(free_data) && cssl_keystore_init();
}

/* Counts ctx and attaches its data. Returns 0 if out of memory. */
static int keep_data(SSL_CTX *ctx, OSSL_LIB_CTX *library, const char *properties)
{
	cssl_ctx_data *d = calloc(1, sizeof *d);

	if (d == NULL)
		return 0;
	d->library = library;
	if ((properties == NULL || (d->properties = strdup(properties)) != NULL) && cssl_data_set_ctx(ctx, d)) {
		__atomic_add_fetch(&contexts, 1, __ATOMIC_RELAXED);
		return 1;
	}
	free(d->properties);
	free(d);
	return 0;
}

/*
 * Returns 0 if properties cannot be parsed. OpenSSL does not report that, and
 * fetches as if there were none.
 */
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

/* A server's ALPN callback. Without a list there is no ALPN. */
static int select_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));

	(void)arg;
	if (d->alpn == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	if (SSL_select_next_proto((unsigned char **)chosen, chosen_len, d->alpn, d->alpn_len, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, section 3.2: no_application_protocol */
	return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *cssl_ctx_new(OSSL_LIB_CTX *library, const char *properties, int server, cssl_reasons *out)
{
	SSL_CTX *ctx = NULL;

	ERR_clear_error();
	if (parses(properties))
		ctx = SSL_CTX_new_ex(library, properties, server ? TLS_server_method() : TLS_client_method());
	if (ctx == NULL || !keep_data(ctx, library, properties)) {
		cssl_done(0, out);
		SSL_CTX_free(ctx);
		return NULL;
	}
	/*
	 * Legacy renegotiation and compression stay off, by OpenSSL's defaults
	 * since 3.0 and 1.1.0.
	 */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	/*
	 * A chain may end in any trusted certificate, not only a self-signed one.
	 */
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
	if (server) {
		SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
		SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
		cssl_decide_name(ctx);
		cssl_early_bound(ctx);
		cssl_sessions_bound(ctx);
	}
	ERR_clear_error();
	return ctx;
}

int cssl_ctx_command(SSL_CTX *ctx, const char *name, const char *value, cssl_reasons *out)
{
	SSL_CONF_CTX *conf;
	int ok = 0;

	ERR_clear_error();
	conf = SSL_CONF_CTX_new();
	if (conf != NULL) {
		SSL_CONF_CTX_set_flags(conf, SSL_CONF_FLAG_FILE | SSL_CONF_FLAG_CLIENT | SSL_CONF_FLAG_SERVER);
		SSL_CONF_CTX_set_ssl_ctx(conf, ctx);
		ok = SSL_CONF_cmd(conf, name, value) == 2;
	}
	SSL_CONF_CTX_free(conf);
	return cssl_done(ok, out);
}

static void on_keylog(const SSL *ssl, const char *line)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));

	cssl_direct_secret(cssl_data_of_ssl(ssl)->direct, ssl, line);
	if (d->keylog)
		cssl_go_keylog(d->handle, (char *)line);
}

void cssl_ctx_keylog(SSL_CTX *ctx)
{
	cssl_data_of_ctx(ctx)->keylog = 1;
	SSL_CTX_set_keylog_callback(ctx, on_keylog);
}

int cssl_ctx_direct(SSL_CTX *ctx, uint32_t update_after, int kernel, int kernel_refuses)
{
	cssl_ctx_data *d = cssl_data_of_ctx(ctx);

	d->algorithms = calloc(1, sizeof *d->algorithms);
	if (d->algorithms == NULL)
		return 0;
	d->update_after = update_after;
	d->kernel = (uint8_t)kernel;
	if (kernel)
		cssl_ktls_probe();
	d->kernel_refuses = (uint8_t)kernel_refuses;
	cssl_algorithms_fetch(d->algorithms, d->library, d->properties);
	SSL_CTX_set_keylog_callback(ctx, on_keylog);
	return 1;
}

int cssl_ssl_server_name(SSL *ssl, const char *name, cssl_reasons *out)
{
	ERR_clear_error();
	return cssl_done((int)SSL_set_tlsext_host_name(ssl, name), out);
}

#if OPENSSL_VERSION_NUMBER < 0x40000000L
#define SSL_set1_dnsname SSL_set1_host /* deprecated in 4.0 */
#endif

int cssl_ssl_verify_name(SSL *ssl, const char *name, int is_ip, int common_name, cssl_reasons *out)
{
	ERR_clear_error();
	if (is_ip)
		return cssl_done(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name), out);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | (common_name ? 0 : X509_CHECK_FLAG_NEVER_CHECK_SUBJECT));
	return cssl_done(SSL_set1_dnsname(ssl, name), out);
}
