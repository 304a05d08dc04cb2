/*
 * External pre-shared keys of TLS 1.3. Nothing here calls into Go or blocks.
 */
#ifndef CSSL_PSK_H
#define CSSL_PSK_H

#include "errors.h"
#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>

/* One pre-shared key. */
typedef struct {
	const unsigned char *identity, *key;
	size_t identity_len, key_len;
	int sha384; /* the hash that it goes with; else SHA-256 */
} cssl_psk;

/*
 * Gives ctx pre-shared keys, of which a client has one. identity and key are copied; the copy of the key is wiped when it is freed.
 * Where order is set, cipher suites of the first key's hash come first, and with alone too no others are left. 1; 0 with the
 * reasons in out; or -1 if no cipher suite that is enabled has the hash of keys[*bad].
 */
int cssl_ctx_psks(SSL_CTX *ctx, int server, const cssl_psk *keys, size_t count, int order, int alone,
                  const unsigned char *session_id_context, size_t *bad, cssl_reasons *out);
/* For what is kept beside an SSL_CTX. t may be NULL. */
void cssl_psks_free(cssl_psk_table *t);

/* A part of changing to another SSL_CTX: its keys take the place of those of the first one. */
void cssl_psk_switch(SSL *ssl, SSL_CTX *to);

/* How many bytes in front of the identity in a session's data of the application say how long it lives, see session.c. */
enum { CSSL_LIFE = 16, CSSL_MAX_IDENTITY = 1024 };
/* False if s came of a PSK that a server with ctx does not have, or no longer. */
int cssl_psk_known(const SSL_CTX *ctx, SSL_SESSION *s);

/*
 * The identity of the pre-shared key that this connection, or the one that it resumes, was made with. 0: none. *identity belongs
 * to the connection, until it makes another handshake or is freed.
 */
size_t cssl_ssl_psk(SSL *ssl, const unsigned char **identity);

#endif
