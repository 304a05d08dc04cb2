/*
 * The lifetime of sessions, and their export and import. Nothing here calls Go,
 * or blocks, with one exception: if both SystemCAs and CRLs are set, it reads
 * revocation lists from the system's CA directory.
 */
#ifndef CSSL_SESSION_H
#define CSSL_SESSION_H

#include "conn.h"

#include <openssl/ssl.h>

/*
 * Makes a server's sessions end after session_lifetime (exdata.h), or earlier,
 * when a certificate of the peer's chain expires. Installs callbacks in C,
 * which run inside a handshake.
 */
void cssl_sessions_bound(SSL_CTX *ctx);

/*
 * Offers a session to the server. If the session is not for this name (NULL:
 * any), was not made by a Context with this session_id_context (32 bytes), or
 * has ended, it is skipped and the handshake will be a full one; that is no
 * failure. der and name are not kept. Returns 1, or 0 with the reasons in out.
 */
int cssl_ssl_set_session(SSL *ssl, const unsigned char *der, long len, const unsigned char *session_id_context,
                         const char *name, int is_ip, int check_name, cssl_reasons *out);

/*
 * Encodes a client's session in DER. Returns its length; *out is malloc'ed and
 * the caller frees it. Returns 0 while there is no session that can be resumed.
 */
long cssl_conn_session(const cssl_conn *c, unsigned char **out);

#endif
