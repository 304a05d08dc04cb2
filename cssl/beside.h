/*
 * What works with the data beside an SSL_CTX (exdata.h): pre-shared keys,
 * ticket keys, the sizes of records, early data. Nothing here blocks or calls
 * Go.
 *
 * An int that is returned is 1, or 0 on failure, with the reasons in out where
 * there is one. What is given is copied, and copies of keys are wiped when they
 * are freed. _free takes NULL too. _switch is a part of changing to another
 * SSL_CTX, see change in decide.c.
 */
#ifndef CSSL_BESIDE_H
#define CSSL_BESIDE_H

#include "errors.h"
#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>

/*
 * A session's data of the application: how long it lives, see session.c, and
 * then the identity of the PSK that it came of.
 */
enum { CSSL_LIFE = 16, CSSL_MAX_IDENTITY = 1024 };

/*
 * Adds a pre-shared key of TLS 1.3: for a client the only one, for a server in
 * the order of their identities, a shorter one first. cipher has the hash that
 * the key goes with.
 */
int cssl_ctx_psk(SSL_CTX *ctx, const unsigned char *identity, size_t len, const unsigned char *key, size_t key_len,
                 const SSL_CIPHER *cipher, const unsigned char *session_id_context, cssl_reasons *out);
void cssl_psks_free(cssl_psk_table *t);
/* The keys of to take the place of those of the first SSL_CTX. */
void cssl_psk_switch(SSL *ssl, SSL_CTX *to);
/* False if s came of a PSK that a server with ctx does not have. */
int cssl_psk_known(const SSL_CTX *ctx, SSL_SESSION *s);
/*
 * The identity of the pre-shared key that this connection, or the one that it
 * resumes, was made with; 0 is none. It belongs to the connection, until that
 * makes another handshake or is freed.
 */
size_t cssl_ssl_psk(SSL *ssl, const unsigned char **identity);

/*
 * A ticket key: name, AES key and HMAC key of 16 bytes each; or name, HMAC key
 * and AES key of 16, 32 and 32.
 */
enum { CSSL_TICKET_KEY_SHORT = 48, CSSL_TICKET_KEY_LONG = 80 };
/* Ticket keys, count of them of len bytes each. The first one encrypts. */
int cssl_ctx_ticket_keys(SSL_CTX *ctx, const unsigned char *keys, size_t len, size_t count, cssl_reasons *out);
void cssl_ticket_keys_free(cssl_ticket_keys *k);
/* ssl keeps the keys of the SSL_CTX that it began with. */
void cssl_tickets_switch(SSL *ssl, SSL_CTX *from);

/* Sends and takes RFC 8449's extension, with the limit that is beside ctx. */
int cssl_ctx_record_size_limit(SSL_CTX *ctx, cssl_reasons *out);
/* ssl keeps the smaller setting of the two. */
int cssl_recordsize_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to);
/* The fragment length that was agreed on (RFC 6066), in bytes; 0 is none. */
int cssl_ssl_max_fragment(SSL *ssl);

/*
 * A server takes early data with a ticket alone, as much as the setting and the
 * ticket allow; after a switch, what both SSL_CTX allow.
 */
void cssl_early_bound(SSL_CTX *ctx);
int cssl_early_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to);

#endif
