/*
 * The data that cssl attaches to an SSL_CTX and to an SSL: one struct for each,
 * at one ex_data index each. Nothing here blocks or calls back.
 *
 * With nine or more indices on SSL_CTX, SSL_CTX_free allocates memory to list
 * them; if that fails, it calls none of their free functions. So new data goes
 * into these structs and not to an index of its own.
 */
#ifndef CSSL_EXDATA_H
#define CSSL_EXDATA_H

#include "record.h"

#include <openssl/ssl.h>
#include <stdint.h>

/* Numbers of algorithms that compress certificates (IANA, RFC 8879) are below this: zlib, brotli, zstd. */
enum { CSSL_COMPRESSIONS = 4 };

typedef struct cssl_decisions cssl_decisions;
typedef struct cssl_direct cssl_direct;
typedef struct cssl_name_table cssl_name_table;
typedef struct cssl_psk_table cssl_psk_table;
typedef struct cssl_raw_keys cssl_raw_keys;
typedef struct cssl_server_name cssl_server_name;
typedef struct cssl_ticket_keys cssl_ticket_keys;

/*
 * The data of an SSL_CTX. cssl_ctx_new makes it, and it does not change once
 * there is an SSL. context.c frees it and what it points to, except library,
 * with the last reference to the SSL_CTX.
 */
typedef struct {
	OSSL_LIB_CTX *library; /* given to cssl_ctx_new: OpenSSL does not return it; NULL: default */
	char *properties;      /* the same; may be NULL */
	char *groups;          /* set by name, or NULL; OpenSSL does not return them either */
	unsigned char *alpn;   /* a server's protocols in wire format, or NULL */
	unsigned alpn_len;
	unsigned session_lifetime; /* in seconds, from the full handshake on */
	unsigned max_send_fragment, record_size_limit; /* see recordsize.c */
	int compress[CSSL_COMPRESSIONS]; /* how certificates may be compressed, best first; see certs.h */
	size_t compress_count;
	uintptr_t handle;      /* for cssl_go_release, or 0 */
	cssl_name_table *names;        /* or NULL, like the next three */
	cssl_psk_table *psks;
	cssl_raw_keys *raw_keys;
	cssl_ticket_keys *ticket_keys;
	cssl_algorithms *algorithms; /* for direct records, or NULL if there are none */
	uint32_t update_after;       /* for tests: see direct_switch.c; or 0 */
	uint8_t kernel;              /* direct records go to the kernel if it takes them */
	uint8_t kernel_refuses;      /* for tests: CSSL_KERNEL_*, see ktls.c */
	int keylog;                  /* handshakes call cssl_go_keylog */
} cssl_ctx_data;

/* The data of an SSL. It is a part of the cssl_conn and is freed with it. */
typedef struct {
	cssl_decisions *decisions;     /* owned by the connection, or NULL */
	const cssl_server_name *name;  /* what cssl_names_choose found; NULL before */
	cssl_ticket_keys *ticket_keys; /* of the first SSL_CTX after a change; NULL before */
	unsigned peer_limit, own_limit; /* of the records sent, see recordsize.c; 0 is none */
	cssl_direct *direct; /* owned by the connection, or NULL */
	unsigned char *timestamps; /* malloc'ed: the list (RFC 6962, section 3.3) that a client was sent, or NULL */
	size_t timestamps_len;
	char *refused; /* malloc'ed: what rawkey.c has refused in the peer, or NULL */
} cssl_ssl_data;

/*
 * A part of cssl_init. SSL_CTX_free calls free_ctx with the data of each
 * SSL_CTX whose last reference is dropped. Returns 1 on success.
 */
int cssl_exdata_init(CRYPTO_EX_free *free_ctx);

/*
 * The set functions return 0 if out of memory; the caller then still owns d. An
 * SSL_CTX from cssl_ctx_new and an SSL from cssl_conn_new always have data.
 */
int cssl_data_set_ctx(SSL_CTX *ctx, cssl_ctx_data *d);
cssl_ctx_data *cssl_data_of_ctx(const SSL_CTX *ctx);
int cssl_data_set_ssl(SSL *ssl, cssl_ssl_data *d);
cssl_ssl_data *cssl_data_of_ssl(const SSL *ssl);

#endif
