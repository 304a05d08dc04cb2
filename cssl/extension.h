/*
 * Extensions of handshake messages that Go code writes and reads.
 */
#ifndef CSSL_EXTENSION_H
#define CSSL_EXTENSION_H

#include "errors.h"
#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

/* Where an extension may be: the numbers of Messages in Go. */
enum { CSSL_CLIENT_HELLO = 1, CSSL_SERVER_HELLO = 2, CSSL_CERTIFICATE_REQUEST = 4, CSSL_IN_CERTIFICATE = 8 };

/*
 * Adds an extension to ctx. If add, handshakes call cssl_go_extension_add; if
 * parse, cssl_go_extension_parse. Its connections need decisions with a handle.
 * Does not block or call back. Returns 1, or 0 with the reasons in out.
 */
int cssl_ctx_extension(SSL_CTX *ctx, unsigned type, int messages, int add, int parse, cssl_reasons *out);

/*
 * Implemented in Go. They run inside a handshake and block as long as the
 * application does. handle is that of the connection's decisions, message one
 * of the numbers above, chain the place of a certificate in its chain. Add
 * returns 1 with a copy in *out, made by malloc, 0 to send no extension, and -1
 * on failure; parse returns 1, or 0 on failure. On failure both set *alert.
 */
extern int cssl_go_extension_add(uintptr_t handle, unsigned type, int message, size_t chain, unsigned char **out, size_t *len,
                                 int *alert);
extern int cssl_go_extension_parse(uintptr_t handle, unsigned type, int message, size_t chain, unsigned char *in, size_t len,
                                   int *alert);

#endif
