//go:build cgo

#include "direct.h"
#include "conn_private.h"
#include "ktls.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>

/* OpenSSL's limits on records and alerts in a row that say nothing. */
enum { MAX_EMPTY = 32, MAX_WARNINGS = 5 };

/*
 * Seals a message of n bytes, at most 16, and hands it to the transport. Returns
 * SSL_ERROR_WANT_WRITE if the kernel, which seals it, does not take it now.
 */
static int send_message(cssl_conn *c, int type, const unsigned char *p, size_t n)
{
	unsigned char out[CSSL_OVERHEAD + 16];
	size_t len;

	if (c->direct->kernel & CSSL_KERNEL_WRITE)
		return cssl_ktls_send(c, type, p, n) ? SSL_ERROR_NONE : SSL_ERROR_WANT_WRITE;
	len = cssl_seal(&c->direct->records, out, p, n, type);
	if (len > 0)
		cssl_transport_put(&c->t, out, len);
	return len > 0 ? SSL_ERROR_NONE : SSL_ERROR_SSL;
}

static int send_alert(cssl_conn *c, int level, int alert)
{
	unsigned char m[2] = {(unsigned char)level, (unsigned char)alert};

	return send_message(c, SSL3_RT_ALERT, m, sizeof m);
}

/* Fails with an alert of ours, and a reason for the error queue. */
static int fail(cssl_conn *c, int alert, int reason)
{
	if (alert >= 0 && !c->shutdown_done) { /* nothing may follow close_notify */
		send_alert(c, SSL3_AL_FATAL, alert);
		c->alert_sent = (int16_t)alert;
	}
	ERR_clear_error();
	if (reason == ERR_R_UNSUPPORTED)
		cssl_ktls_raise();
	else if (reason >= SSL_AD_REASON_OFFSET)
		ERR_raise_data(ERR_LIB_SSL, reason, "SSL alert number %d", reason - SSL_AD_REASON_OFFSET);
	else
		ERR_raise(ERR_LIB_SSL, reason);
	return SSL_ERROR_SSL;
}

int cssl_direct_settle(cssl_conn *c)
{
	static const unsigned char message[] = {SSL3_MT_KEY_UPDATE, 0, 0, 1};
	cssl_direct *d = c->direct;
	unsigned char m[5];
	int code;

	if (d->update == 0 || c->shutdown_done || c->t.send_errno != 0)
		return SSL_ERROR_NONE;
	if (!c->t.held && !cssl_transport_flush(&c->t) && (c->t.fd >= 0 || c->t.out.len + sizeof m + CSSL_OVERHEAD > c->t.tail_max))
		return SSL_ERROR_WANT_WRITE;
	memcpy(m, message, sizeof message);
	m[4] = d->update == 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
	code = send_message(c, SSL3_RT_HANDSHAKE, m, sizeof m);
	if (code == SSL_ERROR_WANT_WRITE)
		return code;
	d->update = 0;
	if (code != SSL_ERROR_NONE || !cssl_keys_update(&d->records, &d->records.write) || !cssl_ktls_update(c, CSSL_KERNEL_WRITE))
		return fail(c, -1, ERR_R_INTERNAL_ERROR);
	return SSL_ERROR_NONE;
}

int cssl_direct_update(cssl_conn *c, int request)
{
	if (request || c->direct->update == 0) /* a request that is due stays */
		c->direct->update = request ? 2 : 1;
	return cssl_direct_settle(c);
}

int cssl_direct_shutdown(cssl_conn *c)
{
	int code = cssl_direct_settle(c);

	if (code == SSL_ERROR_NONE)
		code = send_alert(c, SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY);
	return code == SSL_ERROR_SSL ? fail(c, -1, ERR_R_INTERNAL_ERROR) : code;
}

/* The most output of one write. The tail must be able to keep it. */
enum { BATCH = CSSL_BUFFERS * (SSL3_RT_MAX_PLAIN_LENGTH + CSSL_OVERHEAD) };

/*
 * Prepares for another record of data. Returns as cssl_direct_write.
 */
static int before_record(cssl_conn *c)
{
	cssl_direct *d = c->direct;

	if (d->records.write.seq >= d->update_after) {
		if (!d->records.suite->tls13 || !cssl_ktls_can_update(c))
			return CSSL_LIMIT; /* TLS 1.2 cannot update its keys */
		d->update = d->update != 0 ? d->update : 1;
	}
	return cssl_direct_settle(c);
}

