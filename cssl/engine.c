//go:build cgo

#include "conn_private.h"

#include <errno.h>

/* The caller moves the ciphertext: all of it if there is no socket. */

size_t cssl_feed_room(const cssl_conn *c)
{
	/* Two records are enough to make progress; the caller keeps the rest. */
	return c->t.in.len < 2 * MAX_RECORD ? 2 * MAX_RECORD - c->t.in.len : 0;
}

size_t cssl_feed(cssl_conn *c, const unsigned char *buf, size_t len)
{
	size_t room = cssl_feed_room(c);

	if (c->t.fd >= 0)
		return cssl_transport_keep(&c->t, buf, len) ? len : 0;
	if (len > room)
		len = room;
	if (len == 0)
		return 0;
	if (!cssl_bytes_append(&c->t.in, buf, len)) {
		c->t.recv_errno = ENOMEM; /* a read before the next feed reports it */
		return 0;
	}
	c->t.recv_errno = 0;
	c->t.fed = 1;
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

size_t cssl_unsent(const cssl_conn *c)
{
	return c->t.out.len;
}
