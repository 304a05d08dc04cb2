/*
 * The C side of an SSL_CTX: what needs a macro, a callback or several calls
 * that must share one crossing with the error queue.
 */
#ifndef CSSL_CONTEXT_H
#define CSSL_CONTEXT_H

#include "conn.h"
#include "extras.h"

#include <openssl/ssl.h>

/* The settings that are numbers. */
typedef struct {
	OSSL_LIB_CTX *library;  /* NULL is the default one */
	const char *properties; /* may be NULL */
	int server;
	int min_version, max_version; /* TLS1_2_VERSION ...; 0 leaves OpenSSL's choice */
	int verify_mode;              /* SSL_VERIFY_* */
	int verify_depth;             /* -1 leaves OpenSSL's choice */
	int tickets;                  /* TLS 1.3 tickets per handshake */
	int no_tickets;
	long session_cache;           /* entries of the server's cache; 0 is off */
	int renegotiation;
	int release_buffers;
	int read_ahead;
	unsigned char session_id_context[32];
} cssl_settings;

/* The settings that are strings in OpenSSL's own syntax. */
enum { CSSL_CIPHERS, CSSL_CIPHERSUITES, CSSL_GROUPS, CSSL_SIGALGS };

/* Must be the first call into this library: OpenSSL's cleanup at exit is not to run under live threads. 1 on success. */
int cssl_init(void);

/*
 * A part of cssl_init: from here on nothing in this process asks a terminal for a PIN. The pkcs11 provider would, even within a
 * handshake when its token wants a new login, and the thread would hang.
 */
int cssl_store_init(void);
/* Parts of cssl_init and of changing to another SSL_CTX, which keeps the ticket keys of the first one; see tickets.c. */
int cssl_tickets_init(void);
int cssl_tickets_keep(SSL *ssl, SSL_CTX *from);
/* Takes the error queue along if not ok, and empties it. Answers ok. */
int cssl_done(int ok, cssl_reasons *out);

/* The library context that ctx was made with, and its property query; either may be NULL. */
OSSL_LIB_CTX *cssl_ctx_library(const SSL_CTX *ctx);
const char *cssl_ctx_properties(const SSL_CTX *ctx);

/* How many SSL_CTX this process has; those that only connections still hold count too. */
long cssl_contexts(void);

/*
 * All of these answer 1 on success, and 0 with the reasons in out. None blocks
 * (bytes come from memory) and none keeps a pointer that it was given. They may
 * be called only before the first SSL is made of ctx.
 */
SSL_CTX *cssl_ctx_new(const cssl_settings *s, cssl_reasons *out);
int cssl_ctx_string(SSL_CTX *ctx, int which, const char *value, cssl_reasons *out);
/* 1 if ctx can negotiate the cipher or cipher suite with this name. */
int cssl_ctx_has_cipher(SSL_CTX *ctx, const char *name);
int cssl_ctx_alpn(SSL_CTX *ctx, int server, const unsigned char *wire, unsigned len, cssl_reasons *out);
/*
 * The private key in PEM, the caller's to free, or NULL. pass_len of -1 is no passphrase. asked says how long a passphrase may
 * be, or 0 if the key that was read, or not read, needs none.
 */
EVP_PKEY *cssl_ctx_read_key(SSL_CTX *ctx, const void *pem, int len, const void *pass, int pass_len, int *asked, cssl_reasons *out);
/* Trusted CAs from PEM; for a server also the names that it asks client certificates of. Answers how many, or -1. */
int cssl_ctx_trust(SSL_CTX *ctx, const void *pem, int len, int server, cssl_reasons *out);
int cssl_ctx_trust_system(SSL_CTX *ctx, cssl_reasons *out);
/* Revocation lists from PEM, and checking of the leaf against them. Answers how many, or -1. */
int cssl_ctx_crl(SSL_CTX *ctx, const void *pem, int len, cssl_reasons *out);

/* A ticket key's length: name, AES key and HMAC key of 16 bytes each; or name, HMAC key and AES key of 16, 32 and 32. */
enum { CSSL_TICKET_KEY_SHORT = 48, CSSL_TICKET_KEY_LONG = 80 };
/* Ticket keys, count of them of len bytes each. The first one encrypts. ctx keeps a copy, which is wiped when it is freed. */
int cssl_ctx_ticket_keys(SSL_CTX *ctx, const unsigned char *keys, size_t len, size_t count, cssl_reasons *out);

/*
 * Ties ctx to the Go side: handle is released, by cssl_go_release, when the
 * last reference to ctx goes. keylog installs the callback that cssl_go_keylog answers.
 */
int cssl_ctx_bind(SSL_CTX *ctx, uintptr_t handle, int keylog);

/* Makes the sessions of a server end when they must, see session.c. */
int cssl_ctx_sessions(SSL_CTX *ctx);

/* The groups that were set by name, or NULL. */
const char *cssl_ctx_groups(const SSL_CTX *ctx);

/* The number of sessions in the cache. */
long cssl_ctx_cached(SSL_CTX *ctx);

/* Per connection, before the handshake. */
int cssl_ssl_server_name(SSL *ssl, const char *name, cssl_reasons *out);
/* The identity that the peer's certificate must have: a DNS name, or an IP address. common_name: the name may be in the subject, for want of others. */
int cssl_ssl_verify_name(SSL *ssl, const char *name, int is_ip, int common_name, cssl_reasons *out);
/*
 * Offers a session. One that is not with this name (NULL: any), not of a Context with
 * this session_id_context (32 bytes), or at its end, is left out: 1, and the handshake will be a full one.
 */
int cssl_ssl_set_session(SSL *ssl, const unsigned char *der, long len, const unsigned char *session_id_context,
                         const char *name, int is_ip, int check_name, cssl_reasons *out);

/* Facts. The bytes that come back through out are malloc'ed, the caller's to free. */
/* The peer's chain as DER certificates, each behind its length as 4 bytes, most significant first. Leaf first. */
long cssl_ssl_peer_chain(SSL *ssl, unsigned char **out);
/* leaf, which may be NULL, and the certificates of chain from first on, in that form. */
long cssl_put_chain(const X509 *leaf, const STACK_OF(X509) *chain, int first, unsigned char **out);
/* The same for the chain that was found valid; nothing where none was. */
long cssl_ssl_verified_chain(SSL *ssl, unsigned char **out);
const char *cssl_ssl_group(SSL *ssl);
int cssl_ssl_export(SSL *ssl, void *buf, size_t len, const char *label, size_t label_len, const void *context,
                    size_t context_len, int use_context, cssl_reasons *out);

/* Implemented in Go. */
extern void cssl_go_release(uintptr_t handle);
extern void cssl_go_keylog(uintptr_t handle, char *line);

/* What is offered where Config names no ciphers, or no groups; see defaults.c. False when OpenSSL refuses. */
int cssl_default_ciphers(SSL_CTX *ctx);
int cssl_default_groups(SSL_CTX *ctx, int dhe);

/*
 * Why ctx can never agree on TLS 1.0 or 1.1; see legacy.c. level is its security level. Blocks on nothing
 * and calls nobody.
 */
enum { CSSL_LEGACY_OK, CSSL_LEGACY_LEVEL, CSSL_LEGACY_SUITES, CSSL_LEGACY_DIGEST };
int cssl_legacy_lacks(const SSL_CTX *ctx, int *level);

#endif