/* Like cssl_direct_write, when the kernel seals. */
static int write_to_kernel(cssl_conn *c, const cssl_buffers *b, size_t *n)
{
	const unsigned char *p;
	size_t len = cssl_buffers_at(b, 0, MAX_WRITE, &p);
	int code = before_record(c);

	if (code != SSL_ERROR_NONE)
		return code;
	c->t.more = 0; /* the kernel would hold the record back until another one */
	*n = cssl_transport_send(&c->t, p, len);
	if (c->t.send_errno != 0)
		*n = 0;
	c->direct->due += *n;
	c->direct->records.write.seq += *n / SSL3_RT_MAX_PLAIN_LENGTH + 1; /* at least as many as the kernel's */
	return *n > 0 ? SSL_ERROR_NONE : SSL_ERROR_WANT_WRITE;
}

int cssl_direct_send_file(cssl_conn *c, int file, size_t len, size_t *n)
{
	cssl_direct *d = c->direct;
	int code = before_record(c);
	ssize_t sent;

	if (code != SSL_ERROR_NONE)
		return code;
	do
		sent = sendfile(c->t.fd, file, NULL, len);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EAGAIN ? SSL_ERROR_WANT_WRITE : CSSL_SEND_FAILED;
	if (sent > 0)
		c->t.moved |= CSSL_MOVED_OUT;
	*n = (size_t)sent;
	d->due += *n;
	d->records.write.seq += *n / 4096 + 2; /* at least as many: no page is split into more than two */
	return SSL_ERROR_NONE;
}

int cssl_direct_write(cssl_conn *c, const cssl_buffers *b, size_t *n)
{
	cssl_direct *d = c->direct;
	unsigned char out[BATCH];
	const unsigned char *p;
	size_t room = c->t.tail_max - (c->t.fd < 0 || c->t.held ? c->t.out.len : 0), used = 0, at = 0, part, sealed;
	int code = SSL_ERROR_NONE;

	*n = 0;
	if (d->kernel & CSSL_KERNEL_WRITE)
		return write_to_kernel(c, b, n);
	if (room > sizeof out)
		room = sizeof out;
	while ((part = cssl_buffers_at(b, at, d->max_send, &p)) > 0) {
		if (at > 0 && (used + part + CSSL_OVERHEAD > room || d->records.write.seq >= d->update_after))
			break;
		code = before_record(c);
		if (code != SSL_ERROR_NONE)
			break;
		sealed = cssl_seal(&d->records, out + used, p, part, SSL3_RT_APPLICATION_DATA);
		if (sealed == 0) {
			code = fail(c, -1, ERR_R_INTERNAL_ERROR);
			break;
		}
		used += sealed;
		at += part;
	}
	if (used > 0)
		cssl_transport_put(&c->t, out, used);
	if (c->t.send_errno == 0)
		*n = at;
	return code;
}

/* What a record led to. */
enum verdict { DATA, NOTHING, FAILED };

static enum verdict refuse(cssl_direct *d, int alert, int reason)
{
	d->alert = (int16_t)alert;
	d->reason = reason;
	return FAILED;
}

static enum verdict read_alert(cssl_conn *c, const unsigned char *p, size_t n)
{
	cssl_direct *d = c->direct;
	int tls13 = d->records.suite->tls13;

	if (n != 2)
		return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_INVALID_ALERT);
	if (tls13 ? p[1] == SSL_AD_USER_CANCELLED : p[0] == SSL3_AL_WARNING) {
		if (++d->warnings == MAX_WARNINGS)
			return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_TOO_MANY_WARN_ALERTS);
	}
	if (tls13 && p[1] == SSL_AD_USER_CANCELLED)
		return NOTHING;
	if (p[1] == SSL_AD_CLOSE_NOTIFY && (tls13 || p[0] == SSL3_AL_WARNING)) {
		d->ended = 1;
		return NOTHING;
	}
	if (p[0] == SSL3_AL_FATAL || tls13) {
		c->alert_received = p[1];
		return refuse(d, -1, SSL_AD_REASON_OFFSET + p[1]);
	}
	if (p[1] == SSL_AD_NO_RENEGOTIATION) {
		c->alert_received = p[1];
		return refuse(d, SSL_AD_HANDSHAKE_FAILURE, SSL_R_NO_RENEGOTIATION);
	}
	return p[0] == SSL3_AL_WARNING ? NOTHING : refuse(d, SSL_AD_ILLEGAL_PARAMETER, SSL_R_UNKNOWN_ALERT_TYPE);
}

