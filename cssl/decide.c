//go:build cgo

#include "decide.h"
#include "beside.h"
#include "byname.h"
#include "ech.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>

cssl_decisions *cssl_decide_new(int ask_hello)
{
	cssl_decisions *d = calloc(1, sizeof *d);

	if (d != NULL)
		d->ask_hello = !!ask_hello;
	return d;
}

static void clear_blob(cssl_blob *b)
{
	free(b->p);
	b->p = NULL;
	b->len = 0;
}

void cssl_decide_free(cssl_decisions *d)
{
	if (d == NULL)
		return;
	SSL_CTX_free(d->chosen);
	clear_blob(&d->message);
	clear_blob(&d->inner);
	clear_blob(&d->sent);
	clear_blob(&d->valid);
	clear_blob(&d->chain);
	free(d);
}

void cssl_decide_keep(cssl_decisions *d, const void *message, size_t len)
{
	if (d == NULL || !d->ask_hello || d->hello != CSSL_UNDECIDED || d->message.p != NULL)
		return;
	d->message.p = malloc(len);
	if (d->message.p == NULL)
		return;
	memcpy(d->message.p, message, len);
	d->message.len = (long)len;
}

/*
 * Changes to another SSL_CTX, before the version, the session or the
 * certificate is chosen. SSL_set_SSL_CTX keeps what SSL_new copied from the
 * first one, so that is copied here. Returns 0 on failure.
 */
static int change(SSL *ssl, SSL_CTX *to)
{
	const uint64_t copied = SSL_OP_NO_RENEGOTIATION | SSL_OP_ALLOW_CLIENT_RENEGOTIATION |
	                        SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION | SSL_OP_NO_TICKET |
	                        SSL_OP_ENABLE_MIDDLEBOX_COMPAT | CSSL_NO_COMPRESSION;
	const char *groups = cssl_data_of_ctx(to)->groups;
	SSL_CTX *from = SSL_get_SSL_CTX(ssl);

	if (SSL_set_SSL_CTX(ssl, to) == NULL)
		return 0;
	cssl_tickets_switch(ssl, from);
	cssl_psk_switch(ssl, to);
	if (!cssl_early_switch(ssl, from, to) || !cssl_recordsize_switch(ssl, from, to) ||
	    (groups != NULL && !SSL_set1_groups_list(ssl, groups)) ||
	    !SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(to)) ||
	    !SSL_set_max_proto_version(ssl, (int)SSL_CTX_get_max_proto_version(to)) ||
	    !SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(to)) || !cssl_ssl_compress(ssl, to) || !cssl_raw_keys_switch(ssl, from, to))
		return 0;
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(to), SSL_CTX_get_verify_callback(to));
	SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(to));
	if (cssl_data_of_ssl(ssl)->direct == NULL) /* else the transport reads ahead */
		SSL_set_read_ahead(ssl, (int)SSL_CTX_get_read_ahead(to));
	SSL_clear_options(ssl, copied);
	SSL_set_options(ssl, SSL_CTX_get_options(to) & copied);
	return 1;
}

/*
 * The ClientHello callback. OpenSSL also calls it for a second ClientHello of
 * the same handshake, and in renegotiations: the first decision stays.
 */
