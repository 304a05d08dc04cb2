/*
 * The transport BIO, which OpenSSL reads ciphertext from and writes it to.
 * Nothing here calls Go. It blocks in recv and send only, and only on a
 * blocking socket without MSG_DONTWAIT in flags.
 */
#ifndef CSSL_TRANSPORT_H
#define CSSL_TRANSPORT_H

#include <openssl/bio.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A queue of bytes, appended to at the end and taken from the front. */
typedef struct {
	unsigned char *data;
	size_t off, len, cap;
} cssl_bytes;

typedef struct {
	int fd;           /* the socket, or -1 if there is none */
	int flags;        /* of recv and send: MSG_DONTWAIT, or 0 */
	unsigned drained : 1; /* this operation's last recv was short: another would get EAGAIN */
	unsigned eof : 1;     /* the peer's FIN was read, or cssl_feed_eof was called */
	unsigned at_end : 1;  /* the last read found the end: see eof and recv_errno */
	unsigned lost : 1;    /* input was lost: recv_errno is ENOMEM, and recv is not called again */
	unsigned fed : 1;     /* no socket: input came since the last read of direct records */
	unsigned ended : 1;   /* no socket: cssl_take_end was called */
	unsigned corked : 1;  /* output is collected in out and sent when the operation ends */
	unsigned held : 1;    /* out is not yet offered to the transport; it goes with the next write */
	unsigned more : 1;    /* more records follow: use MSG_MORE */
	unsigned ahead : 1;   /* recv may read more than OpenSSL asks for; the rest waits in in */
	unsigned frozen : 1;  /* no more input is returned: the peer exceeded a limit */
	uint32_t moved;   /* flags of cssl_result, since the operation began */
	int send_errno;   /* the first errno of send; from then on output is discarded */
	/*
	 * The last errno of recv but EAGAIN; the kernel reports it only once.
	 * Without a socket: ENOMEM if input was not kept.
	 */
	int recv_errno;
	size_t tail_max;  /* the greatest size of out */
	cssl_bytes out;   /* written by OpenSSL, not yet sent or taken */
	cssl_bytes in;    /* received or fed, not yet read by OpenSSL */
} cssl_transport;

/*
 * Makes a BIO on t, which must outlive it. Returns NULL if out of memory. The
 * caller, or the SSL it is given to, frees it.
 */
BIO *cssl_transport_bio(cssl_transport *t);

/* Sends out. Returns 1 if nothing is left. */
int cssl_transport_flush(cssl_transport *t);

/* Returns 1 if out has room for n bytes, if need be after sending. */
int cssl_transport_room(cssl_transport *t, size_t n);

/*
 * Receives into in, until the socket has no more or in holds room bytes. eof
 * and recv_errno say how it ended.
 */
void cssl_transport_fill(cssl_transport *t, size_t room);

/*
 * Sends once. Returns how many bytes were taken: all of them if sending has
 * failed.
 */
size_t cssl_transport_send(cssl_transport *t, const unsigned char *p, size_t n);

/*
 * Sends n bytes, or appends to out what cannot be sent now, without regard to
 * tail_max. If out is held, all of it is sent together. After a failure
 * send_errno is set.
 */
void cssl_transport_put(cssl_transport *t, const unsigned char *p, size_t n);

/*
 * Receives once. Returns how many bytes arrived. On 0 there are none now, or
 * eof or recv_errno says why there will be no more.
 */
size_t cssl_transport_recv(cssl_transport *t, void *p, size_t len);

/*
 * Take the result of another call of send for n bytes, or of recv, with its
 * errno, and return as cssl_transport_send and cssl_transport_recv do.
 */
size_t cssl_transport_sent(cssl_transport *t, size_t n, ssize_t sent);
size_t cssl_transport_received(cssl_transport *t, ssize_t n);

/*
 * Appends n received bytes to in. Returns 0 if out of memory: then nothing can
 * be read after what is in in.
 */
int cssl_transport_keep(cssl_transport *t, const void *p, size_t n);

/*
 * append returns 0 if out of memory. take removes up to n bytes and returns how
 * many, drop removes n; both free an empty queue. free frees the memory, not b
 * itself.
 */
int cssl_bytes_append(cssl_bytes *b, const void *p, size_t n);
size_t cssl_bytes_take(cssl_bytes *b, void *p, size_t n);
void cssl_bytes_drop(cssl_bytes *b, size_t n);
void cssl_bytes_free(cssl_bytes *b);

/* Frees the buffers of t, not t itself. */
void cssl_transport_free(cssl_transport *t);

#endif
