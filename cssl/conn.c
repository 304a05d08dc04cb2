//go:build cgo

#include "conn_private.h"
#include "earlydata.h"
#include "ktls.h"
#include "signer.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

cssl_conn *cssl_conn_new(SSL_CTX *ctx, const cssl_conn_settings *s, cssl_reasons *out)
{
	cssl_conn *c;
	BIO *bio;

	ERR_clear_error();
	out->count = 0;
	c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->t.fd = s->fd;
	c->t.flags = s->blocking ? 0 : MSG_DONTWAIT;
	c->t.tail_max = s->tail;
	c->alert_sent = c->alert_received = -1;
	c->max_messages = s->max_messages;
	c->max_renegotiations = s->max_renegotiations;
	if (s->decide)
		c->data.decisions = cssl_decide_new(s->ask_hello);
	if (cssl_data_of_ctx(ctx)->algorithms != NULL)
		c->direct = c->data.direct = cssl_direct_new(cssl_data_of_ctx(ctx)->update_after);
	if ((!s->decide || c->data.decisions != NULL) && (cssl_data_of_ctx(ctx)->algorithms == NULL || c->direct != NULL))
		c->ssl = SSL_new(ctx);
	bio = c->ssl != NULL && cssl_data_set_ssl(c->ssl, &c->data) ? cssl_transport_bio(&c->t) : NULL;
	if (bio == NULL) {
		cssl_take_reasons(out);
		SSL_free(c->ssl);
		cssl_decide_free(c->data.decisions);
		cssl_direct_free(c->direct, 0);
		free(c);
		return NULL;
	}
	c->t.ahead = SSL_get_read_ahead(c->ssl) != 0;
	if (c->direct != NULL)
		SSL_set_read_ahead(c->ssl, 0); /* what is beyond the handshake stays in t.in */
	SSL_set_bio(c->ssl, bio, bio); /* takes the reference, for both directions */
	SSL_set_msg_callback(c->ssl, cssl_on_message);
	SSL_set_msg_callback_arg(c->ssl, c);
	if (s->server)
		SSL_set_accept_state(c->ssl);
	else
		SSL_set_connect_state(c->ssl);
	return c;
}

static void drop_signer_failure(uintptr_t f)
{
	if (f != 0)
		cssl_go_signer_free(f);
}

void cssl_conn_free(cssl_conn *c)
{
	/*
	 * SSL_free removes the session of a connection without close_notify from
	 * the server's cache. RFC 5246, section 7.2.1, no longer asks for that.
	 * Tickets are not affected either, unless they refer to the cache (early
	 * data).
	 */
	if (c->ssl != NULL && c->established && !c->failed)
		SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN);
	SSL_free(c->ssl);
	cssl_direct_free(c->direct, c->failed);
	cssl_transport_free(&c->t);
	cssl_decide_free(c->data.decisions);
	free(c->data.timestamps);
	free(c->data.refused);
	drop_signer_failure(c->signer_failure);
	free(c->reasons);
	free(c);
}

/*
 * Begins an operation. A stale entry in the thread's error queue would turn a
 * WANT of SSL_get_error into a failure; direct.c does not look at the queue.
 */
static void begin(cssl_conn *c)
{
	if (!cssl_is_direct(c)) {
		drop_signer_failure(cssl_signer_failure()); /* of another connection */
		ERR_clear_error();
		/* A renegotiation that begins after close_notify makes OpenSSL forget it. */
		if (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN)
			c->peer_closed = 1;
		else if (c->peer_closed)
			SSL_set_shutdown(c->ssl, SSL_get_shutdown(c->ssl) | SSL_RECEIVED_SHUTDOWN);
	}
	c->t.moved = 0;
	c->t.drained = 0;
}

static uint32_t flags_of(const cssl_conn *c)
{
	if (c->t.out.len == 0)
		return c->t.moved | (c->direct != NULL && c->direct->held ? CSSL_UNSENT : 0);
	return c->t.moved | (c->t.held ? CSSL_HELD : CSSL_UNSENT);
}

static cssl_result result(const cssl_conn *c, int code, int err)
{
	cssl_result r = {0, code, err, flags_of(c)};
	return r;
}

static cssl_result progress(const cssl_conn *c, size_t n)
{
	cssl_result r = {(int64_t)n, SSL_ERROR_NONE, 0, flags_of(c)};
	return r;
}

