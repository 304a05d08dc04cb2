/*
 * The C side of an SSL_CTX: what needs a macro, a callback, or several calls in
 * one cgo call with the error queue.
 */
#ifndef CSSL_CONTEXT_H
#define CSSL_CONTEXT_H

#include "conn.h"
#include "earlydata.h"
#include "beside.h"
#include "session.h"

#include <openssl/ssl.h>

/*
 * Must be the first call into this library, so that OpenSSL's cleanup at exit
 * does not run while threads use it. Reads OpenSSL's configuration file and
 * loads the modules it names, which may block. Calls no callback. Returns 1 on
 * success.
 */
int cssl_init(void);

/*
 * Returns how many SSL_CTX this process has, including those that only
 * connections still hold.
 */
long cssl_contexts(void);

/*
 * An SSL_CTX gets its settings before the first SSL is made from it. Go sets
 * what cannot fail, by OpenSSL's own functions and in the data of the SSL_CTX
 * (exdata.h). The functions below and in the other headers set what can fail or
 * needs callbacks in C. None of them blocks, calls Go or keeps a pointer
 * argument, except library.
 */

/*
 * Makes an SSL_CTX, which the caller frees with SSL_CTX_free. Its data is freed
 * with the last reference, see free_data in context.c. A NULL library is the
 * default one; properties may be NULL. Returns NULL on failure, with the
 * reasons in out.
 */
SSL_CTX *cssl_ctx_new(OSSL_LIB_CTX *library, const char *properties, int server, cssl_reasons *out);
/* Applies a command of SSL_CONF_cmd(3). Returns 1, or 0 with the reasons. */
int cssl_ctx_command(SSL_CTX *ctx, const char *name, const char *value, cssl_reasons *out);
/* Makes handshakes call cssl_go_keylog. */
void cssl_ctx_keylog(SSL_CTX *ctx);
/*
 * Makes connections switch to direct records (direct.h). update_after is the
 * number of records after which a key is updated, or 0 for the default. If
 * kernel is set, they hand the keys to the kernel, except that it refuses those
 * of the directions (CSSL_KERNEL_*) in kernel_refuses. The first such call may
 * wait as cssl_ktls_probe does. Returns 0 if out of memory.
 */
int cssl_ctx_direct(SSL_CTX *ctx, uint32_t update_after, int kernel, int kernel_refuses);

/*
 * For a connection before its handshake. These do not block or call back, and
 * they copy name. They return 1, or 0 with the reasons in out.
 */
int cssl_ssl_server_name(SSL *ssl, const char *name, cssl_reasons *out);
/*
 * Requires the peer's certificate to be for name, a DNS name or an IP address.
 * If common_name is set, the subject's common name counts when the certificate
 * has no DNS names.
 */
int cssl_ssl_verify_name(SSL *ssl, const char *name, int is_ip, int common_name, cssl_reasons *out);

/*
 * Implemented in Go. cssl_go_release runs when the last reference to an SSL_CTX
 * is dropped. It frees what Go holds for it, which may include other SSL_CTX.
 * cssl_go_keylog runs inside a handshake, and blocks on the application's
 * writer.
 */
extern void cssl_go_release(uintptr_t handle);
extern void cssl_go_keylog(uintptr_t handle, char *line);

#endif