/* Completes the header of a handshake message. Returns 0 if a part is missing. */
static int take_head(cssl_direct *d, const unsigned char **p, size_t *n)
{
	for (; *n > 0 && d->head_len < sizeof d->head; --*n)
		d->head[d->head_len++] = *(*p)++;
	return d->head_len == sizeof d->head;
}

/* The longest ClientHello that OpenSSL reads. */
enum { MAX_HELLO = 131396 };

/*
 * TLS 1.2: a part of one or more handshake messages. A ClientHello starts a
 * renegotiation, which is refused with a warning (RFC 5246, section 7.2.2). Its
 * length in d->head counts down to its end.
 */
static enum verdict read_hello(cssl_conn *c, const unsigned char *p, size_t n)
{
	cssl_direct *d = c->direct;
	size_t left, part;

	while (!c->shutdown_done && take_head(d, &p, &n)) {
		if (d->head[0] != SSL3_MT_CLIENT_HELLO)
			return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_UNEXPECTED_MESSAGE);
		left = (size_t)d->head[1] << 16 | (size_t)d->head[2] << 8 | d->head[3];
		if (left > MAX_HELLO)
			return refuse(d, SSL_AD_ILLEGAL_PARAMETER, SSL_R_EXCESSIVE_MESSAGE_SIZE);
		part = left < n ? left : n;
		p += part;
		n -= part;
		left -= part;
		d->head[1] = (uint8_t)(left >> 16);
		d->head[2] = (uint8_t)(left >> 8);
		d->head[3] = (uint8_t)left;
		if (left > 0)
			break;
		d->head_len = 0;
		if (++c->renegotiations > c->max_renegotiations) {
			c->over_limit = 1;
			break;
		}
		send_alert(c, SSL3_AL_WARNING, SSL_AD_NO_RENEGOTIATION);
	}
	return NOTHING;
}

/* TLS 1.3: a part of one or more handshake messages. Only KeyUpdate is allowed. */
static enum verdict read_handshake(cssl_conn *c, const unsigned char *p, size_t n)
{
	cssl_direct *d = c->direct;

	if (!take_head(d, &p, &n))
		return NOTHING;
	if (d->head[0] != SSL3_MT_KEY_UPDATE)
		return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_UNEXPECTED_MESSAGE);
	if (d->head[1] != 0 || d->head[2] != 0 || d->head[3] != 1)
		return refuse(d, SSL_AD_DECODE_ERROR, SSL_R_BAD_KEY_UPDATE);
	if (n == 0)
		return NOTHING;
	d->head_len = 0;
	if (++c->messages > c->max_messages) {
		c->over_limit = 1;
		return NOTHING;
	}
	if (n > 1) /* no message may follow under this key */
		return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_NOT_ON_RECORD_BOUNDARY);
	if (*p != SSL_KEY_UPDATE_NOT_REQUESTED && *p != SSL_KEY_UPDATE_REQUESTED)
		return refuse(d, SSL_AD_ILLEGAL_PARAMETER, SSL_R_BAD_KEY_UPDATE);
	if (!cssl_keys_update(&d->records, &d->records.read))
		return refuse(d, SSL_AD_INTERNAL_ERROR, ERR_R_INTERNAL_ERROR);
	if (!cssl_ktls_update(c, CSSL_KERNEL_READ) || (*p == SSL_KEY_UPDATE_REQUESTED && !cssl_ktls_can_update(c)))
		return refuse(d, SSL_AD_INTERNAL_ERROR, ERR_R_UNSUPPORTED);
	if (*p == SSL_KEY_UPDATE_REQUESTED && d->update == 0)
		d->update = 1;
	return NOTHING;
}

/* Returns NOTHING if a record with this header may follow. */
static enum verdict check_header(cssl_direct *d, const unsigned char *h, size_t body)
{
	int tls13 = d->records.suite->tls13;

