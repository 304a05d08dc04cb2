/*
 * The C side of an SSL_CTX: what needs a macro, a callback or several calls
 * that must share one crossing with the error queue.
 */
#ifndef CSSL_CONTEXT_H
#define CSSL_CONTEXT_H

#include "conn.h"
#include "earlydata.h"
#include "psk.h"
#include "recordsize.h"
#include "session.h"
#include "tickets.h"

#include <openssl/ssl.h>

/* The settings that are numbers. */
typedef struct {
	OSSL_LIB_CTX *library;  /* NULL is the default one */
	const char *properties; /* may be NULL */
	int server;
	int min_version, max_version; /* TLS1_2_VERSION ...; 0 leaves OpenSSL's choice */
	int verify_mode;              /* SSL_VERIFY_* */
	int verify_depth;             /* -1 leaves OpenSSL's choice */
	int tickets;                  /* TLS 1.3 tickets per handshake */
	int no_tickets;
	long session_cache;           /* entries of the server's cache; 0 is off */
	int renegotiation;
	int release_buffers;
	int read_ahead;
	int post_handshake_auth;      /* a client offers it; a server asks for no certificate before cssl_request_certificate */
	int no_middlebox_compat;
	unsigned char session_id_context[32];
} cssl_settings;

/* The settings that are strings in OpenSSL's own syntax. */
enum { CSSL_CIPHERS, CSSL_CIPHERSUITES, CSSL_GROUPS, CSSL_SIGALGS };

/*
 * Must be the first call into this library: OpenSSL's cleanup at exit is not to run under live threads. It blocks on OpenSSL's
 * configuration file and the modules that this names. No callback fires. 1 on success.
 */
int cssl_init(void);

/* How many SSL_CTX this process has; those that only connections still hold count too. */
long cssl_contexts(void);

/*
 * All of these return 1 on success, and 0 with the reasons in out. None blocks
 * (bytes come from memory), none calls back, and none keeps a pointer that it was given, except the library. They may
 * be called only before the first SSL is made of ctx, and each once, except cssl_ctx_string.
 */
/* The caller's to free, with SSL_CTX_free; NULL on failure. What cssl keeps beside it goes with the last reference, see free_data in context.c. */
SSL_CTX *cssl_ctx_new(const cssl_settings *s, cssl_reasons *out);
int cssl_ctx_string(SSL_CTX *ctx, int which, const char *value, cssl_reasons *out);
/* 1 if ctx can negotiate the cipher or cipher suite with this name. */
int cssl_ctx_has_cipher(SSL_CTX *ctx, const char *name);
int cssl_ctx_alpn(SSL_CTX *ctx, int server, const unsigned char *wire, unsigned len, cssl_reasons *out);

/*
 * Ties ctx to the Go side: handle is released, by cssl_go_release, when the
 * last reference to ctx goes. keylog installs a callback that calls cssl_go_keylog
 * in handshakes.
 */
void cssl_ctx_bind(SSL_CTX *ctx, uintptr_t handle, int keylog);

/* The number of sessions in the cache. */
long cssl_ctx_cached(SSL_CTX *ctx);

/* Per connection, before the handshake. These neither block nor call back, and copy name. 1, or 0 with the reasons in out. */
int cssl_ssl_server_name(SSL *ssl, const char *name, cssl_reasons *out);
/* The identity that the peer's certificate must have: a DNS name, or an IP address. common_name: the name may be in the subject, for want of others. */
int cssl_ssl_verify_name(SSL *ssl, const char *name, int is_ip, int common_name, cssl_reasons *out);

/*
 * Implemented in Go. release runs where the last reference to an SSL_CTX is dropped, and frees what the Go side has for it, which
 * may be other SSL_CTX. keylog runs inside a handshake, and blocks on the application's writer.
 */
extern void cssl_go_release(uintptr_t handle);
extern void cssl_go_keylog(uintptr_t handle, char *line);

/* What is offered where Config names no ciphers, or no groups; see defaults.c. They neither block nor call back. False when OpenSSL refuses. */
int cssl_default_ciphers(SSL_CTX *ctx);
int cssl_default_groups(SSL_CTX *ctx, int dhe);

/*
 * Why ctx can never agree on TLS 1.0 or 1.1; see legacy.c. level is its security level. Blocks on nothing
 * and calls nobody.
 */
enum { CSSL_LEGACY_OK, CSSL_LEGACY_LEVEL, CSSL_LEGACY_SUITES, CSSL_LEGACY_DIGEST };
int cssl_legacy_lacks(const SSL_CTX *ctx, int *level);

#endif
