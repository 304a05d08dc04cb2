/*
 * The C side of an SSL_CTX: what needs a macro, a callback or several calls
 * that must share one crossing with the error queue.
 */
#ifndef CSSL_CONTEXT_H
#define CSSL_CONTEXT_H

#include "conn.h"
#include "earlydata.h"
#include "beside.h"
#include "session.h"

#include <openssl/ssl.h>

/*
 * Must be the first call into this library: OpenSSL's cleanup at exit is not to
 * run under live threads. It blocks on OpenSSL's configuration file and the
 * modules that this names. No callback fires. 1 on success.
 */
int cssl_init(void);

/*
 * How many SSL_CTX this process has; those that only connections still hold
 * count too.
 */
long cssl_contexts(void);

/*
 * Before the first SSL is made of it, an SSL_CTX gets its settings: from Go, by
 * OpenSSL's own functions where those cannot fail and by what is kept beside it
 * (exdata.h); by what follows, and by the other headers, where there are
 * reasons to take along or callbacks in C. None of it blocks, calls Go or keeps
 * a pointer that it was given, except library.
 */
/*
 * Makes an SSL_CTX, the caller's to free with SSL_CTX_free; NULL with the
 * reasons in out. What is beside it goes with the last reference, see free_data
 * in context.c. library may be NULL, the default one, and properties too.
 */
SSL_CTX *cssl_ctx_new(OSSL_LIB_CTX *library, const char *properties, int server, cssl_reasons *out);
/*
 * A setting in OpenSSL's own syntax, by its name in SSL_CONF_cmd(3). 1, or 0
 * with the reasons in out.
 */
int cssl_ctx_command(SSL_CTX *ctx, const char *name, const char *value, cssl_reasons *out);
/* Lets handshakes call cssl_go_keylog. */
void cssl_ctx_keylog(SSL_CTX *ctx);

/*
 * Per connection, before the handshake. These neither block nor call back, and
 * copy name. 1, or 0 with the reasons in out.
 */
int cssl_ssl_server_name(SSL *ssl, const char *name, cssl_reasons *out);
/*
 * The identity that the peer's certificate must have: a DNS name, or an IP
 * address. common_name: the name may be in the subject, for want of others.
 */
int cssl_ssl_verify_name(SSL *ssl, const char *name, int is_ip, int common_name, cssl_reasons *out);

/*
 * Implemented in Go. release runs where the last reference to an SSL_CTX is
 * dropped, and frees what the Go side has for it, which may be other SSL_CTX.
 * keylog runs inside a handshake, and blocks on the application's writer.
 */
extern void cssl_go_release(uintptr_t handle);
extern void cssl_go_keylog(uintptr_t handle, char *line);

#endif
