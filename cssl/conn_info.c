//go:build cgo

#include "certs.h"
#include "conn_private.h"

#include <openssl/err.h>

/* What can be asked of a connection, and of its SSL. */

int cssl_has_pending(const cssl_conn *c)
{
	return SSL_has_pending(c->ssl) || (c->t.fd >= 0 && c->t.in.len > 0);
}

const cssl_reasons *cssl_conn_reasons(const cssl_conn *c)
{
	return c->reasons;
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

cssl_negotiated cssl_conn_negotiated(const cssl_conn *c)
{
	cssl_negotiated n = {0, 0, 0, NULL, NULL};
	const SSL_CIPHER *cipher = SSL_get_current_cipher(c->ssl);

	if (!c->established || cipher == NULL)
		return n;
	n.version = SSL_version(c->ssl);
	n.resumed = SSL_session_reused(c->ssl);
	n.cipher_id = SSL_CIPHER_get_protocol_id(cipher);
	n.cipher = SSL_CIPHER_get_name(cipher);
	n.group = cssl_ssl_group(c->ssl);
	return n;
}

SSL *cssl_conn_ssl(const cssl_conn *c)
{
	return c->ssl;
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