/*
 * Keeps the error of a Signer of this operation: after a decryption the
 * handshake fails later, see signer.go.
 */
static void keep_signer_failure(cssl_conn *c)
{
	uintptr_t f = cssl_is_direct(c) ? 0 : cssl_signer_failure();

	if (f == 0)
		return;
	drop_signer_failure(c->signer_failure);
	c->signer_failure = f;
}

/*
 * Returns the result of an operation that made no progress; code is that of
 * SSL_get_error, or CSSL_LIMIT. On a failure it empties the error queue.
 */
static cssl_result without_progress(cssl_conn *c, int code)
{
	if (c->over_limit || code == CSSL_LIMIT) {
		/*
		 * Input is frozen, so OpenSSL is between two messages and can still
		 * send its alert.
		 */
		if (!c->shutdown_done && !c->failed) {
			if (cssl_is_direct(c))
				cssl_direct_shutdown(c);
			else if (!SSL_in_init(c->ssl))
				SSL_shutdown(c->ssl);
		}
		c->shutdown_done = 1;
		c->failed = 1;
		code = CSSL_LIMIT;
	}
	if (code == SSL_ERROR_SSL || code == SSL_ERROR_SYSCALL) {
		if (c->reasons == NULL)
			c->reasons = malloc(sizeof *c->reasons);
		if (c->reasons != NULL)
			cssl_take_reasons(c->reasons);
	}
	ERR_clear_error();
	keep_signer_failure(c);
	if (code == SSL_ERROR_SSL) {
		c->failed = 1;
	} else if (code == SSL_ERROR_WANT_READ && c->t.at_end) {
		if (c->t.recv_errno != 0)
			return result(c, CSSL_RECV_FAILED, c->t.recv_errno);
		if (!c->established && c->t.send_errno != 0)
			/*
			 * The first send had the errno of the connection, such as
			 * ECONNREFUSED; recv only reports the end.
			 */
			return result(c, CSSL_RECV_FAILED, c->t.send_errno);
		return result(c, CSSL_BARE_FIN, 0);
	} else if (code == SSL_ERROR_WANT_READ && c->t.send_errno != 0 && !c->shutdown_done) {
		/* The peer may wait for what was never sent. */
		return result(c, CSSL_RECV_FAILED, c->t.send_errno);
	}
	return result(c, code, 0);
}

/* Returns the result of an SSL_ call that returned ret <= 0. */
static cssl_result failure(cssl_conn *c, int ret)
{
	int code = SSL_get_error(c->ssl, ret);

	/* It does not see close_notify behind a warning such as user_canceled. */
	if (code == SSL_ERROR_SYSCALL && (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN))
		code = SSL_ERROR_ZERO_RETURN;
	return without_progress(c, code);
}

/* Returns the result of an operation of direct.c. */
static cssl_result direct_result(cssl_conn *c, int code, size_t n)
{
	/* What came before the message that exceeds the limit is read first. */
	return code == SSL_ERROR_NONE ? progress(c, n) : without_progress(c, code);
}

static cssl_result bad_state(const cssl_conn *c)
{
	if (c->reasons != NULL)
		c->reasons->count = 0;
	return result(c, CSSL_BAD_STATE, 0);
}

/*
 * Returns 1 while a renegotiation or a post-handshake message is unfinished, or
 * this client is about to renegotiate: OpenSSL begins when no partial record is
 * buffered. A server that waits for the answer to its HelloRequest may
 * continue.
 */
static int unfinished(const cssl_conn *c)
{
	return SSL_in_init(c->ssl) || c->to_renegotiate || (!SSL_is_server(c->ssl) && SSL_renegotiate_pending(c->ssl));
}

/*
 * Makes a client ask for a renegotiation once the current record is complete.
 * OpenSSL 3.0 treats application data as a protocol error if the client asks
 * while a part of the server's own HelloRequest is buffered. If that record
 * began a handshake, it is the one asked for. Returns 1 if it asked just now.
 */
static int renegotiate(cssl_conn *c)
{
	if (!c->to_renegotiate || (!SSL_in_init(c->ssl) && SSL_has_pending(c->ssl) && SSL_pending(c->ssl) == 0))
		return 0;
	c->to_renegotiate = 0;
	return !SSL_in_init(c->ssl) && SSL_get_shutdown(c->ssl) == 0 && SSL_renegotiate(c->ssl) == 1;
}

