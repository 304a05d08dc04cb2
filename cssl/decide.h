/*
 * What the application decides in the midst of a handshake: which Context a
 * client gets, and whether the peer's certificate will do.
 */
#ifndef CSSL_DECIDE_H
#define CSSL_DECIDE_H

#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

/* A decision, as the Go side has made it. */
enum { CSSL_UNDECIDED, CSSL_ACCEPTED, CSSL_REFUSED };

/* Bytes that malloc made. */
typedef struct {
	unsigned char *p;
	long len;
} cssl_blob;

struct cssl_decisions {
	unsigned char hello, peer; /* CSSL_UNDECIDED and the rest */
	unsigned char separated;   /* the session id context is that of the name already */
	unsigned char ask_hello;   /* the ClientHello is to be kept, and nothing done with it before hello is decided */
	unsigned char named;       /* hello was decided by the server name */
	SSL_CTX *chosen;           /* for the client; holds a reference until it is used. NULL: the one that there is */
	int alert;                 /* for a client that is refused */
	int peer_error;            /* X509_V_ERR_*: why the peer's certificate is refused */
	int verdict;               /* OpenSSL's own X509_V_* on the peer's certificate */
	cssl_blob message;         /* the first ClientHello, with its handshake header, until hello is decided */
	cssl_blob sent, valid;     /* the peer's certificates as they came, and the chain that was built; see certs.h */
	uintptr_t handle;          /* for cssl_go_verify: a server's connection */
};

/* NULL without memory. */
cssl_decisions *cssl_decide_new(int ask_hello);

/* Frees d and what it holds. d may be NULL. */
void cssl_decide_free(cssl_decisions *d);

/*
 * Keeps a copy of a ClientHello, if it is the first and d is not NULL. Without
 * memory there is none, and the handshake fails.
 */
void cssl_decide_keep(cssl_decisions *d, const void *message, size_t len);

/*
 * Installs the callbacks in ctx. Neither blocks nor calls Go, with one
 * exception: a server, which OpenSSL cannot suspend there, asks for the
 * certificate by cssl_go_verify, which returns when d->peer is decided.
 */
void cssl_decide_hello(SSL_CTX *ctx);
/* That of a server, for the answer to a server name. */
void cssl_decide_name(SSL_CTX *ctx);
void cssl_decide_peer(SSL_CTX *ctx, int application_alone);

/* Whether a client's verification can be suspended: OpenSSL 3.0.2 or newer. */
int cssl_can_retry_verify(void);

/* Implemented in Go. */
extern void cssl_go_verify(uintptr_t handle);

#endif
