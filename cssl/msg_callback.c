//go:build cgo

#include "conn_private.h"
#include "decide.h"

#include <string.h>

/*
 * The random of a ServerHello that is a HelloRetryRequest (RFC 8446, section
 * 4.1.3).
 */
static const unsigned char retry_random[] = {
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
	0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

/*
 * Sees each protocol message, and each record's header. It records alerts,
 * which SSL_get_error does not report. It also counts messages that cost a peer
 * nothing: OpenSSL has no limit on post-handshake messages and renegotiations.
 */
void cssl_on_message(int sent, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg)
{
	cssl_conn *c = arg;
	const unsigned char *p = buf;

	(void)version;
	if (type == SSL3_RT_HEADER) {
		cssl_direct_header(c->direct, ssl, sent, buf);
		return;
	}
	if (type == SSL3_RT_ALERT && len >= 2) {
		/* In TLS 1.3 the level says nothing (RFC 8446, section 6). */
		int fatal = c->established && SSL_version(ssl) >= TLS1_3_VERSION
		                ? p[1] != SSL_AD_CLOSE_NOTIFY && p[1] != SSL_AD_USER_CANCELLED
		                : p[0] == SSL3_AL_FATAL || p[1] == SSL_AD_NO_RENEGOTIATION;

		if (!fatal)
			return;
		if (sent)
			c->alert_sent = p[1];
		else
			c->alert_received = p[1];
		return;
	}
	if (type != SSL3_RT_HANDSHAKE || len < 1)
		return;
	if (p[0] == SSL3_MT_SERVER_HELLO && len >= 6 + sizeof retry_random && memcmp(p + 6, retry_random, sizeof retry_random) == 0)
		c->retried = 1;
	if (sent)
		return;
	if (!c->established) {
		if (p[0] == SSL3_MT_CLIENT_HELLO)
			cssl_decide_keep(c->data.decisions, buf, len);
		return;
	}
	if (p[0] == SSL3_MT_CLIENT_HELLO || p[0] == SSL3_MT_HELLO_REQUEST) {
		if (SSL_renegotiate_pending(ssl))
			return; /* this side asked for it */
		if (++c->renegotiations > c->max_renegotiations) {
			/*
			 * Refused, since a handshake under way would prevent the
			 * close_notify.
			 */
			SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
			c->over_limit = 1;
		}
	} else if (p[0] == SSL3_MT_FINISHED && SSL_is_server(ssl) && SSL_version(ssl) == TLS1_3_VERSION) {
		c->t.moved |= CSSL_CERTIFICATE; /* the end of the answer to cssl_request_certificate */
	} else if (p[0] == SSL3_MT_KEY_UPDATE || p[0] == SSL3_MT_NEWSESSION_TICKET ||
	           (p[0] == SSL3_MT_CERTIFICATE_REQUEST && SSL_version(ssl) == TLS1_3_VERSION)) {
		if (++c->messages > c->max_messages)
			c->over_limit = 1;
	}
	c->t.frozen = c->over_limit;
}