/*
 * Continues a renegotiation or a post-handshake message (KeyUpdate) as far as
 * possible. SSL_do_handshake and SSL_write treat application data in the middle
 * of a renegotiation as a protocol error. SSL_read does not, and SSL_peek is an
 * SSL_read that leaves the data in place. After the peer's close_notify
 * SSL_peek does nothing, but no data can arrive either, so SSL_do_handshake
 * sends a KeyUpdate. Returns 1 when nothing is left; otherwise *r says what it
 * waits for.
 */
static int drive(cssl_conn *c, cssl_result *r)
{
	char byte;
	size_t n = 0;
	int ret;

	renegotiate(c);
	if (SSL_version(c->ssl) == TLS1_3_VERSION && (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN))
		ret = SSL_do_handshake(c->ssl);
	else
		do
			ret = SSL_peek_ex(c->ssl, &byte, 1, &n);
		while (renegotiate(c));

	if (!unfinished(c) && !c->over_limit) {
		/*
		 * Done. The next read will find what the peek found (WANT_READ,
		 * close_notify, bare FIN).
		 */
		ERR_clear_error();
		return 1;
	}
	*r = ret > 0 ? result(c, CSSL_WANT_APP_READ, 0) : failure(c, ret);
	return 0;
}

/*
 * Returns 0 if the connection has failed, or is a server's that has not read
 * all early data. Ends a client's early data.
 */
static int ready(cssl_conn *c)
{
	if (c->established || c->failed)
		return !c->failed;
	if (SSL_is_server(c->ssl))
		return !c->early.begun || c->early.ended;
	c->early.ended = 1;
	return 1;
}

cssl_result cssl_handshake(cssl_conn *c)
{
	cssl_result r;
	int ret;

	begin(c);
	if (!ready(c))
		return bad_state(c);
	if (cssl_is_direct(c))
		return direct_result(c, cssl_direct_settle(c), 1);
	if (c->established)
		return !unfinished(c) || drive(c, &r) ? progress(c, 1) : r;
	c->t.corked = c->t.fd >= 0;
	ret = SSL_do_handshake(c->ssl);
	c->t.corked = 0;
	cssl_direct_note(c);
	if (ret == 1 && c->t.out.len > 0 && SSL_is_server(c->ssl) && SSL_version(c->ssl) == TLS1_3_VERSION)
		c->t.held = c->t.fd >= 0; /* tickets, see transport.c */
	else
		cssl_transport_flush(&c->t);
	if (ret != 1)
		return failure(c, ret);
	c->established = 1;
	c->born = time(NULL);
	if (c->early.given_up) {
		size_t none;
		/*
		 * Otherwise OpenSSL waits for early data for ever; there is none to
		 * read.
		 */
		SSL_read_early_data(c->ssl, NULL, 0, &none);
	}
	if (cssl_direct_prepare(c)) {
		cssl_direct_switch(c, cssl_conn_state(c, 1));
		if (cssl_is_direct(c))
			cssl_direct_to_kernel(c);
	}
	return progress(c, 1);
}

cssl_result cssl_detach(cssl_conn *c, int need_input)
{
	c->t.moved = 0; /* begin may call Go */
	c->t.drained = 0;
	if (c->t.fd >= 0) {
		cssl_transport_flush(&c->t);
		cssl_transport_fill(&c->t, 2 * MAX_RECORD);
	}
	/*
	 * After a failed send the handshake must report that no answer will come.
	 */
	if (need_input && c->t.in.len == 0 && !c->t.eof && c->t.recv_errno == 0 && c->t.send_errno == 0)
		return result(c, SSL_ERROR_WANT_READ, 0);
	c->fd = c->t.fd;
	c->tail = c->t.tail_max;
	c->t.fd = -1;
	if (c->t.tail_max < MAX_RECORD)
		c->t.tail_max = MAX_RECORD; /* the only place for output meanwhile */
	return progress(c, 1);
}