static int on_hello(SSL *ssl, int *alert, void *arg)
{
	cssl_decisions *d = cssl_data_of_ssl(ssl)->decisions;
	SSL_CTX *to;
	int ok;

	(void)arg;
	*alert = SSL_AD_INTERNAL_ERROR;
	if (d == NULL)
		return SSL_CLIENT_HELLO_ERROR;
	switch (d->hello) {
	case CSSL_UNDECIDED:
		if (d->inner.p == NULL)
			d->inner.len = cssl_ech_inner(ssl, &d->inner.p);
		return d->message.p != NULL && d->inner.len >= 0 ? SSL_CLIENT_HELLO_RETRY : SSL_CLIENT_HELLO_ERROR;
	case CSSL_REFUSED:
		*alert = d->alert;
		return SSL_CLIENT_HELLO_ERROR;
	}
	clear_blob(&d->message);
	clear_blob(&d->inner);
	to = d->chosen;
	d->chosen = NULL;
	ok = (to == NULL || to == SSL_get_SSL_CTX(ssl) || change(ssl, to)) && cssl_names_choose(ssl, d->separated);
	SSL_CTX_free(to);
	return ok ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

void cssl_decide_hello(SSL_CTX *ctx)
{
	SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
}

/*
 * The server name callback. A name is acknowledged if it selected the SSL_CTX
 * or the certificate, and never in a resumption (RFC 6066, section 3). OpenSSL
 * stores only an acknowledged name in the session, and when TLS 1.2 resumes
 * that session it knows no other name. So other names are stored here.
 */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const cssl_decisions *d = cssl_data_of_ssl(ssl)->decisions;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)arg;
	if (SSL_session_reused(ssl) || name == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	if ((d != NULL && d->named) || cssl_names_chosen(ssl))
		return SSL_TLSEXT_ERR_OK;
	if (SSL_SESSION_set1_hostname(SSL_get_session(ssl), name))
		return SSL_TLSEXT_ERR_NOACK;
	*alert = SSL_AD_INTERNAL_ERROR;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

void cssl_decide_name(SSL_CTX *ctx)
{
	SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
}

int cssl_can_retry_verify(void)
{
#ifdef SSL_set_retry_verify
	return 1;
#else
	return 0;
#endif
}

/* Suspends the handshake until the decision. Returns 0 if OpenSSL cannot. */
static int suspend(SSL *ssl)
{
#ifdef SSL_set_retry_verify
	return SSL_is_server(ssl) ? 0 : SSL_set_retry_verify(ssl);
#else
	(void)ssl;
	return 0;
#endif
}

/*
 * Replaces OpenSSL's result by what the application has verified. Returns 0 if
 * out of memory.
 */
static int vouch(X509_STORE_CTX *x, const cssl_decisions *d)
{
	STACK_OF(X509) *chain = NULL;

	if (d->chain.len == 0) {
		if (X509_STORE_CTX_get_error(x) == X509_V_OK) /* nobody has verified it for its purpose */
			X509_STORE_CTX_set_error(x, X509_V_ERR_APPLICATION_VERIFICATION);
		return 1;
	}
	chain = cssl_take_chain(d->chain.p, d->chain.len);
	if (chain == NULL)
		return 0;
	X509_STORE_CTX_set0_verified_chain(x, chain);
	X509_STORE_CTX_set_error(x, X509_V_OK);
	return 1;
}

/*
 * The verification callback. OpenSSL's own verification comes first. What it
 * refuses stays refused, unless the application alone decides (arg is not
 * NULL). The second call for a suspended client finds the decision.
 */
static int on_peer(X509_STORE_CTX *x, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
	cssl_decisions *d = ssl != NULL ? cssl_data_of_ssl(ssl)->decisions : NULL;
	int ok = cssl_raw_keys_verify(x, NULL), accepted;

	if (d == NULL || (!ok && arg == NULL))
		return 0;
	if (arg != NULL) { /* the list of keys does not decide */
		free(cssl_data_of_ssl(ssl)->refused);
		cssl_data_of_ssl(ssl)->refused = NULL;
	}
	if (d->peer == CSSL_UNDECIDED) {
		clear_blob(&d->sent); /* a call before the decision asks again */
		clear_blob(&d->valid);
		d->verdict = X509_STORE_CTX_get_error(x);
		d->raw = cssl_raw_key_of(x) != NULL;
		d->sent.len = d->raw ? cssl_put_key(cssl_raw_key_of(x), &d->sent.p)
		                     : cssl_put_chain(NULL, X509_STORE_CTX_get0_untrusted(x), 0, &d->sent.p);
		if (ok)
			d->valid.len = cssl_put_chain(NULL, X509_STORE_CTX_get0_chain(x), 0, &d->valid.p);
		if (suspend(ssl))
			return 1;
		if (d->handle != 0)
			cssl_go_verify(d->handle);
	}
	accepted = d->peer == CSSL_ACCEPTED;
	if (accepted && d->vouched)
		accepted = vouch(x, d);
	if (!accepted)
		X509_STORE_CTX_set_error(x, d->peer_error != X509_V_OK ? d->peer_error : X509_V_ERR_APPLICATION_VERIFICATION);
	d->peer = CSSL_UNDECIDED; /* for a renegotiation */
	d->vouched = 0;
	clear_blob(&d->sent);
	clear_blob(&d->valid);
	clear_blob(&d->chain);
	return accepted;
}

void cssl_decide_peer(SSL_CTX *ctx, int application_alone)
{
	static char alone;

	SSL_CTX_set_cert_verify_callback(ctx, on_peer, application_alone ? &alone : NULL);
}