	if (tls13 && h[0] != SSL3_RT_APPLICATION_DATA)
		return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_BAD_RECORD_TYPE);
	if (h[1] != TLS1_2_VERSION >> 8 || h[2] != (TLS1_2_VERSION & 0xff))
		return refuse(d, tls13 ? SSL_AD_DECODE_ERROR : SSL_AD_PROTOCOL_VERSION, SSL_R_WRONG_VERSION_NUMBER);
	if (body > (tls13 ? SSL3_RT_MAX_TLS13_ENCRYPTED_LENGTH : SSL3_RT_MAX_PLAIN_LENGTH + SSL3_RT_MAX_ENCRYPTED_OVERHEAD))
		return refuse(d, SSL_AD_RECORD_OVERFLOW, SSL_R_ENCRYPTED_LENGTH_TOO_LONG);
	return NOTHING;
}

/*
 * Does what a record of n bytes says. The type is that of the content, which
 * only TLS 1.3 hides.
 */
static enum verdict accept_record(cssl_conn *c, int type, const unsigned char *p, size_t n)
{
	cssl_direct *d = c->direct;
	int tls13 = d->records.suite->tls13;

	if (tls13) {
		if (type != SSL3_RT_APPLICATION_DATA && type != SSL3_RT_ALERT && type != SSL3_RT_HANDSHAKE)
			return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_BAD_RECORD_TYPE);
		if (type != SSL3_RT_APPLICATION_DATA && n == 0)
			return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_BAD_LENGTH);
		if (type != SSL3_RT_HANDSHAKE && d->head_len > 0)
			return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_MIXED_HANDSHAKE_AND_NON_HANDSHAKE_DATA);
	}
	/* The kernel has checked it, and returns the data of several records. */
	if (n > d->max_receive && !(d->kernel & CSSL_KERNEL_READ))
		return refuse(d, SSL_AD_RECORD_OVERFLOW, SSL_R_DATA_LENGTH_TOO_LONG);
	if (n == 0 && ++d->empty > MAX_EMPTY)
		return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_RECORD_TOO_SMALL);
	if (n > 0)
		d->empty = 0;
	if (type == SSL3_RT_ALERT)
		return read_alert(c, p, n);
	if (n > 0)
		d->warnings = 0;
	if (type != SSL3_RT_HANDSHAKE && d->head_len == sizeof d->head)
		return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_UNEXPECTED_RECORD);
	if (type == SSL3_RT_APPLICATION_DATA)
		return n > 0 ? DATA : NOTHING;
	if (type != SSL3_RT_HANDSHAKE)
		return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_UNEXPECTED_RECORD);
	return tls13 ? read_handshake(c, p, n) : read_hello(c, p, n);
}

/*
 * Opens a record and does what it says. For DATA, *plain and *n are the
 * plaintext, which is in the record.
 */
static enum verdict open_record(cssl_conn *c, unsigned char *record, size_t body, unsigned char **plain, size_t *n)
{
	cssl_direct *d = c->direct;
	int tls13 = d->records.suite->tls13, type = record[0];
	int ok = cssl_open(&d->records, &d->records.read, record, body, plain, n);

	if (ok <= 0) {
		OPENSSL_cleanse(record, CSSL_HEADER + body); /* plaintext that nobody vouches for */
		return ok < 0 ? refuse(d, SSL_AD_INTERNAL_ERROR, ERR_R_INTERNAL_ERROR)
		              : refuse(d, SSL_AD_BAD_RECORD_MAC, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC);
	}
	if (tls13) {
		if (*n > SSL3_RT_MAX_PLAIN_LENGTH + 1)
			return refuse(d, SSL_AD_RECORD_OVERFLOW, SSL_R_DATA_LENGTH_TOO_LONG);
		while (*n > 0 && (*plain)[*n - 1] == 0)
			--*n;
		if (*n == 0)
			return refuse(d, SSL_AD_UNEXPECTED_MESSAGE, SSL_R_BAD_RECORD_TYPE);
		type = (*plain)[--*n];
	}
	return accept_record(c, type, *plain, *n);
}

/* Returns 1 if reading has come to an end, of whatever kind. */
static int stopped(const cssl_conn *c)
{
	return c->direct->reason != 0 || c->direct->ended || c->over_limit;
}

/*
 * Moves as much of m bytes of plaintext to buf, which has *n bytes, as fits;
 * the rest goes to d->plain.
 */