cssl_result cssl_attach(cssl_conn *c, cssl_result r)
{
	c->t.fd = c->fd;
	c->t.tail_max = c->tail;
	c->t.moved = r.flags & CSSL_MOVED_IN;
	if (c->t.fd >= 0)
		cssl_transport_flush(&c->t);
	else
		c->t.moved |= r.flags & CSSL_MOVED_OUT;
	if (cssl_is_direct(c))
		cssl_direct_to_kernel(c); /* before, it had no socket */
	r.flags = flags_of(c);
	return r;
}

cssl_decisions *cssl_conn_decisions(cssl_conn *c)
{
	return c->data.decisions;
}

cssl_result cssl_read(cssl_conn *c, unsigned char *buf, size_t len)
{
	cssl_result r;
	size_t n = 0;
	int ret, drained;

	begin(c);
	if (!ready(c))
		return bad_state(c);
	if (cssl_is_direct(c)) {
		ret = cssl_direct_read(c, buf, len, &n);
		r = direct_result(c, ret, n);
	} else {
		ret = SSL_read_ex(c->ssl, buf, len, &n);
		/* The data may follow the message that exceeds the limit. */
		r = ret > 0 && !c->over_limit ? progress(c, n) : failure(c, ret);
	}
	drained = c->t.fd < 0 ? !c->t.eof : c->t.drained;
	if (r.code == SSL_ERROR_NONE && drained && c->t.send_errno == 0 && !cssl_has_pending(c))
		r.flags |= CSSL_DRAINED;
	return r;
}

cssl_result cssl_peek(cssl_conn *c, unsigned char *buf, size_t len)
{
	size_t n = 0;
	int ret;

	begin(c);
	if (!ready(c))
		return bad_state(c);
	if (cssl_is_direct(c)) {
		ret = cssl_direct_peek(c, buf, len, &n);
		return direct_result(c, ret, n);
	}
	ret = SSL_peek_ex(c->ssl, buf, len, &n);
	return ret > 0 && !c->over_limit ? progress(c, n) : failure(c, ret);
}

/*
 * Returns 1 if a record may be written: nothing is queued for the socket, or
 * without a socket there is room for one more.
 */
static int has_room(cssl_conn *c)
{
	if (c->t.out.len == 0 || c->t.held || cssl_transport_flush(&c->t))
		return 1;
	return c->t.fd < 0 && c->t.tail_max >= c->t.out.len + MAX_RECORD;
}

/* Ends the corking, if any, and sends what was collected. */
static void uncork(cssl_conn *c)
{
	if (!c->t.corked)
		return;
	c->t.corked = 0;
	cssl_transport_flush(&c->t);
}

/*
 * Returns 1 if the tail can keep another record, if need be after sending. *n
 * becomes at when all has been sent.
 */
static int another(cssl_conn *c, size_t at, size_t *n)
{
	if (c->t.out.len + MAX_RECORD <= c->t.tail_max)
		return 1;
	if (!cssl_transport_flush(&c->t)) {
		c->t.corked = 0; /* another send would get EAGAIN */
		return 0;
	}
	if (c->t.send_errno == 0)
		*n = at;
	return c->t.send_errno == 0 && c->t.tail_max >= MAX_RECORD;
}

/*
 * Writes with OpenSSL. If there is a tail, several records are collected and
 * sent together. All but the first find room in the tail, so that no SSL_write
 * of theirs can be left unfinished, and no want can follow the first. *n counts
 * the bytes of records that are sent, or kept in the tail. Returns as
 * SSL_write_ex.
 */
static int write_records(cssl_conn *c, const cssl_buffers *b, size_t *n)
{
	const unsigned char *p;
	/* A write that may go on with a handshake may want to read, so it is alone. */
	int alone = c->t.tail_max < MAX_RECORD ||
	            (SSL_version(c->ssl) < TLS1_3_VERSION && !(SSL_get_options(c->ssl) & SSL_OP_NO_RENEGOTIATION));
	size_t most = alone ? MAX_WRITE : SSL3_RT_MAX_PLAIN_LENGTH;
	size_t at = 0, part = cssl_buffers_at(b, 0, most, &p);
	int ret, more = c->t.more, several = !alone && cssl_buffers_at(b, part, 1, &p) > 0;

	c->t.more = more || several;
	c->t.corked = c->t.held || (several && c->t.fd >= 0);
	do {
		part = cssl_buffers_at(b, at, most, &p);
		ret = SSL_write_ex(c->ssl, p, part, &part);
		if (ret <= 0)
			break;
		at += part;
	} while (!alone && at < MAX_WRITE && cssl_buffers_at(b, at, 1, &p) > 0 && another(c, at, n));
	c->t.more = !!more;
	uncork(c);
	if (c->t.send_errno == 0)
		*n = at;
	return ret;
}

