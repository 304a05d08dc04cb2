/*
 * Settings that live in the data of an SSL_CTX or SSL (exdata.h): pre-shared
 * keys, ticket keys, record sizes, early data. Nothing here blocks or calls Go.
 *
 * A function that returns int returns 1 on success and 0 on failure, unless its
 * comment says otherwise; if it has an out parameter, that gets the reasons.
 * Arguments are copied, and copies of keys are wiped when they are freed. The
 * functions named _free accept NULL. Those named _switch are parts of the
 * change to another SSL_CTX; see change in decide.c.
 */
#ifndef CSSL_BESIDE_H
#define CSSL_BESIDE_H

#include "certs.h"
#include "errors.h"
#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>

/*
 * The application data of a session begins with CSSL_LIFE bytes on how long it
 * may be used (see session.c). The identity of the external PSK that the
 * session derives from follows, if there is one.
 */
enum { CSSL_LIFE = 16, CSSL_MAX_IDENTITY = 1024 };

/*
 * Adds a TLS 1.3 pre-shared key. A client has only one. A server's are added in
 * order of identity: by length, then by memcmp. cipher names the hash that the
 * key is used with.
 */
int cssl_ctx_psk(SSL_CTX *ctx, const unsigned char *identity, size_t len, const unsigned char *key, size_t key_len,
                 const SSL_CIPHER *cipher, const unsigned char *session_id_context, cssl_reasons *out);
void cssl_psks_free(cssl_psk_table *t);
/* Replaces the pre-shared keys of ssl with those of to. */
void cssl_psk_switch(SSL *ssl, SSL_CTX *to);
/* Returns 0 if s derives from a PSK that ctx does not have, else 1. */
int cssl_psk_known(const SSL_CTX *ctx, SSL_SESSION *s);
/*
 * Returns the length of the identity of the external PSK that this connection,
 * or the one it resumes, was made with; 0 if there is none. *identity belongs
 * to ssl and is valid until the next handshake.
 */
size_t cssl_ssl_psk(SSL *ssl, const unsigned char **identity);

/*
 * Sizes of a ticket key. Short: name, AES key and HMAC key of 16 bytes each.
 * Long: name, HMAC key and AES key of 16, 32 and 32 bytes.
 */
enum { CSSL_TICKET_KEY_SHORT = 48, CSSL_TICKET_KEY_LONG = 80 };
/* Sets count ticket keys of len bytes each. The first one encrypts. */
int cssl_ctx_ticket_keys(SSL_CTX *ctx, const unsigned char *keys, size_t len, size_t count, cssl_reasons *out);
void cssl_ticket_keys_free(cssl_ticket_keys *k);
/* Makes ssl keep the ticket keys of from, the SSL_CTX it began with. */
void cssl_tickets_switch(SSL *ssl, SSL_CTX *from);

/*
 * Enables the record_size_limit extension (RFC 8449), with the limit in the
 * data of ctx. A server's SSL_CTX without a limit needs it too: OpenSSL
 * allocates the list of a ClientHello's extensions for the SSL_CTX that began,
 * and reads as many entries as the one that was selected has.
 */
int cssl_ctx_record_size_limit(SSL_CTX *ctx, cssl_reasons *out);
/* Limits the records that ssl sends to the smaller setting of the two. */
int cssl_recordsize_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to);
/* Returns the negotiated maximum fragment length (RFC 6066) in bytes, or 0. */
int cssl_ssl_max_fragment(SSL *ssl);

/*
 * Makes a server accept early data only with a ticket, and only as much as the
 * setting and the ticket allow; after a switch, as much as both SSL_CTX allow.
 */
void cssl_early_bound(SSL_CTX *ctx);
int cssl_early_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to);

/*
 * Turns on raw public keys (RFC 7250), which need OpenSSL 3.2: own to send this
 * side's instead of its certificate, peer to accept the peer's, and certificates
 * to accept these too. Once for each SSL_CTX.
 */
int cssl_ctx_raw_keys(SSL_CTX *ctx, int server, int own, int peer, int certificates, cssl_reasons *out);
/*
 * Trusts the public keys in PEM, after cssl_ctx_raw_keys. Returns their number,
 * or -1.
 */
int cssl_ctx_peer_keys(SSL_CTX *ctx, const void *pem, int len, cssl_reasons *out);
void cssl_raw_keys_free(cssl_raw_keys *k);
int cssl_raw_keys_switch(SSL *ssl, const SSL_CTX *from, const SSL_CTX *to);
/*
 * Verifies the peer's certificate as OpenSSL does, or its raw public key by the
 * list of the SSL_CTX: a callback for SSL_CTX_set_cert_verify_callback(3).
 */
int cssl_raw_keys_verify(X509_STORE_CTX *x, void *arg);
/* Return the raw public key of the peer, which belongs to x or s; NULL if it has none. */
EVP_PKEY *cssl_raw_key_of(X509_STORE_CTX *x);
EVP_PKEY *cssl_raw_key_of_session(SSL_SESSION *s);

/*
 * Makes a client request an OCSP response (RFC 6066, section 8) and timestamps
 * (RFC 6962, section 3.3.1).
 */
int cssl_ctx_staples(SSL_CTX *ctx, cssl_reasons *out);
/*
 * Makes a server send the OCSP responses of c: all of them in TLS 1.3, and the
 * first one before. Returns 0 if there is no memory; a client that requires a
 * response then refuses.
 */
int cssl_ssl_staple(SSL *ssl, const cssl_cert *c);
/*
 * Encodes the OCSP responses that a client was sent about the intermediates,
 * like cssl_put_chain. One that is missing has the length 0.
 */
long cssl_put_staples(SSL *ssl, unsigned char **out);

#endif
