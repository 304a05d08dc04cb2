/* Private to the files that implement a connection. */
#ifndef CSSL_CONN_PRIVATE_H
#define CSSL_CONN_PRIVATE_H

#include "conn.h"
#include "direct.h"
#include "exdata.h"
#include "transport.h"

/*
 * The size of the largest record, with header, padding and tag. A write needs
 * this much room.
 */
#define MAX_RECORD (SSL3_RT_MAX_ENCRYPTED_LENGTH + SSL3_RT_HEADER_LENGTH)

/* The state of early data. */
typedef struct {
	unsigned begun : 1;    /* early data was read or written, or that was tried */
	unsigned ended : 1;    /* a server has read all of it, or a client can write no more */
	unsigned given_up : 1; /* cssl_early_give_up was called */
	uint32_t written;      /* bytes written by a client */
} cssl_early;

/* The most plaintext of one write. */
#define MAX_WRITE ((size_t)CSSL_BUFFERS * SSL3_RT_MAX_PLAIN_LENGTH)

/*
 * Sets *p to what follows the first at bytes of b, and returns how many bytes
 * are there: at most max, up to the end of a buffer; 0 at the end of all.
 */
static inline size_t cssl_buffers_at(const cssl_buffers *b, size_t at, size_t max, const unsigned char **p)
{
	size_t i = 0, len;

	while (i < CSSL_BUFFERS - 1 && at >= b->len[i])
		at -= b->len[i++];
	len = b->len[i] - at;
	*p = len > 0 ? b->data[i] + at : NULL;
	return len < max ? len : max;
}

struct cssl_conn {
	SSL *ssl;            /* NULL after the switch to direct records */
	cssl_direct *direct; /* or NULL if the SSL_CTX does not ask for them */
	cssl_ssl_data data;
	cssl_transport t;
	unsigned established : 1;   /* the first handshake is done */
	unsigned failed : 1;        /* SSL_get_error returned SSL_ERROR_SSL: no operation may follow */
	unsigned shutdown_done : 1; /* OpenSSL has written close_notify */
	unsigned peer_closed : 1;   /* the peer's close_notify has come */
	unsigned to_renegotiate : 1; /* a client: renegotiate once no partial record is buffered */
	unsigned retried : 1;       /* a HelloRetryRequest was sent or received */
	unsigned over_limit : 1;    /* max_messages or max_renegotiations was exceeded */
	int16_t alert_sent, alert_received;
	uint32_t messages, max_messages;             /* post-handshake messages received */
	uint32_t renegotiations, max_renegotiations; /* started by the peer */
	cssl_reasons *reasons;                       /* of the last failure, or NULL */
	uintptr_t signer_failure;                    /* why a Signer made it fail, or 0; see signer.h */
	int fd;      /* what t.fd was before cssl_detach */
	size_t tail; /* what t.tail_max was before cssl_detach */
	int64_t born; /* when the first handshake was done, in seconds since 1970 */
	cssl_early early;
};

/*
 * The message callback of an SSL, see msg_callback.c. arg is the cssl_conn.
 * Does not block or call Go.
 */
void cssl_on_message(int sent, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg);

/*
 * The part of an early data operation between begin and result, see
 * earlydata.c. Both return SSL_ERROR_NONE with *n set; SSL_ERROR_SSL if the
 * caller must call SSL_get_error; another code of SSL_get_error; or CSSL_*.
 */
int cssl_early_read(cssl_conn *c, unsigned char *buf, size_t len, size_t *n);
int cssl_early_write(cssl_conn *c, const unsigned char *buf, size_t len, size_t *n);

#endif