cssl_result cssl_write(cssl_conn *c, cssl_buffers b, int more)
{
	cssl_result r;
	size_t n = 0;
	int ret;

	begin(c);
	if (c->failed || !c->established || c->shutdown_done)
		return bad_state(c);
	if (!has_room(c))
		return result(c, SSL_ERROR_WANT_WRITE, 0);
	if (!cssl_is_direct(c) && c->t.send_errno == 0 &&
	    (SSL_in_init(c->ssl) || c->to_renegotiate || SSL_renegotiate_pending(c->ssl)) && !drive(c, &r))
		return r;
	if (c->t.send_errno != 0)
		return result(c, CSSL_SEND_FAILED, c->t.send_errno);
	c->t.more = !!more;
	if (cssl_is_direct(c)) {
		ret = cssl_direct_write(c, &b, &n);
		r = direct_result(c, ret, n);
	} else {
		ret = write_records(c, &b, &n);
		r = ret > 0 || c->t.send_errno != 0 ? progress(c, n) : failure(c, ret);
	}
	c->t.more = 0;
	if (c->t.send_errno != 0) {
		ERR_clear_error();
		r = result(c, CSSL_SEND_FAILED, c->t.send_errno);
	}
	r.n = (int64_t)n;
	return r;
}

cssl_result cssl_send_file(cssl_conn *c, int file, size_t len)
{
	size_t n = 0;
	int code;

	begin(c);
	if (c->failed || !c->established || c->shutdown_done || !cssl_is_direct(c) || !(c->direct->kernel & CSSL_KERNEL_WRITE))
		return bad_state(c);
	if (c->t.send_errno != 0)
		return result(c, CSSL_SEND_FAILED, c->t.send_errno);
	code = cssl_direct_send_file(c, file, len, &n);
	return code == CSSL_SEND_FAILED ? result(c, code, errno) : direct_result(c, code, n);
}

cssl_result cssl_flush(cssl_conn *c)
{
	int held = c->t.held;

	c->t.moved = 0;
	if (!cssl_transport_flush(&c->t))
		return result(c, SSL_ERROR_WANT_WRITE, 0);
	if (cssl_is_direct(c)) {
		int code = cssl_direct_settle(c);
		if (code != SSL_ERROR_NONE)
			return without_progress(c, code);
		if (c->direct->held)
			c->direct->held = (uint8_t)cssl_ktls_push(c);
		if (c->t.out.len > 0 || c->direct->held)
			return result(c, SSL_ERROR_WANT_WRITE, 0);
	}
	/* The next write will report that the peer left without its tickets. */
	if (c->t.send_errno != 0 && !held)
		return result(c, CSSL_SEND_FAILED, c->t.send_errno);
	return progress(c, 1);
}

cssl_result cssl_shutdown(cssl_conn *c, int more)
{
	cssl_result r;
	int ret;

	begin(c);
	if (c->shutdown_done && !c->over_limit)
		return progress(c, 1);
	if (c->failed || !c->established)
		return bad_state(c);
	if (!cssl_is_direct(c) && c->t.send_errno == 0 && SSL_in_init(c->ssl) && !drive(c, &r))
		return r;
	if (c->t.send_errno != 0)
		return result(c, CSSL_SEND_FAILED, c->t.send_errno);
	c->t.more = !!more;
	if (cssl_is_direct(c)) {
		r = direct_result(c, cssl_direct_shutdown(c), 1);
	} else {
		c->t.corked = c->t.held; /* the tickets go with the close_notify */
		ret = SSL_shutdown(c->ssl);
		uncork(c);
		r = ret < 0 ? failure(c, ret) : progress(c, 1);
	}
	c->t.more = 0;
	if (r.code != SSL_ERROR_NONE)
		return r;
	c->shutdown_done = 1;
	if (c->t.send_errno != 0)
		return result(c, CSSL_SEND_FAILED, c->t.send_errno);
	if (cssl_is_direct(c))
		c->direct->held = (uint8_t)cssl_ktls_holds(c);
	return progress(c, 1);
}

