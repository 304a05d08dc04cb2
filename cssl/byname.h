/*
 * Chooses a certificate by the server name (SNI) that a client sends. Nothing
 * here blocks or calls Go. The callbacks that cssl_ctx_names installs run
 * inside a server's handshake.
 */
#ifndef CSSL_BYNAME_H
#define CSSL_BYNAME_H

#include "certs.h"
#include "exdata.h"

#include <openssl/ssl.h>

/* Frees the table of an SSL_CTX, but not the certificates. t may be NULL. */
void cssl_names_free(cssl_name_table *t);

/*
 * Makes room for count names in ctx. own holds the own_count certificates of
 * ctx itself; they are only used to find OCSP responses. All certificates must
 * outlive ctx. Returns 0 if out of memory.
 */
int cssl_ctx_names(SSL_CTX *ctx, size_t count, cssl_cert *const *own, size_t own_count);
/*
 * Adds a name in lower case, either exact or "*." followed by a domain. Names
 * must be added in the order of memcmp, with a prefix before the longer name. A
 * client that sends this name gets one of the first certs, or one of all if it
 * supports none of those; its sessions get session_id_context (32 bytes).
 * Returns 0 if out of memory.
 */
int cssl_ctx_name(SSL_CTX *ctx, const char *name, size_t len, cssl_cert *const *certs, size_t count,
                  size_t first, const unsigned char *session_id_context);
/*
 * If ctx has names, chooses one for the ClientHello being processed, before
 * OpenSSL looks up the session. The first choice of a connection stays.
 * keep_sessions leaves the session id context of ssl alone. Returns 0 on
 * failure.
 */
int cssl_names_choose(SSL *ssl, int keep_sessions);
/* Returns 1 if the client's name was found in the table. */
int cssl_names_chosen(const SSL *ssl);

#endif
