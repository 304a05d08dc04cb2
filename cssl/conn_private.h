/* What the files of a connection share, and nobody else sees. */
#ifndef CSSL_CONN_PRIVATE_H
#define CSSL_CONN_PRIVATE_H

#include "conn.h"
#include "exdata.h"
#include "transport.h"

/* The largest record with header, padding and tag; what a write must find room for. */
#define MAX_RECORD (SSL3_RT_MAX_ENCRYPTED_LENGTH + SSL3_RT_HEADER_LENGTH)

/* What a connection has done with early data. */
typedef struct {
	unsigned begun : 1;    /* an operation on early data was tried */
	unsigned ended : 1;    /* a server has read the end of it */
	unsigned given_up : 1; /* by cssl_early_give_up */
	uint32_t written;      /* by a client */
} cssl_early;

struct cssl_conn {
	SSL *ssl;
	cssl_ssl_data data;
	cssl_transport t;
	unsigned established : 1;   /* the first handshake is done */
	unsigned failed : 1;        /* SSL_get_error returned SSL_ERROR_SSL: no operation may follow */
	unsigned shutdown_done : 1; /* close_notify left OpenSSL */
	unsigned to_renegotiate : 1; /* this client is to renegotiate once no partial record is buffered */
	unsigned over_limit : 1;    /* max_messages or max_renegotiations was passed */
	int16_t alert_sent, alert_received;
	uint32_t messages, max_messages;             /* post-handshake messages received */
	uint32_t renegotiations, max_renegotiations; /* asked for by the peer */
	cssl_reasons *reasons;                       /* of the last failure, or NULL */
	int fd;      /* the socket, while the transport works without it */
	size_t tail; /* the transport's, meanwhile */
	int64_t born; /* when the first handshake was done, in seconds since 1970 */
	cssl_early early;
};

/* Hears each protocol message, see msg_callback.c. arg is the cssl_conn. */
void cssl_on_message(int sent, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg);

/*
 * Early data, the middle of an operation: see earlydata.c. Both return as SSL_get_error does, SSL_ERROR_SSL where that is still
 * to be asked, or CSSL_*; *n is set with SSL_ERROR_NONE.
 */
int cssl_early_read(cssl_conn *c, unsigned char *buf, size_t len, size_t *n);
int cssl_early_write(cssl_conn *c, const unsigned char *buf, size_t len, size_t *n);

#endif
