/*
 * The choice of a certificate by the server name that a client asks for. Nothing here blocks or calls Go. The callbacks that
 * cssl_ctx_names installs run inside a server's handshake.
 */
#ifndef CSSL_BYNAME_H
#define CSSL_BYNAME_H

#include "certs.h"
#include "exdata.h"

#include <openssl/ssl.h>

/* For what is kept beside an SSL_CTX. The certificates stay. t may be NULL. */
void cssl_names_free(cssl_name_table *t);

/*
 * Makes room for count names in ctx. own, of own_count, are the certificates of ctx itself; no more is done with them than to
 * staple. All certificates must outlive ctx. 0 without memory.
 */
int cssl_ctx_names(SSL_CTX *ctx, size_t count, cssl_cert *const *own, size_t own_count);
/*
 * Adds a name, in lower case, exact or "*." and a domain; in the order of memcmp, a shorter one before one that begins with it. Who
 * asks for it gets one of the first certs, or one of all if it can do with none of those, and sessions with session_id_context
 * (32 bytes). 0 without memory.
 */
int cssl_ctx_name(SSL_CTX *ctx, const char *name, size_t len, cssl_cert *const *certs, size_t count,
                  size_t first, const unsigned char *session_id_context);
/*
 * Makes the choice for a ClientHello that is under way, before the session is looked up, if ctx has names; what was chosen
 * first stays. keep_sessions leaves ssl's session id context alone. 0 if it fails.
 */
int cssl_names_choose(SSL *ssl, int keep_sessions);
/* True if a name was chosen by. */
int cssl_names_chosen(const SSL *ssl);

#endif
