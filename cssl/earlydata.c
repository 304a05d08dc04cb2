//go:build cgo

#include "beside.h"
#include "conn_private.h"
#include "earlydata.h"

#include <openssl/err.h>
#include <string.h>

/*
 * Early data (RFC 8446, section 2.3): SSL_read_early_data and
 * SSL_write_early_data over a transport that may not take all output.
 *
 * SSL_write_early_data counts its argument against the server's limit on each
 * call. A call repeated after WANT_WRITE counts twice and fails the connection
 * (OpenSSL 3.0 to 3.5, ssl3_write_bytes). So it is called only if the tail has
 * room for all of its output. Without a tail the result is CSSL_BAD_STATE.
 */

/*
 * The most that is written at once, and the room it takes with the headers and
 * tags of records of 512 bytes.
 */
enum { EARLY_CHUNK = 8192, EARLY_ROOM = EARLY_CHUNK + 1024 };

/*
 * Accepts early data only with a ticket. With an external PSK, OpenSSL would
 * accept it too, and then fail the connection, because such a PSK allows 0
 * bytes. A ticket that allows more than the setting was issued under an earlier
 * setting.
 */
static int allow_early(SSL *ssl, void *arg)
{
	uint32_t n = SSL_SESSION_get_max_early_data(SSL_get0_session(ssl));

	(void)arg;
	return n > 0 && n <= SSL_get_max_early_data(ssl);
}

void cssl_early_bound(SSL_CTX *ctx)
{
	SSL_CTX_set_allow_early_data_cb(ctx, allow_early, NULL);
}

int cssl_early_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to)
{
	uint32_t f = SSL_CTX_get_max_early_data(from), t = SSL_CTX_get_max_early_data(to), n = f < t ? f : t;

	if ((SSL_CTX_get_options(from) & SSL_OP_NO_ANTI_REPLAY) && !(SSL_CTX_get_options(to) & SSL_OP_NO_ANTI_REPLAY))
		n = 0; /* from issued the tickets, and does not limit them to one use */
	return SSL_set_max_early_data(ssl, n) && SSL_set_recv_max_early_data(ssl, n > SSL3_RT_MAX_PLAIN_LENGTH ? n : SSL3_RT_MAX_PLAIN_LENGTH);
}

int cssl_early_read(cssl_conn *c, unsigned char *buf, size_t len, size_t *n)
{
	SSL *ssl = c->ssl;
	cssl_early *e = &c->early;

	if (e->ended)
		return CSSL_END;
	if (!SSL_is_server(ssl) || (!e->begun && !SSL_in_before(ssl)))
		return CSSL_BAD_STATE;
	e->begun = 1;
	switch (SSL_read_early_data(ssl, buf, len, n)) {
	case SSL_READ_EARLY_DATA_SUCCESS:
		return SSL_ERROR_NONE;
	case SSL_READ_EARLY_DATA_FINISH:
		e->ended = 1;
		return CSSL_END;
	}
	return SSL_ERROR_SSL;
}

/*
 * Returns 1 if OpenSSL will offer a client's session, and it may be used for
 * early data with the requested name. Otherwise OpenSSL itself fails the
 * connection.
 */
static int may_begin(SSL *ssl)
{
	const SSL_SESSION *s = SSL_get0_session(ssl);
	const char *is, *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	int max = (int)SSL_get_max_proto_version(ssl);

	if (s == NULL || SSL_SESSION_get_max_early_data(s) == 0 || !SSL_SESSION_is_resumable(s) || !SSL_in_before(ssl) ||
	    (max != 0 && max < TLS1_3_VERSION))
		return 0;
	is = SSL_SESSION_get0_hostname(s);
	return is == NULL || asked == NULL ? is == asked : strcmp(is, asked) == 0;
}

uint32_t cssl_early_room(cssl_conn *c)
{
	SSL *ssl = c->ssl;
	const cssl_early *e = &c->early;

	if (SSL_is_server(ssl) || e->ended || (!e->begun && !may_begin(ssl)))
		return 0;
	return SSL_SESSION_get_max_early_data(SSL_get0_session(ssl)) - e->written;
}

int cssl_early_write(cssl_conn *c, const unsigned char *buf, size_t len, size_t *n)
{
	SSL *ssl = c->ssl;
	cssl_early *e = &c->early;
	int client = !SSL_is_server(ssl);
	size_t none;

	if (len > EARLY_CHUNK)
		len = EARLY_CHUNK;
	if (client) {
		uint32_t room = cssl_early_room(c);

		if (room == 0)
			return CSSL_BAD_STATE;
		if (!e->begun && !cssl_transport_room(&c->t, EARLY_ROOM))
			return CSSL_BAD_STATE; /* there is no tail */
		e->begun = 1;
		if (len > room)
			len = room;
		if (SSL_get_early_data_status(ssl) == SSL_EARLY_DATA_NOT_SENT && !SSL_write_early_data(ssl, buf, 0, &none))
			return SSL_ERROR_SSL; /* the ClientHello */
	} else if (!e->begun || SSL_get_early_data_status(ssl) != SSL_EARLY_DATA_ACCEPTED) {
		return CSSL_BAD_STATE; /* without early data the client is not authenticated yet */
	}
	if (!cssl_transport_room(&c->t, EARLY_ROOM))
		return c->t.out.len > 0 ? SSL_ERROR_WANT_WRITE : CSSL_BAD_STATE;
	if (!SSL_write_early_data(ssl, buf, len, n))
		return SSL_ERROR_SSL;
	if (client)
		e->written += (uint32_t)*n;
	return SSL_ERROR_NONE;
}

void cssl_early_give_up(cssl_conn *c)
{
	c->early.ended = c->early.given_up = 1;
}

uint32_t cssl_session_early(const unsigned char *der, long len)
{
	SSL_SESSION *s;
	uint32_t n;

	ERR_clear_error();
	s = d2i_SSL_SESSION(NULL, &der, len);
	n = s != NULL ? SSL_SESSION_get_max_early_data(s) : 0;
	SSL_SESSION_free(s);
	ERR_clear_error();
	return n;
}
