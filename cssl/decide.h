/*
 * The decisions of the application during a handshake: which Context a client
 * gets, and whether the peer's certificate is accepted. Nothing here blocks or
 * calls Go, except cssl_decide_free and the callback of cssl_decide_peer.
 */
#ifndef CSSL_DECIDE_H
#define CSSL_DECIDE_H

#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

/* The state of a decision. */
enum { CSSL_UNDECIDED, CSSL_ACCEPTED, CSSL_REFUSED };

/* Bytes in malloc'ed memory. */
typedef struct {
	unsigned char *p;
	long len;
} cssl_blob;

struct cssl_decisions {
	unsigned char hello, peer; /* CSSL_UNDECIDED, CSSL_ACCEPTED or CSSL_REFUSED */
	unsigned char separated;   /* the session id context is already that of the server name */
	unsigned char ask_hello;   /* suspend the handshake until hello is decided; keep message */
	unsigned char named;       /* hello was decided by the server name */
	unsigned char vouched;     /* peer was accepted with chain, whatever OpenSSL has found */
	unsigned char raw;         /* sent is a raw public key */
	SSL_CTX *chosen;           /* a reference, which the handshake takes; NULL: no change */
	int alert;                 /* sent to a client that is refused */
	int peer_error;            /* X509_V_ERR_*: why the application refuses the peer */
	int verdict;               /* X509_V_*: OpenSSL's own verdict on the peer's certificate */
	cssl_blob message;         /* the first ClientHello, with handshake header, until decided */
	cssl_blob inner;           /* the one that was encrypted in it, if OpenSSL has decrypted it */
	cssl_blob sent, valid;     /* certificates (or a raw public key) as received and chain as verified; see certs.h */
	cssl_blob chain;           /* that the application has verified, if vouched; empty: none */
	uintptr_t handle;          /* for cssl_go_verify, on a server, and extension.h; or 0 */
};

/* Returns NULL if out of memory. The caller frees it. */
cssl_decisions *cssl_decide_new(int ask_hello);

/*
 * Frees d, which may be NULL, and what it holds. Calls cssl_go_release if
 * chosen was the last reference to an SSL_CTX.
 */
void cssl_decide_free(cssl_decisions *d);

/*
 * Copies a ClientHello into d, if it is the first and d->ask_hello is set. d
 * may be NULL. If out of memory there is no copy, and the handshake will fail.
 */
void cssl_decide_keep(cssl_decisions *d, const void *message, size_t len);

/*
 * These install callbacks in ctx, which suspend the handshake until the
 * decision. OpenSSL cannot suspend a server's verification; there the callback
 * calls cssl_go_verify, which returns once d->peer is decided.
 */
void cssl_decide_hello(SSL_CTX *ctx);
/*
 * A server's callback, which acknowledges the server name or not. It never
 * waits.
 */
void cssl_decide_name(SSL_CTX *ctx);
void cssl_decide_peer(SSL_CTX *ctx, int application_alone);

/* Returns 1 if OpenSSL can suspend a client's verification (3.0.2 or newer). */
int cssl_can_retry_verify(void);

/*
 * Implemented in Go. Runs inside a server's handshake and blocks until the
 * application has decided.
 */
extern void cssl_go_verify(uintptr_t handle);

#endif
