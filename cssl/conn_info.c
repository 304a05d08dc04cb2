//go:build cgo

#include "beside.h"
#include "certs.h"
#include "conn_private.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/* Information about a connection and its SSL. */

int cssl_has_pending(const cssl_conn *c)
{
	if (cssl_is_direct(c))
		return cssl_direct_pending(c);
	return SSL_has_pending(c->ssl) || c->t.in.len > 0;
}

const cssl_reasons *cssl_conn_reasons(const cssl_conn *c)
{
	return c->reasons;
}

uintptr_t cssl_conn_signer_failure(cssl_conn *c)
{
	uintptr_t f = c->signer_failure;

	c->signer_failure = 0;
	return f;
}

int cssl_alert_sent(const cssl_conn *c)
{
	return c->alert_sent;
}

int cssl_alert_received(const cssl_conn *c)
{
	return c->alert_received;
}

int cssl_established(const cssl_conn *c)
{
	return c->established;
}

SSL *cssl_conn_ssl(const cssl_conn *c)
{
	return c->ssl;
}

static long peer_chain(SSL *ssl, X509 *leaf, unsigned char **out)
{
	/*
	 * On a server OpenSSL's chain does not include the leaf; on a client it
	 * does.
	 */
	return cssl_put_chain(leaf, SSL_get_peer_cert_chain(ssl), SSL_is_server(ssl) ? 0 : 1, out);
}

static long verified_chain(SSL *ssl, X509 *leaf, unsigned char **out)
{
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);

	return sk_X509_num(chain) > 0 ? cssl_put_chain(NULL, chain, 0, out) : cssl_put_chain(leaf, NULL, 0, out);
}

static const char *group_of(SSL *ssl)
{
	const char *name = NULL;
	int id = (int)SSL_get_negotiated_group(ssl);

	if (id != 0)
		name = SSL_group_to_name(ssl, id);
	ERR_clear_error();
	return name;
}

/*
 * Writes the first Finished message of the handshake to out, which must have
 * room for CSSL_UNIQUE bytes. Returns its length, or 0 if it does not identify
 * the connection: in TLS 1.3, and after a resumption without the extended
 * master secret (RFC 7627).
 */
static int unique_of(SSL *ssl, int resumed, unsigned char *out)
{
	int ours = SSL_is_server(ssl) ? resumed : !resumed;
	size_t n;

	if (SSL_version(ssl) >= TLS1_3_VERSION || (resumed && SSL_get_extms_support(ssl) != 1))
		return 0;
	n = ours ? SSL_get_finished(ssl, out, CSSL_UNIQUE) : SSL_get_peer_finished(ssl, out, CSSL_UNIQUE);
	return n == CSSL_UNIQUE ? CSSL_UNIQUE : 0;
}

/* Returns a copy that the caller frees, and NULL if there is no memory. */
static unsigned char *copy(const unsigned char *p, long n)
{
	unsigned char *q = p != NULL ? malloc((size_t)n) : NULL;

	return q != NULL ? memcpy(q, p, (size_t)n) : NULL;
}

/* Returns the next n bytes at *p, or NULL if n is 0. */
static const unsigned char *next(const unsigned char **p, size_t n)
{
	const unsigned char *q = n > 0 ? *p : NULL;

	if (n > 0)
		*p += n;
	return q;
}

/* The facts that were kept when the SSL was freed. */
static cssl_state kept_state(const cssl_conn *c, int certificates)
{
	const cssl_direct *d = c->direct;
	const cssl_facts *f = &d->facts;
	const unsigned char *p = f->bytes;
	cssl_state s = {
		.version = d->records.suite->tls13 ? TLS1_3_VERSION : TLS1_2_VERSION, .resumed = f->resumed,
		.cipher_id = d->records.suite->id, .cipher = f->cipher, .group = f->group,
		.psk_len = f->psk, .raw = f->raw, .alpn_len = f->alpn, .early = f->early, .verify = f->verify,
		.direct = 1, .kernel = d->kernel != 0, .obstacle = d->obstacle, .obstacle_errno = d->obstacle_errno,
	};

	s.alpn = next(&p, f->alpn);
	s.psk = next(&p, f->psk);
	s.server_name = (const char *)next(&p, f->server_name);
	s.ech = f->ech;
	if (f->outer_name > 0)
		memcpy(s.outer_name, next(&p, f->outer_name), f->outer_name);
	s.unique_len = f->unique;
	if (f->unique > 0)
		memcpy(s.unique, next(&p, f->unique), f->unique);
	s.retried = c->retried;
	if (certificates) {
		s.peer = copy(next(&p, f->peer), s.peer_len = f->peer);
		s.verified = copy(next(&p, f->verified), s.verified_len = f->verified);
	}
	return s;
}