int cssl_free_buffers(cssl_conn *c)
{
	if (cssl_is_direct(c)) {
		cssl_keys_idle(&c->direct->records);
		return 1;
	}
	/*
	 * Before 3.0.14, SSL_free_buffers freed a record of which only the header
	 * was read (the state is then "RB") or only a part was returned
	 * (CVE-2024-4741).
	 */
	if (SSL_has_pending(c->ssl) || strcmp(SSL_rstate_string(c->ssl), "RH") != 0)
		return 0;
	return SSL_free_buffers(c->ssl);
}

/*
 * Continues the handshake that an OpenSSL function has started; ret is what
 * that returned.
 */
static cssl_result start(cssl_conn *c, int ret)
{
	cssl_result r;

	if (ret != 1) {
		/*
		 * Nothing was started (wrong version, not allowed, an unfinished
		 * write): the connection is as before.
		 */
		if (c->reasons == NULL)
			c->reasons = malloc(sizeof *c->reasons);
		if (c->reasons != NULL)
			cssl_take_reasons(c->reasons);
		ERR_clear_error();
		return result(c, CSSL_BAD_STATE, 0);
	}
	return drive(c, &r) ? progress(c, 1) : r;
}

cssl_result cssl_key_update(cssl_conn *c, int request_peer)
{
	begin(c);
	if (c->failed || !c->established || c->shutdown_done)
		return bad_state(c);
	if (cssl_is_direct(c)) {
		if (!c->direct->records.suite->tls13)
			return bad_state(c);
		if (cssl_ktls_can_update(c))
			return direct_result(c, cssl_direct_update(c, request_peer), 1);
		cssl_ktls_raise();
		return start(c, 0);
	}
	if (SSL_in_init(c->ssl) || SSL_version(c->ssl) < TLS1_3_VERSION)
		return bad_state(c);
	return start(c, SSL_key_update(c->ssl, request_peer ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED));
}

cssl_result cssl_renegotiate(cssl_conn *c)
{
	begin(c);
	if (c->failed || !c->established || c->shutdown_done || cssl_is_direct(c) || SSL_in_init(c->ssl) ||
	    SSL_version(c->ssl) >= TLS1_3_VERSION || (SSL_get_options(c->ssl) & SSL_OP_NO_RENEGOTIATION))
		return bad_state(c);
	if (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN)
		return bad_state(c); /* a peer that has sent close_notify ignores handshake messages */
	if (SSL_is_server(c->ssl))
		return start(c, SSL_renegotiate(c->ssl));
	c->to_renegotiate = 1;
	return start(c, 1);
}

cssl_result cssl_request_certificate(cssl_conn *c)
{
	begin(c);
	if (c->failed || !c->established || c->shutdown_done || cssl_is_direct(c) || SSL_in_init(c->ssl) ||
	    SSL_version(c->ssl) < TLS1_3_VERSION || (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN)) /* no answer can come */
		return bad_state(c);
	return start(c, SSL_verify_client_post_handshake(c->ssl));
}

/*
 * Begins an operation on early data, which comes before the end of the
 * handshake. Output is collected and sent at once.
 */
static int begin_early(cssl_conn *c)
{
	begin(c);
	if (c->failed || c->established)
		return 0;
	c->t.corked = c->t.fd >= 0;
	return 1;
}

static cssl_result end_early(cssl_conn *c, int code, size_t n)
{
	uncork(c);
	if (code == CSSL_BAD_STATE)
		return bad_state(c);
	if (code == SSL_ERROR_SSL)
		return failure(c, -1);
	return code == SSL_ERROR_NONE ? progress(c, n) : result(c, code, 0);
}

cssl_result cssl_read_early(cssl_conn *c, unsigned char *buf, size_t len)
{
	size_t n = 0;
	int code;

	if (!begin_early(c))
		return bad_state(c);
	code = cssl_early_read(c, buf, len, &n);
	return end_early(c, code, n);
}

cssl_result cssl_write_early(cssl_conn *c, const unsigned char *buf, size_t len)
{
	size_t n = 0;
	int code;

	if (!begin_early(c))
		return bad_state(c);
	code = cssl_early_write(c, buf, len, &n);
	return end_early(c, code, n);
}
