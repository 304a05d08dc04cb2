/*
 * The transport BIO: what OpenSSL reads ciphertext from and writes it to.
 */
#ifndef CSSL_TRANSPORT_H
#define CSSL_TRANSPORT_H

#include <openssl/bio.h>
#include <stddef.h>
#include <stdint.h>

/* A run of bytes that is taken from the front and grows at the back. */
typedef struct {
	unsigned char *data;
	size_t off, len, cap;
} cssl_bytes;

typedef struct {
	int fd;           /* the socket, or -1 in engine mode */
	int flags;        /* of each recv and send: MSG_DONTWAIT, or 0 */
	unsigned drained : 1; /* within one operation: the last recv came back short, the next would answer EAGAIN */
	unsigned eof : 1;     /* the peer's FIN was read (engine mode: the caller said so) */
	unsigned at_end : 1;  /* the last read found nothing, and eof or recv_errno says why there will be no more */
	unsigned lost : 1;    /* input was received and could not be kept: recv_errno is ENOMEM, and nothing more is received */
	unsigned ended : 1;   /* engine mode: the caller sends no more than what is in out */
	unsigned corked : 1;  /* output is collected in out until the operation ends, and leaves with one send */
	unsigned held : 1;    /* what is in out was not offered to the transport yet; it leaves with what is written next */
	unsigned more : 1;    /* other records follow at once: what is sent may wait for them in the kernel */
	unsigned ahead : 1;   /* recv may take more than OpenSSL asks for; the rest waits in in */
	unsigned frozen : 1;  /* no more input is given out: the peer went over a limit */
	uint32_t moved;   /* CSSL_MOVED_*: what happened since the operation began */
	int send_errno;   /* the first errno of send; from then on what is written is dropped */
	int recv_errno;   /* the last errno of recv other than EAGAIN; the kernel tells it once only. Engine mode: ENOMEM, input was not kept */
	size_t tail_max;  /* the greatest size of out */
	cssl_bytes out;   /* written by OpenSSL, not yet taken by the socket or the caller */
	cssl_bytes in;    /* received ahead or by cssl_transport_fill, or in engine mode fed by the caller; not yet read by OpenSSL */
} cssl_transport;

/* A BIO over t, which must outlive it. NULL when out of memory. */
BIO *cssl_transport_bio(cssl_transport *t);

/* Sends what is kept in out. True when nothing is left. Blocks on nothing if flags has MSG_DONTWAIT. */
int cssl_transport_flush(cssl_transport *t);

/* True when out has room for n bytes, after it was offered to the socket if need be. Blocks as cssl_transport_flush does. */
int cssl_transport_room(cssl_transport *t, size_t n);

/* Receives what has come into in, until that holds room bytes. eof and recv_errno say how it ended. Blocks on nothing if flags has MSG_DONTWAIT. */
void cssl_transport_fill(cssl_transport *t, size_t room);

/* Appends to, and takes from the front of, a run of bytes. append answers 0 when out of memory. */
int cssl_bytes_append(cssl_bytes *b, const void *p, size_t n);
size_t cssl_bytes_take(cssl_bytes *b, void *p, size_t n);
void cssl_bytes_free(cssl_bytes *b);

/* Frees the buffers of t. */
void cssl_transport_free(cssl_transport *t);

#endif
