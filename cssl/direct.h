/*
 * Direct records: after the handshake the SSL is freed, and this connection's
 * records are sealed and opened here, on EVP. docs/design/records.md says what
 * is ours and what is OpenSSL's. direct_switch.c makes the state and the switch,
 * and has what the SSL knew; direct.c has the operations. The functions block
 * only in recv and send on a blocking socket. cssl_direct_switch and
 * cssl_direct_free call cssl_go_release if they drop the last reference to an
 * SSL_CTX; nothing else calls back.
 */
#ifndef CSSL_DIRECT_H
#define CSSL_DIRECT_H

#include "conn.h"
#include "exdata.h"
#include "record.h"
#include "transport.h"

/* The directions that the kernel can have. */
enum { CSSL_KERNEL_READ = 1, CSSL_KERNEL_WRITE = 2 };

/*
 * What cssl_conn_state returns after the switch. bytes has, one after the
 * other, what the lengths are of. The names of cipher and group belong to the
 * library and to the SSL_CTX.
 */
typedef struct {
	const char *cipher, *group;
	unsigned char *bytes;
	uint32_t peer, verified; /* lengths */
	uint16_t psk, server_name; /* the same; a server name ends with a 0 */
	uint8_t alpn;            /* the same */
	uint8_t early, resumed, raw;
	uint8_t unique;          /* a length: of tls-unique */
	uint8_t outer_name;      /* a length, without a 0 */
	uint8_t ech;
	int32_t verify;
} cssl_facts;

/*
 * The state of direct records. It is made with the connection, if its SSL_CTX
 * asks for direct records. Until the switch it collects what the switch needs.
 */
struct cssl_direct {
	cssl_records records;
	SSL_CTX *ctx;    /* a reference from the switch on; NULL before */
	SSL_SESSION *session; /* the same, if the server has a cache */
	cssl_facts facts; /* from the switch on */
	union {
		unsigned char exporter[CSSL_MAX_SECRET];    /* TLS 1.3 */
		unsigned char finished[CSSL_OVERHEAD + 16]; /* TLS 1.2: our Finished, sealed */
	};
	unsigned char *more;    /* TLS 1.3: the early exporter secret; TLS 1.2: the master secret and both randoms; or NULL */
	const char *obstacle;   /* why the SSL stays or, after the switch, the kernel has not both directions; or NULL */
	cssl_bytes plain;       /* opened, but not yet read */
	uint64_t due;           /* for the kernel: what TCP must have taken in the end, see ktls.c */
	uint32_t update_after;  /* records under one key, see cssl_direct_write */
	uint32_t last;          /* the length of the last record written, before the switch */
	int reason;             /* why reading has failed, of SSL_R_*; 0: it has not */
	int16_t alert;          /* with reason: the alert to send, or -1 */
	int16_t obstacle_errno; /* with obstacle, or 0 */
	uint16_t max_send, max_receive; /* plaintext in a record */
	uint8_t extended_master; /* the master secret is of the kind of RFC 7627 */
	uint8_t finished_len;
	uint8_t secrets;        /* bits of the secrets that were seen */
	uint8_t update;         /* a KeyUpdate is due: 1, or 2 if it requests the peer's */
	uint8_t head[4], head_len; /* of a handshake message that has arrived in part */
	uint8_t empty, warnings; /* in a row */
	uint8_t ended;          /* the peer has sent close_notify */
	uint8_t held;           /* by the kernel, when close_notify was written */
	uint8_t kernel;         /* CSSL_KERNEL_READ and CSSL_KERNEL_WRITE, see ktls.h */
};

/* Returns NULL if out of memory. update_after is 0 for the default. */
cssl_direct *cssl_direct_new(uint32_t update_after);
/*
 * Wipes and frees d, which may be NULL. If the connection has failed, its
 * session leaves the server's cache, as with SSL_free.
 */
void cssl_direct_free(cssl_direct *d, int failed);

/*
 * Parts of the callbacks of an SSL. d may be NULL. cssl_direct_secret takes a
 * line in the format of SSLKEYLOGFILE. cssl_direct_header takes the header of a
 * record, as it is read or written.
 */
void cssl_direct_secret(cssl_direct *d, const SSL *ssl, const char *line);
void cssl_direct_header(cssl_direct *d, const SSL *ssl, int sent, const unsigned char *header);

/*
 * Called when a step of the handshake has ended and its output is still in
 * t->out.
 */
void cssl_direct_note(cssl_conn *c);

/*
 * Right after the handshake: cssl_direct_prepare derives the keys. It returns
 * 1 if c can switch. Otherwise nothing changes, and c->direct->obstacle says
 * why. cssl_direct_switch then frees the SSL; it owns facts, which are those of
 * cssl_conn_state, with the certificates.
 */
int cssl_direct_prepare(cssl_conn *c);
void cssl_direct_switch(cssl_conn *c, cssl_state facts);

/*
 * Right after the switch, and when an offloaded handshake has its socket back:
 * hands the keys to the kernel, if the SSL_CTX asks for it. The kernel gets each
 * direction that it can have; c->direct says which, and why not. What has
 * already arrived is opened first, what is queued is sent.
 */
void cssl_direct_to_kernel(cssl_conn *c);

/* Returns 1 if c's records are sealed and opened here. */
int cssl_is_direct(const cssl_conn *c);

/*
 * The parts of the operations between begin and result (see conn.c). They
 * return SSL_ERROR_NONE, with *n set; SSL_ERROR_SSL, with the reasons in the
 * error queue; another code of SSL_get_error; or CSSL_*.
 *
 * cssl_direct_read returns the plaintext of as many records as are there and
 * fit into buf. It may use all of buf as its workspace: one recv and no copy,
 * if buf has room for the largest record. cssl_direct_write seals one or more
 * records, as many as the tail could keep; there must be room for one. With any
 * code, *n counts what they hold.
 */
int cssl_direct_read(cssl_conn *c, unsigned char *buf, size_t len, size_t *n);
int cssl_direct_peek(cssl_conn *c, unsigned char *buf, size_t len, size_t *n);
int cssl_direct_write(cssl_conn *c, const cssl_buffers *b, size_t *n);
/* The kernel must have the direction. CSSL_SEND_FAILED has an errno of sendfile. */
int cssl_direct_send_file(cssl_conn *c, int file, size_t len, size_t *n);
int cssl_direct_shutdown(cssl_conn *c);
/* Starts a KeyUpdate, and sends it if there is room. */
int cssl_direct_update(cssl_conn *c, int request);
/* Sends a KeyUpdate that is due. Returns SSL_ERROR_WANT_WRITE if there is no room. */
int cssl_direct_settle(cssl_conn *c);

/* Returns 1 if a read would find something that has already arrived. */
int cssl_direct_pending(const cssl_conn *c);

/* Like cssl_ssl_export; if early, with the early exporter secret. */
int cssl_direct_export(const cssl_conn *c, int early, unsigned char *buf, size_t len, const char *label, size_t label_len,
                       const unsigned char *context, size_t context_len, int use_context);

#endif
