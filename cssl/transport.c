//go:build cgo

#include "transport.h"
#include "conn.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/*
 * The rules of this BIO. Each prevents a bug that was seen in practice.
 *
 * - send uses MSG_NOSIGNAL: a broken connection is an errno, never SIGPIPE.
 * - recv and send use MSG_DONTWAIT, unless the caller wants them to wait:
 *   O_NONBLOCK is shared by all duplicates of the socket, and any holder can
 *   clear it.
 * - Only read and write clear and set the retry flags. After a failed read,
 *   before SSL_get_error looks at the flags, OpenSSL 3 calls
 *   BIO_CTRL_GET_KTLS_RECV, so a ctrl call must not touch them.
 * - A failed send is remembered; from then on output is discarded and counts as
 *   sent. Only the write direction fails: the peer's last data can still be
 *   read, and a ticket that the peer no longer wants does not fail the
 *   handshake. Write, flush and shutdown report the failure. So does a read
 *   that finds nothing left, since no answer will come to what was never sent.
 * - Output that the socket does not take is queued, up to tail_max. The record
 *   then counts as written, and no SSL_write is left unfinished.
 * - During a handshake OpenSSL writes message by message, and flushes after
 *   each ticket. The same buffer collects this, and one send takes it. The
 *   tickets of TLS 1.3 are held until the next write or flush: no peer waits
 *   for them, and they can go with the response to a request.
 * - OpenSSL 3.2 and newer read ahead only after the handshake. Before, they
 *   call recv for each header and each body. So a small read does a larger recv
 *   and keeps the rest in in; the next reads empty that before they ask the
 *   socket.
 * - A read that finds nothing always says "retry", also at the end of input.
 *   OpenSSL 4.0 takes any other result of a failed read as a fatal error of the
 *   connection: each later operation fails with an empty error queue, so
 *   nothing could be written to a peer that only half-closed. OpenSSL then
 *   returns WANT_READ, and at_end tells conn.c that no more will come.
 * - If received input could not be kept, for lack of memory, there is a gap. So
 *   nothing more is received, and each read reports ENOMEM.
 */

int cssl_bytes_append(cssl_bytes *b, const void *p, size_t n)
{
	if (n > b->cap - b->off - b->len) {
		if (b->off > 0) {
			memmove(b->data, b->data + b->off, b->len);
			b->off = 0;
		}
		if (n > b->cap - b->len) {
			size_t cap = b->len + n > 2 * b->cap ? b->len + n : 2 * b->cap;
			unsigned char *data = realloc(b->data, cap);
			if (data == NULL)
				return 0;
			b->data = data;
			b->cap = cap;
		}
	}
	memcpy(b->data + b->off + b->len, p, n);
	b->len += n;
	return 1;
}

size_t cssl_bytes_take(cssl_bytes *b, void *p, size_t n)
{
	if (n > b->len)
		n = b->len;
	if (n > 0)
		memcpy(p, b->data + b->off, n);
	cssl_bytes_drop(b, n);
	return n;
}

void cssl_bytes_drop(cssl_bytes *b, size_t n)
{
	b->off += n;
	b->len -= n;
	if (b->len == 0)
		cssl_bytes_free(b);
}

void cssl_bytes_free(cssl_bytes *b)
{
	free(b->data);
	memset(b, 0, sizeof *b);
}

void cssl_transport_free(cssl_transport *t)
{
	cssl_bytes_free(&t->out);
	cssl_bytes_free(&t->in);
}

size_t cssl_transport_send(cssl_transport *t, const unsigned char *p, size_t n)
{
	ssize_t sent;

	if (t->send_errno != 0)
		return n;
	do
		sent = send(t->fd, p, n, t->flags | MSG_NOSIGNAL | (t->more ? MSG_MORE : 0));
	while (sent < 0 && errno == EINTR);
	return cssl_transport_sent(t, n, sent);
}

