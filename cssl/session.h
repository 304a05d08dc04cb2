/*
 * How long sessions live, and what of them goes in and out. Nothing here calls
 * Go, and it blocks on nothing but revocation lists in the system's folder, if
 * both SystemCAs and CRLs are set.
 */
#ifndef CSSL_SESSION_H
#define CSSL_SESSION_H

#include "conn.h"

#include <openssl/ssl.h>

/*
 * Makes the sessions of a server end when their session_lifetime (exdata.h)
 * does, or before, by callbacks in C inside a handshake.
 */
void cssl_sessions_bound(SSL_CTX *ctx);

/*
 * Offers a session. One that is not with this name (NULL: any), not of a
 * Context with this session_id_context (32 bytes), or at its end, is left out:
 * 1, and the handshake will be a full one. der and name are not kept. 0 with
 * the reasons in out.
 */
int cssl_ssl_set_session(SSL *ssl, const unsigned char *der, long len, const unsigned char *session_id_context,
                         const char *name, int is_ip, int check_name, cssl_reasons *out);

/*
 * A client's session in DER, malloc'ed, the caller's to free; 0 while there is
 * none that can be resumed.
 */
long cssl_conn_session(const cssl_conn *c, unsigned char **out);

#endif