static void deliver(cssl_direct *d, const unsigned char *plain, size_t m, unsigned char *buf, size_t len, size_t *n)
{
	size_t fits = m < len - *n ? m : len - *n;

	if (fits > 0)
		memmove(buf + *n, plain, fits);
	*n += fits;
	if (m > fits && !cssl_bytes_append(&d->plain, plain + fits, m - fits))
		refuse(d, SSL_AD_INTERNAL_ERROR, ERR_R_MALLOC_FAILURE);
}

/*
 * Opens the whole records among the have bytes at p, as far as there is room
 * for their plaintext, and returns how many bytes they took. buf may be p: the
 * plaintext then moves to the front. What does not fit goes to d->plain. With
 * len 0, all of the first plaintext goes there.
 */
static size_t open_records(cssl_conn *c, unsigned char *p, size_t have, unsigned char *buf, size_t len, size_t *n)
{
	cssl_direct *d = c->direct;
	size_t used = 0, body, m;
	unsigned char *plain;

	while (!stopped(c) && d->plain.len == 0 && (len == 0 || *n < len) && have - used >= CSSL_HEADER) {
		body = (size_t)p[used + 3] << 8 | p[used + 4];
		if (check_header(d, p + used, body) == FAILED || have - used < CSSL_HEADER + body)
			break;
		if (open_record(c, p + used, body, &plain, &m) == DATA)
			deliver(d, plain, m, buf, len, n);
		used += CSSL_HEADER + body;
	}
	return used;
}

/* The largest record, and the workspace of a read with a smaller buffer. */
enum { LARGEST = CSSL_HEADER + SSL3_RT_MAX_ENCRYPTED_LENGTH, WORKSPACE = 2 * LARGEST };

/* Receives records. A part of one is in t->in before and after. */
static void receive(cssl_conn *c, unsigned char *buf, size_t len, size_t *n)
{
	cssl_transport *t = &c->t;
	unsigned char workspace[WORKSPACE], *p = len < LARGEST ? workspace : buf;
	size_t size = len < LARGEST ? sizeof workspace : len, had, got, used;

	do {
		had = t->in.len;
		got = cssl_transport_recv(t, p + had, size - had);
		t->drained = got < size - had;
		t->at_end = got == 0 && (t->eof || t->recv_errno != 0);
		if (got == 0)
			return;
		t->moved |= CSSL_MOVED_IN;
		cssl_bytes_take(&t->in, p, had);
		used = open_records(c, p, had + got, buf, len, n);
		if (had + got > used && !cssl_transport_keep(t, p + used, had + got - used))
			return;
	} while (*n == 0 && c->direct->plain.len == 0 && !stopped(c) && !t->drained);
}

/* The same, when the kernel opens. */
static void receive_from_kernel(cssl_conn *c, unsigned char *buf, size_t len, size_t *n)
{
	unsigned char workspace[SSL3_RT_MAX_PLAIN_LENGTH], *p = len < sizeof workspace ? workspace : buf;
	cssl_transport *t = &c->t;
	size_t m;
	int type;

	do {
		type = cssl_ktls_recv(c, p, len < sizeof workspace ? sizeof workspace : len, &m);
		t->at_end = type < 0 && (t->eof || t->recv_errno != 0);
		if (type < 0)
			return;
		t->moved |= CSSL_MOVED_IN;
		if (accept_record(c, type, p, m) == DATA)
			deliver(c->direct, p, m, buf, len, n);
	} while (*n == 0 && c->direct->plain.len == 0 && !stopped(c));
}

/*
 * Opens the whole records that have arrived, for later reads. Returns 0 if
 * reading has come to an end.
 */
static int drain(cssl_conn *c)
{
	cssl_direct *d = c->direct;
	cssl_bytes *in = &c->t.in, all = {0};
	size_t used, none = 0;

	do {
		used = in->len > 0 ? open_records(c, in->data + in->off, in->len, NULL, 0, &none) : 0;
		cssl_bytes_drop(in, used);
		if (d->plain.len > 0 && !cssl_bytes_append(&all, d->plain.data + d->plain.off, d->plain.len))
			refuse(d, SSL_AD_INTERNAL_ERROR, ERR_R_MALLOC_FAILURE);
		cssl_bytes_free(&d->plain);
	} while (used > 0);
	d->plain = all;
	return !stopped(c);
}