size_t cssl_transport_sent(cssl_transport *t, size_t n, ssize_t sent)
{
	if (sent >= 0) {
		t->moved |= CSSL_MOVED_OUT;
		return (size_t)sent;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return 0;
	t->send_errno = errno;
	return n;
}

int cssl_transport_flush(cssl_transport *t)
{
	size_t n;

	if (t->fd < 0)
		return t->out.len == 0;
	t->held = 0;
	while (t->out.len > 0) {
		n = cssl_transport_send(t, t->out.data + t->out.off, t->out.len);
		if (n == 0)
			return 0;
		t->out.off += n;
		t->out.len -= n;
	}
	cssl_bytes_free(&t->out);
	return 1;
}

void cssl_transport_put(cssl_transport *t, const unsigned char *p, size_t n)
{
	size_t sent = 0;

	if (t->fd < 0 && t->ended)
		t->send_errno = EPIPE; /* like a socket after SHUT_WR */
	if (t->fd >= 0 && t->out.len == 0)
		sent = cssl_transport_send(t, p, n);
	if (t->send_errno != 0 || sent == n)
		return;
	if (!cssl_bytes_append(&t->out, p + sent, n - sent))
		t->send_errno = ENOMEM; /* a part of the output is lost, so send no more */
	else if (t->fd < 0)
		t->moved |= CSSL_MOVED_OUT;
	else if (t->held)
		cssl_transport_flush(t);
}

static int transport_write(BIO *b, const char *p, size_t len, size_t *written)
{
	cssl_transport *t = BIO_get_data(b);
	size_t n = 0, room, keep;

	BIO_clear_retry_flags(b);
	if (t->fd < 0 && t->ended)
		t->send_errno = EPIPE; /* like a socket after SHUT_WR */
	if (t->fd < 0 && t->send_errno != 0) {
		*written = len;
		return 1;
	}
	if (t->corked && t->out.len + len <= t->tail_max && cssl_bytes_append(&t->out, p, len)) {
		*written = len;
		return 1;
	}
	if (t->out.len == 0 || cssl_transport_flush(t)) {
		if (t->fd >= 0)
			n = cssl_transport_send(t, (const unsigned char *)p, len);
	}
	room = t->tail_max > t->out.len ? t->tail_max - t->out.len : 0;
	keep = len - n < room ? len - n : room;
	if (keep > 0) {
		if (!cssl_bytes_append(&t->out, p + n, keep)) {
			/* Out of memory: a part of the record is lost, so send no more. */
			t->send_errno = ENOMEM;
			keep = len - n;
		}
		if (t->fd < 0)
			t->moved |= CSSL_MOVED_OUT;
	}
	*written = n + keep;
	if (*written > 0)
		return 1;
	BIO_set_retry_write(b);
	return -1; /* not 0, which SSL_shutdown takes for success when it sends its alert again */
}

size_t cssl_transport_recv(cssl_transport *t, void *p, size_t len)
{
	ssize_t n;

	if (t->lost)
		return 0;
	do
		n = recv(t->fd, p, len, t->flags);
	while (n < 0 && errno == EINTR);
	return cssl_transport_received(t, n);
}

size_t cssl_transport_received(cssl_transport *t, ssize_t n)
{
	if (n > 0) {
		t->recv_errno = 0;
		return (size_t)n;
	}
	if (n == 0) {
		/*
		 * The kernel reports a reset once. If send got it, recv returns 0 as
		 * after a FIN.
		 */
		if (t->send_errno == ECONNRESET)
			t->recv_errno = ECONNRESET;
		else
			t->eof = 1;
	} else if (errno != EAGAIN && errno != EWOULDBLOCK) {
		t->recv_errno = errno;
	}
	return 0;
}

int cssl_transport_keep(cssl_transport *t, const void *p, size_t n)
{
	if (cssl_bytes_append(&t->in, p, n))
		return 1;
	t->lost = 1;
	t->drained = 0; /* else the next read would say that more can come */
	t->recv_errno = ENOMEM;
	return 0;
}

int cssl_transport_room(cssl_transport *t, size_t n)
{
	if (t->out.len + n > t->tail_max)
		cssl_transport_flush(t);
	return t->out.len + n <= t->tail_max;
}

void cssl_transport_fill(cssl_transport *t, size_t room)
{
	unsigned char buf[16384];
	size_t want, n;

	do {
		want = room > t->in.len ? room - t->in.len : 0;
		if (want > sizeof buf)
			want = sizeof buf;
		n = want > 0 ? cssl_transport_recv(t, buf, want) : 0;
		if (n > 0 && !cssl_transport_keep(t, buf, n))
			return;
	} while (want > 0 && n == want);
}

/* How much a recv reads ahead: a client's flight, with a certificate. */
#define AHEAD 4096

/*
 * Like cssl_transport_recv, but if t->ahead is set it may receive more than len and
 * keep the rest in in.
 */
static size_t transport_recv_ahead(cssl_transport *t, char *p, size_t len)
{
	char more[AHEAD];
	size_t n;

	if (!t->ahead || len >= sizeof more) {
		n = cssl_transport_recv(t, p, len);
		t->drained = n > 0 && n < len;
		return n;
	}
	n = cssl_transport_recv(t, more, sizeof more);
	t->drained = n > 0 && n < sizeof more;
	if (n > len && !cssl_transport_keep(t, more + len, n - len))
		return 0;
	if (n > len)
		n = len;
	if (n > 0)
		memcpy(p, more, n);
	return n;
}

static int transport_read(BIO *b, char *p, size_t len, size_t *got)
{
	cssl_transport *t = BIO_get_data(b);
	size_t n;

	BIO_clear_retry_flags(b);
	t->at_end = 0;
	*got = 0;
	if (t->corked && t->out.len > 0)
		/* The peer answers only what was sent; a blocking recv would hang. */
		cssl_transport_flush(t);
	if (t->fd >= 0 && t->in.len > 0 && !t->frozen) {
		t->moved |= CSSL_MOVED_IN;
		*got = cssl_bytes_take(&t->in, p, len);
		return 1;
	}
	/* After a failed send, only recv knows what is left. */
	if (t->frozen || (t->drained && t->send_errno == 0)) {
		t->drained = 0;
		BIO_set_retry_read(b);
		return 0;
	}
	n = t->fd < 0 ? cssl_bytes_take(&t->in, p, len) : transport_recv_ahead(t, p, len);
	if (n > 0) {
		t->moved |= CSSL_MOVED_IN;
		*got = n;
		return 1;
	}
	t->at_end = t->eof || t->recv_errno != 0;
	BIO_set_retry_read(b);
	return 0;
}

static long transport_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	const cssl_transport *t = BIO_get_data(b);

	(void)num;
	(void)ptr;
	switch (cmd) {
	case BIO_CTRL_FLUSH: /* the tail counts as written; the operation's result reports it */
	case BIO_CTRL_DUP:
		return 1;
	case BIO_CTRL_WPENDING:
		return (long)t->out.len;
	case BIO_CTRL_PENDING:
		return (long)t->in.len;
	default:
		return 0; /* also BIO_CTRL_EOF: at_end reports the end of input */
	}
}

static BIO_METHOD *transport_method;
static pthread_once_t transport_once = PTHREAD_ONCE_INIT;

static void transport_init(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "cssl transport");
	if (m == NULL)
		return;
	if (BIO_meth_set_write_ex(m, transport_write) && BIO_meth_set_read_ex(m, transport_read) &&
	    BIO_meth_set_ctrl(m, transport_ctrl))
		transport_method = m;
	else
		BIO_meth_free(m);
}

BIO *cssl_transport_bio(cssl_transport *t)
{
	BIO *b;

	pthread_once(&transport_once, transport_init);
	if (transport_method == NULL)
		return NULL;
	b = BIO_new(transport_method);
	if (b == NULL)
		return NULL;
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	return b;
}
