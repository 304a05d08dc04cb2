/*
 * Kernel TLS: direct records whose keys the kernel has. Linux then seals what
 * send takes and opens what recv returns; a control message names the type of a
 * record that is not data. Each direction is handed over by itself. The
 * functions neither block, except in recv and send on a blocking socket, nor
 * call back.
 */
#ifndef CSSL_KTLS_H
#define CSSL_KTLS_H

#include "direct.h"

/*
 * Tries on a socket of its own, once, whether a part of a record makes a socket
 * readable; recv would return EAGAIN, and an event loop would spin until the
 * rest is there. It may take two seconds where packets to 127.0.0.1 get lost.
 */
void cssl_ktls_probe(void);
/* Returns why the kernel must not open records, or NULL. */
const char *cssl_ktls_no_reading(void);

/* Attaches TLS to the socket, without keys yet. Returns 1, or 0 with errno. */
int cssl_ktls_begin(const cssl_conn *c);
/*
 * Gives the kernel the key of a direction, CSSL_KERNEL_READ or
 * CSSL_KERNEL_WRITE, between two records. Returns 1, or 0 with errno.
 */
int cssl_ktls_give(cssl_conn *c, int direction);

/*
 * Returns 0 if we can send no KeyUpdate, because the kernel cannot change the
 * key that it seals with. cssl_ktls_raise puts this into the error queue.
 */
int cssl_ktls_can_update(const cssl_conn *c);
void cssl_ktls_raise(void);
/*
 * Gives the kernel the next key of a direction, if it has that direction.
 * Returns 0 on failure.
 */
int cssl_ktls_update(cssl_conn *c, int direction);

/*
 * Receives data, or one record of another type. Returns the type, and the
 * length in *n, which may be 0; or -1 if there is none now, or eof, recv_errno
 * or c->direct->reason says why there will be no more.
 */
int cssl_ktls_recv(cssl_conn *c, unsigned char *p, size_t len, size_t *n);

/* Sends a record that is not data. Returns 0 if the socket does not take it now. */
int cssl_ktls_send(cssl_conn *c, int type, const unsigned char *p, size_t n);

/*
 * Returns 1 if the kernel has sealed or accepted something that TCP has not
 * taken yet. A FIN of shutdown(2) or close(2) would overtake it, and it would be
 * lost.
 */
int cssl_ktls_holds(const cssl_conn *c);
/*
 * After close_notify: makes TCP take what the kernel holds. Returns 1 if TCP had
 * no room for all of it; the socket will then become writable.
 *
 * When TCP has room again, the socket becomes writable, but a thread of the
 * kernel sends what it holds only later, and no event follows. sendmsg sends it
 * at once, before its own record, and there is no way without a record. So
 * close_notify goes once more; what follows the first one is ignored (RFC 8446,
 * section 6.1).
 */
int cssl_ktls_push(cssl_conn *c);

#endif
