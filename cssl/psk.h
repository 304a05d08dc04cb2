/*
 * External pre-shared keys of TLS 1.3. Nothing here calls into Go or blocks.
 */
#ifndef CSSL_PSK_H
#define CSSL_PSK_H

#include "errors.h"
#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>

/*
 * How many bytes in front of the identity in a session's data of the
 * application say how long it lives, see session.c.
 */
enum { CSSL_LIFE = 16, CSSL_MAX_IDENTITY = 1024 };

/*
 * Adds a pre-shared key to ctx: for a client the only one, for a server in the
 * order of their identities, a shorter one first. cipher is one of TLS 1.3 with
 * the hash that the key goes with. identity and key are copied; the copy of the
 * key is wiped when it is freed. 1, or 0 with the reasons in out.
 */
int cssl_ctx_psk(SSL_CTX *ctx, const unsigned char *identity, size_t len, const unsigned char *key, size_t key_len,
                 const SSL_CIPHER *cipher, const unsigned char *session_id_context, cssl_reasons *out);
/* For what is kept beside an SSL_CTX. t may be NULL. */
void cssl_psks_free(cssl_psk_table *t);

/*
 * A part of changing to another SSL_CTX: its keys take the place of those of
 * the first one.
 */
void cssl_psk_switch(SSL *ssl, SSL_CTX *to);

/*
 * False if s came of a PSK that a server with ctx does not have, or no longer.
 */
int cssl_psk_known(const SSL_CTX *ctx, SSL_SESSION *s);

/*
 * The identity of the pre-shared key that this connection, or the one that it
 * resumes, was made with. 0: none. *identity belongs to the connection, until
 * it makes another handshake or is freed.
 */
size_t cssl_ssl_psk(SSL *ssl, const unsigned char **identity);

#endif