/* Returns why the kernel does not get the direction, with errno or 0; or NULL. */
static const char *give_reading(cssl_conn *c)
{
	const char *why = cssl_ktls_no_reading();

	errno = 0;
	if (why != NULL)
		return why;
	if (!drain(c))
		return "reading is direct: it has come to its end";
	if (c->t.in.len > 0)
		return "reading is direct: a part of a record had arrived";
	if (c->direct->max_receive < SSL3_RT_MAX_PLAIN_LENGTH)
		return "reading is direct: the kernel has no limit on a record's length";
	return cssl_ktls_give(c, CSSL_KERNEL_READ) ? NULL : "reading is direct: the kernel does not take the key";
}

static const char *give_writing(cssl_conn *c)
{
	cssl_direct_settle(c);
	if (!cssl_transport_flush(&c->t)) {
		errno = 0;
		return "writing is direct: the socket did not take what was queued";
	}
	errno = 0;
	if (c->direct->max_send < SSL3_RT_MAX_PLAIN_LENGTH)
		return "writing is direct: the kernel has no limit on a record's length";
	return cssl_ktls_give(c, CSSL_KERNEL_WRITE) ? NULL : "writing is direct: the kernel does not take the key";
}

/* Keeps the first reason. */
static void refused(cssl_direct *d, const char *why)
{
	if (d->obstacle != NULL || why == NULL)
		return;
	d->obstacle = why;
	d->obstacle_errno = (int16_t)errno;
}

void cssl_direct_to_kernel(cssl_conn *c)
{
	cssl_direct *d = c->direct;

	if (!cssl_data_of_ctx(d->ctx)->kernel)
		return;
	errno = 0;
	d->obstacle = NULL;
	if (c->t.fd < 0) {
		refused(d, "the connection has no socket");
	} else if (!cssl_ktls_begin(c)) {
		refused(d, "the kernel has no TLS for this socket");
	} else {
		refused(d, give_reading(c));
		refused(d, give_writing(c));
	}
}

/*
 * Reads records until there is plaintext, in buf or d->plain. Returns as
 * cssl_direct_read.
 */
static int fill(cssl_conn *c, unsigned char *buf, size_t len, size_t *n)
{
	cssl_direct *d = c->direct;
	cssl_transport *t = &c->t;
	size_t used;
	int code;

	*n = 0;
	t->at_end = 0;
	if (!stopped(c)) {
		used = t->in.len > 0 ? open_records(c, t->in.data + t->in.off, t->in.len, buf, len, n) : 0;
		if (used > 0 || t->fed)
			t->moved |= CSSL_MOVED_IN;
		t->fed = 0;
		cssl_bytes_drop(&t->in, used);
		if (t->fd < 0)
			t->at_end = t->eof || t->recv_errno != 0;
		else if (*n == 0 && d->plain.len == 0 && !stopped(c))
			(d->kernel & CSSL_KERNEL_READ ? receive_from_kernel : receive)(c, buf, len, n);
	}
	code = cssl_direct_settle(c);
	if (code == SSL_ERROR_SSL)
		return code;
	if (*n > 0 || d->plain.len > 0)
		return SSL_ERROR_NONE;
	if (d->reason != 0)
		return fail(c, d->alert, d->reason);
	return d->ended ? SSL_ERROR_ZERO_RETURN : SSL_ERROR_WANT_READ;
}

int cssl_direct_read(cssl_conn *c, unsigned char *buf, size_t len, size_t *n)
{
	*n = cssl_bytes_take(&c->direct->plain, buf, len);
	return *n > 0 ? SSL_ERROR_NONE : fill(c, buf, len, n);
}

int cssl_direct_peek(cssl_conn *c, unsigned char *buf, size_t len, size_t *n)
{
	const cssl_bytes *plain = &c->direct->plain;
	int code = plain->len == 0 ? fill(c, NULL, 0, n) : SSL_ERROR_NONE;

	*n = plain->len < len ? plain->len : len;
	if (*n > 0)
		memcpy(buf, plain->data + plain->off, *n);
	return code;
}

int cssl_direct_pending(const cssl_conn *c)
{
	const cssl_bytes *in = &c->t.in;
	const unsigned char *h = in->data + in->off;

	return c->direct->plain.len > 0 || stopped(c) ||
	       (in->len >= CSSL_HEADER && in->len >= CSSL_HEADER + ((size_t)h[3] << 8 | h[4]));
}
