/*
 * What cssl keeps beside an SSL_CTX and beside an SSL: one struct for each, at
 * one index of OpenSSL's each.
 *
 * From nine indices of SSL_CTX on, SSL_CTX_free allocates memory for the list
 * of them, and calls no function that frees if there is none. So what is new
 * goes into a struct, and not to an index of its own.
 *
 * Nothing here blocks or calls back.
 */
#ifndef CSSL_EXDATA_H
#define CSSL_EXDATA_H

#include <openssl/ssl.h>
#include <stdint.h>

typedef struct cssl_decisions cssl_decisions;
typedef struct cssl_name_table cssl_name_table;
typedef struct cssl_psk_table cssl_psk_table;
typedef struct cssl_server_name cssl_server_name;
typedef struct cssl_ticket_keys cssl_ticket_keys;

/*
 * Beside an SSL_CTX. cssl_ctx_new makes it; it does not change once there is an
 * SSL. context.c frees it with all that it points to, except library, when the
 * last reference to the SSL_CTX goes.
 */
typedef struct {
	OSSL_LIB_CTX *library; /* what the SSL_CTX was made with, which OpenSSL does not tell again. NULL is the default one */
	char *properties;      /* the same; may be NULL */
	char *groups;          /* that were set by name, or NULL: OpenSSL does not tell them again either */
	unsigned char *alpn;   /* a server's list in wire form, or NULL */
	unsigned alpn_len;
	unsigned session_lifetime; /* seconds from the full handshake on */
	unsigned max_send_fragment, record_size_limit; /* see recordsize.c */
	uintptr_t handle;      /* for cssl_go_release, or 0 */
	cssl_name_table *names;        /* or NULL, as what follows */
	cssl_psk_table *psks;
	cssl_ticket_keys *ticket_keys;
} cssl_ctx_data;

/*
 * Beside an SSL. It is a part of its cssl_conn, which cssl_conn_free frees with
 * it.
 */
typedef struct {
	cssl_decisions *decisions;     /* the connection's, or NULL */
	const cssl_server_name *name;  /* what cssl_names_choose has found; NULL before */
	cssl_ticket_keys *ticket_keys; /* of the SSL_CTX that it began with, after a change to another; NULL before */
	unsigned peer_limit, own_limit; /* of what is sent in a record, see recordsize.c; 0 is none */
} cssl_ssl_data;

/*
 * A part of cssl_init. SSL_CTX_free calls free_ctx with the data of each
 * SSL_CTX whose last reference goes. 1 on success.
 */
int cssl_exdata_init(CRYPTO_EX_free *free_ctx);

/*
 * set returns 0 without memory, and then d is still the caller's. What
 * cssl_ctx_new and cssl_conn_new have returned has data.
 */
int cssl_data_set_ctx(SSL_CTX *ctx, cssl_ctx_data *d);
cssl_ctx_data *cssl_data_of_ctx(const SSL_CTX *ctx);
int cssl_data_set_ssl(SSL *ssl, cssl_ssl_data *d);
cssl_ssl_data *cssl_data_of_ssl(const SSL *ssl);

#endif