cssl_state cssl_conn_state(const cssl_conn *c, int certificates)
{
	cssl_state s = {0};
	SSL *ssl = c->ssl;
	X509 *leaf;
	const EVP_PKEY *key;
	const SSL_CIPHER *cipher;

	if (cssl_is_direct(c))
		return kept_state(c, certificates);
	if (c->direct != NULL)
		s.obstacle = c->direct->obstacle;
	else if (c->established && cssl_data_of_ctx(SSL_get_SSL_CTX(ssl))->algorithms != NULL)
		s.obstacle = "the Context that accepted the connection keeps OpenSSL's records";
	leaf = SSL_get0_peer_certificate(ssl);
	cipher = SSL_get_current_cipher(ssl);
	/* Called too early, some of these crash in OpenSSL. */
	if (c->established && cipher != NULL) {
		s.version = SSL_version(ssl);
		s.resumed = SSL_session_reused(ssl);
		s.cipher_id = SSL_CIPHER_get_protocol_id(cipher);
		s.cipher = SSL_CIPHER_get_name(cipher);
		s.group = group_of(ssl);
		s.psk_len = cssl_ssl_psk(ssl, &s.psk);
		s.unique_len = unique_of(ssl, s.resumed, s.unique);
		s.ech = cssl_ssl_ech_status(ssl, s.outer_name);
	}
	s.retried = c->retried;
	SSL_get0_alpn_selected(ssl, &s.alpn, &s.alpn_len);
	s.server_name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	s.early = SSL_get_early_data_status(ssl);
	s.verify = SSL_get_verify_result(ssl);
	if (leaf == NULL) {
		/* A pre-shared key may have replaced the certificate. */
		if (s.verify == X509_V_ERR_UNSPECIFIED)
			s.verify = X509_V_OK;
		key = cssl_raw_key_of_session(SSL_get0_session(ssl));
		s.raw = key != NULL;
		if (s.raw && certificates)
			s.peer_len = cssl_put_key(key, &s.peer);
		return s;
	}
	if (!certificates)
		return s;
	s.peer_len = peer_chain(ssl, leaf, &s.peer);
	if (!SSL_is_server(ssl)) {
		s.ocsp_len = SSL_get_tlsext_status_ocsp_resp(ssl, &s.ocsp);
		s.more_ocsp_len = cssl_put_staples(ssl, &s.more_ocsp);
		s.timestamps = c->data.timestamps;
		s.timestamps_len = (long)c->data.timestamps_len;
	}
	if (SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE && s.verify == X509_V_OK)
		s.verified_len = verified_chain(ssl, leaf, &s.verified);
	return s;
}

int cssl_conn_export(const cssl_conn *c, int early, unsigned char *buf, size_t len, const char *label, size_t label_len,
                     const unsigned char *context, size_t context_len, int use_context, cssl_reasons *out)
{
	SSL *ssl = c->ssl;
	int ok;

	ERR_clear_error();
	if (cssl_is_direct(c))
		ok = cssl_direct_export(c, early, buf, len, label, label_len, context, context_len, use_context);
	else if (early)
		ok = SSL_export_keying_material_early(ssl, buf, len, label, label_len, context, context_len);
	else if (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1)
		ok = 0;
	else
		ok = SSL_export_keying_material(ssl, buf, len, label, label_len, context, context_len, use_context);
	return cssl_done(ok == 1, out);
}

int cssl_requests_certificates(const cssl_conn *c)
{
	return (cssl_is_direct(c) ? SSL_CTX_get_verify_mode(c->direct->ctx) : SSL_get_verify_mode(c->ssl)) & SSL_VERIFY_PEER;
}

int cssl_shutdown_sent(const cssl_conn *c)
{
	return cssl_is_direct(c) ? c->shutdown_done : SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN;
}

unsigned cssl_max_fragment(const cssl_conn *c)
{
	if (cssl_is_direct(c))
		return c->direct->max_receive < SSL3_RT_MAX_PLAIN_LENGTH ? c->direct->max_receive : 0;
	return (unsigned)cssl_ssl_max_fragment(c->ssl);
}
