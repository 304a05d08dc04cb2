//go:build cgo

#include "conn_private.h"
#include "context.h"

#include <errno.h>

/* Engine mode, and what can be asked of a connection. */

size_t cssl_feed_room(const cssl_conn *c)
{
	/* Two records are room enough to make progress; the rest is the caller's to keep. */
	return c->t.in.len < 2 * MAX_RECORD ? 2 * MAX_RECORD - c->t.in.len : 0;
}

size_t cssl_feed(cssl_conn *c, const unsigned char *buf, size_t len)
{
	size_t room = cssl_feed_room(c);

	if (len > room)
		len = room;
	if (len == 0)
		return 0;
	if (!cssl_bytes_append(&c->t.in, buf, len)) {
		c->t.recv_errno = ENOMEM; /* for whoever reads before it is fed again, which might have no end */
		return 0;
	}
	c->t.recv_errno = 0;
	return len;
}

void cssl_feed_eof(cssl_conn *c)
{
	c->t.eof = 1;
}

void cssl_take_end(cssl_conn *c)
{
	c->t.ended = 1;
}

size_t cssl_take(cssl_conn *c, unsigned char *buf, size_t len)
{
	return cssl_bytes_take(&c->t.out, buf, len);
}

int cssl_has_pending(const cssl_conn *c)
{
	return SSL_has_pending(c->ssl) || (c->t.fd >= 0 && c->t.in.len > 0);
}

size_t cssl_unsent(const cssl_conn *c)
{
	return c->t.out.len;
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

void cssl_early_give_up(cssl_conn *c)
{
	c->early.ended = c->early.given_up = 1;
}

const cssl_early *cssl_conn_early(const cssl_conn *c)
{
	return &c->early;
}

SSL *cssl_conn_ssl(const cssl_conn *c)
{
	return c->ssl;
}
