/*
 * What TLS 1.3 has beyond a handshake and a stream: pre-shared keys, early data, certificates after the handshake; and how large
 * records are. Nothing here calls into Go or blocks.
 */
#ifndef CSSL_EXTRAS_H
#define CSSL_EXTRAS_H

#include "conn.h"

#include <openssl/ssl.h>

/* Settings of an SSL_CTX. All zero but for session_lifetime is OpenSSL's own way, but for post_handshake_auth, which there is off. */
typedef struct {
	int server;
	int post_handshake_auth;   /* a client offers it; a server asks for no certificate before cssl_request_certificate */
	int no_middlebox_compat;
	int allow_replay;          /* SSL_OP_NO_ANTI_REPLAY */
	uint32_t max_early_data;   /* bytes that a server accepts; 0 is off */
	int max_fragment;          /* TLSEXT_max_fragment_length_*: a client asks for it; 0 is none */
	unsigned max_send_fragment; /* 0 is the protocol's maximum, 16384 */
	unsigned session_lifetime; /* seconds from the full handshake on */
	unsigned record_size_limit; /* RFC 8449: the most plaintext that we take in a record; 0 is without the extension */
} cssl_extras;

/* Takes new indices of OpenSSL's; a part of cssl_init. */
int cssl_extras_init(void);
int cssl_psk_init(void);

/* 1, or 0 with the reasons in out. ctx keeps a copy of s. */
int cssl_ctx_extras(SSL_CTX *ctx, const cssl_extras *s, cssl_reasons *out);

/* A part of changing to another SSL_CTX for a server name: takes to's settings. Early data is what both allow. */
int cssl_extras_switch(SSL *ssl, SSL_CTX *from, SSL_CTX *to);
void cssl_psk_switch(SSL *ssl, SSL_CTX *to);

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
/* How many bytes in front of the identity in a session's data of the application say how long it lives, see session.c. */
enum { CSSL_LIFE = 16, CSSL_MAX_IDENTITY = 1024 };
/* False if s came of a PSK that a server with ctx does not have, or no longer. */
int cssl_psk_known(const SSL_CTX *ctx, SSL_SESSION *s);
/* The setting session_lifetime. */
unsigned cssl_ctx_lifetime(const SSL_CTX *ctx);

/*
 * The identity of the pre-shared key that this connection, or the one that it resumes, was made with. 0: none. *identity belongs
 * to the connection, until it makes another handshake or is freed.
 */
size_t cssl_ssl_psk(SSL *ssl, const unsigned char **identity);

/* What a connection has done with early data. */
typedef struct {
	unsigned begun : 1;    /* an operation on early data was tried */
	unsigned ended : 1;    /* a server has read the end of it */
	unsigned given_up : 1; /* by cssl_early_give_up */
	uint32_t written;      /* by a client */
} cssl_early;

/*
 * Early data, see SSL_read_early_data(3). read answers CSSL_END when there is no more; then cssl_handshake goes on. Both answer
 * CSSL_BAD_STATE where they make no sense. write takes a part of buf where the limit, or the room, is no larger.
 */
cssl_result cssl_read_early(cssl_conn *c, unsigned char *buf, size_t len);
cssl_result cssl_write_early(cssl_conn *c, const unsigned char *buf, size_t len);
/*
 * Of both, in conn.c: f runs as one operation before the handshake is done. It answers as SSL_get_error does, SSL_ERROR_SSL
 * where that is still to be asked, or CSSL_*. What is written meanwhile leaves with one send.
 */
cssl_result cssl_early_operation(cssl_conn *c, int (*f)(cssl_conn *c, cssl_early *e, void *arg, size_t *n), void *arg);
const cssl_early *cssl_conn_early(const cssl_conn *c);
/* Ends a server's early data while it waits for the decision on the ClientHello: what comes of it is thrown away, and cssl_handshake goes on. */
void cssl_early_give_up(cssl_conn *c);
/* True when the tail has room for n bytes, after it was offered to the socket if need be. */
int cssl_has_room(cssl_conn *c, size_t n);
/* How many bytes of early data a client may still write. */
uint32_t cssl_early_room(cssl_conn *c);
/* 1 on success. */
int cssl_ssl_export_early(SSL *ssl, void *buf, size_t len, const char *label, size_t label_len, const void *context,
                          size_t context_len, cssl_reasons *out);
/* How much early data the server of a session in DER takes; 0 is none. */
uint32_t cssl_session_early(const unsigned char *der, long len);

/* The fragment length that was agreed on (RFC 6066), in bytes; 0 is none. */
int cssl_ssl_max_fragment(SSL *ssl);

#endif
