/*
 * The C side of one connection: an SSL, the transport BIO below it, and for
 * each operation one function that does the whole of it in one crossing.
 */
#ifndef CSSL_CONN_H
#define CSSL_CONN_H

#include "decide.h"
#include "errors.h"

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Codes of an operation beyond those of SSL_get_error (which are small and
 * positive).
 */
enum {
	CSSL_WANT_APP_READ = 100, /* application data stands before the handshake message that is needed */
	CSSL_BARE_FIN = 101,      /* the stream ended without close_notify */
	CSSL_SEND_FAILED = 102,   /* send(2) failed; err holds errno */
	CSSL_RECV_FAILED = 103,   /* recv(2) failed, or send(2) did and nothing is left to read; err holds errno */
	CSSL_LIMIT = 104,         /* the peer sent more post-handshake messages than the limit allows */
	CSSL_BAD_STATE = 105,     /* the operation makes no sense now (for example shutdown before the handshake) */
	CSSL_END = 106,           /* there is no more early data */
};

/* Bits of cssl_result.flags. */
enum {
	CSSL_MOVED_IN = 1,  /* ciphertext was taken from the transport */
	CSSL_MOVED_OUT = 2, /* ciphertext was handed to the transport */
	CSSL_UNSENT = 4,    /* ciphertext is left that the transport did not take yet */
	CSSL_HELD = 16,     /* ciphertext is kept that was not offered to the transport yet */
	CSSL_CERTIFICATE = 32, /* unless the operation failed: the answer to cssl_request_certificate has come */
	CSSL_DRAINED = 8,   /* nothing is buffered and the transport had no more: a read now would return WANT_READ */
};

typedef struct {
	int64_t n;      /* bytes moved; 1 for an operation without a count */
	int32_t code;   /* SSL_ERROR_* or CSSL_*; SSL_ERROR_NONE is progress */
	int32_t err;    /* errno, or 0 */
	uint32_t flags; /* CSSL_MOVED_IN and the rest */
} cssl_result;

typedef struct cssl_conn cssl_conn;

typedef struct {
	int server;
	int fd;      /* >= 0: the transport is that socket, which the caller keeps and closes. < 0: engine mode, see cssl_feed and cssl_take */
	int blocking; /* recv and send wait, if the socket does */
	size_t tail; /* the greatest number of bytes of ciphertext that may be kept for a transport that does not take them */
	uint32_t max_messages, max_renegotiations;
	int decide, ask_hello; /* the application decides about something; about the ClientHello too. See cssl_decisions */
} cssl_conn_settings;

/*
 * Makes a connection. The SSL_CTX is referenced by the SSL and may be freed by
 * the caller afterwards. NULL on failure, with the reasons in out.
 */
cssl_conn *cssl_conn_new(SSL_CTX *ctx, const cssl_conn_settings *s, cssl_reasons *out);

/*
 * Frees the connection and all that it holds. May call the Go side's release of
 * context state.
 */
void cssl_conn_free(cssl_conn *c);

/*
 * The operations. None of them blocks, unless blocking was set. While a
 * handshake makes progress (in any of them: a renegotiation may run inside a
 * read or a write) the callbacks for the key log and for a server's
 * verification (cssl_decide_peer) can fire; the others (client hello, ALPN,
 * messages) are C. No pointer given is kept after the return. Buffers are
 * unsigned char, not void: of those cgo knows that they hold no Go pointers,
 * whatever the struct around them holds.
 */
cssl_result cssl_handshake(cssl_conn *c);
cssl_result cssl_read(cssl_conn *c, unsigned char *buf, size_t len);
cssl_result cssl_peek(cssl_conn *c, unsigned char *buf, size_t len);
cssl_result cssl_write(cssl_conn *c, const unsigned char *buf, size_t len, int more);
cssl_result cssl_flush(cssl_conn *c);
cssl_result cssl_shutdown(cssl_conn *c, int more);
cssl_result cssl_key_update(cssl_conn *c, int request_peer);
cssl_result cssl_renegotiate(cssl_conn *c);
cssl_result cssl_request_certificate(cssl_conn *c);

/*
 * cssl_handshake can run on any thread, while no other call uses c, and without
 * the socket: detach takes what has come off it, and makes c work in memory
 * alone; attach gives the socket back and sends what there is. In between the
 * caller may close the socket, and must not call anything but cssl_handshake
 * and cssl_conn_free. detach returns WANT_READ, and has done nothing, if
 * need_input is set and nothing has come. attach takes what cssl_handshake
 * returned and returns what that has become.
 */
cssl_result cssl_detach(cssl_conn *c, int need_input);
cssl_result cssl_attach(cssl_conn *c, cssl_result r);

/*
 * What the application is asked and has decided; NULL if it decides about
 * nothing.
 */
cssl_decisions *cssl_conn_decisions(cssl_conn *c);

/*
 * Frees OpenSSL's record buffers, if nothing is in them. It does not block, and
 * no callback fires. True when there are none now.
 */
int cssl_free_buffers(cssl_conn *c);

/*
 * Engine mode. Both copy, and neither keeps a pointer or calls back. feed_room
 * is how much feed would take.
 */
size_t cssl_feed_room(const cssl_conn *c);
size_t cssl_feed(cssl_conn *c, const unsigned char *buf, size_t len);
void cssl_feed_eof(cssl_conn *c);
/*
 * What is written from now on is dropped, as a socket does it after SHUT_WR.
 * What is there can still be taken.
 */
void cssl_take_end(cssl_conn *c);
size_t cssl_take(cssl_conn *c, unsigned char *buf, size_t len);
size_t cssl_unsent(const cssl_conn *c);
/*
 * True when input was received that no read has returned: in OpenSSL, or in
 * front of it.
 */
int cssl_has_pending(const cssl_conn *c);

/* Facts for the error that the last operation returned. */
const cssl_reasons *cssl_conn_reasons(const cssl_conn *c);
/* Alert descriptions, or -1: the last one sent and the last one received. */
int cssl_alert_sent(const cssl_conn *c);
int cssl_alert_received(const cssl_conn *c);

/* True once the first handshake is done. */
int cssl_established(const cssl_conn *c);

/* What the handshake led to. Static strings, and memory of c's that the next operation may free, but for the chains. */
typedef struct {
	int version, resumed;       /* as SSL_version says it; all zero and NULL up to psk before the handshake is done */
	unsigned cipher_id;         /* IANA's number */
	const char *cipher, *group; /* no group where there was none */
	const unsigned char *psk;   /* the identity of an external pre-shared key */
	size_t psk_len;
	const unsigned char *alpn;
	unsigned alpn_len;
	const char *server_name;
	int early; /* as SSL_get_early_data_status says it */
	long verify; /* as SSL_get_verify_result says it; X509_V_OK also if no certificate was sent */
	/*
	 * DER certificates, see cssl_put_chain; malloc'ed, the caller's to free. The peer's chain, leaf first, and the chain
	 * that was found valid; NULL where there was none.
	 */
	unsigned char *peer, *verified;
	long peer_len, verified_len;
} cssl_state;

cssl_state cssl_conn_state(const cssl_conn *c);

SSL *cssl_conn_ssl(const cssl_conn *c);

/* Of an SSL. It does not block or call back. */
/* Writes len bytes to buf. 1, or 0 with the reasons in out. */
int cssl_ssl_export(SSL *ssl, void *buf, size_t len, const char *label, size_t label_len, const void *context,
                    size_t context_len, int use_context, cssl_reasons *out);

#endif
