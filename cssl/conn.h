/*
 * The C side of a connection: an SSL, the transport BIO below it, and one
 * function for each operation, which does all of it in one cgo call.
 * Except for the operations, cssl_detach, cssl_attach and cssl_conn_free,
 * nothing here blocks or calls back.
 */
#ifndef CSSL_CONN_H
#define CSSL_CONN_H

#include "decide.h"
#include "ech.h"
#include "errors.h"

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Codes of an operation besides those of SSL_get_error, which are small and not
 * negative.
 */
enum {
	CSSL_WANT_APP_READ = 100, /* application data precedes the handshake message that is needed */
	CSSL_BARE_FIN = 101,      /* the stream ended without close_notify */
	CSSL_SEND_FAILED = 102,   /* send(2) failed; err holds errno */
	CSSL_RECV_FAILED = 103,   /* recv(2) failed, or send(2) did and no input is left; see err */
	CSSL_LIMIT = 104,         /* the peer sent more post-handshake messages than allowed */
	CSSL_BAD_STATE = 105,     /* not possible now, such as a shutdown before the handshake */
	CSSL_END = 106,           /* the early data is complete */
};

/* Bits of cssl_result.flags. */
enum {
	CSSL_MOVED_IN = 1,  /* ciphertext was read from the transport */
	CSSL_MOVED_OUT = 2, /* ciphertext was written to the transport */
	CSSL_UNSENT = 4,    /* ciphertext is queued because the transport did not take it */
	CSSL_HELD = 16,     /* ciphertext is queued and was not offered to the transport yet */
	CSSL_CERTIFICATE = 32, /* unless it failed: the peer answered cssl_request_certificate */
	CSSL_DRAINED = 8,   /* nothing is left to read: a read now would return WANT_READ */
};

typedef struct {
	int64_t n;      /* bytes moved, also before a failure; 1 if the operation has no count */
	int32_t code;   /* SSL_ERROR_* or CSSL_*; SSL_ERROR_NONE is progress */
	int32_t err;    /* errno, or 0 */
	uint32_t flags; /* CSSL_MOVED_IN and the rest */
} cssl_result;

/* What one call of cssl_write can be given, in order. Those that are not needed have length 0. */
enum { CSSL_BUFFERS = 4 };

typedef struct {
	const unsigned char *data[CSSL_BUFFERS];
	size_t len[CSSL_BUFFERS];
} cssl_buffers;

typedef struct cssl_conn cssl_conn;

typedef struct {
	int server;
	int fd;      /* the socket, which stays the caller's; negative: there is none, see cssl_feed */
	int blocking; /* recv and send wait, if the socket is blocking */
	size_t tail; /* the most ciphertext, in bytes, to queue if the transport does not take it */
	uint32_t max_messages, max_renegotiations;
	int decide, ask_hello; /* the application decides; it decides about the ClientHello too */
} cssl_conn_settings;

/*
 * Makes a connection. The SSL keeps a reference to ctx, so the caller may free
 * its own. Returns NULL on failure, with the reasons in out.
 */
cssl_conn *cssl_conn_new(SSL_CTX *ctx, const cssl_conn_settings *s, cssl_reasons *out);

/*
 * Frees the connection and all that it holds, but does not close the socket.
 * Sends nothing. Calls cssl_go_release if it held the last reference to an
 * SSL_CTX, and cssl_go_signer_free if it holds a Signer's error.
 */
void cssl_conn_free(cssl_conn *c);

/*
 * The operations. They wait for the socket only if blocking was set.
 *
 * Any of them but cssl_flush may run a handshake: a renegotiation may happen
 * inside a read or a write. A handshake may call cssl_go_keylog, on a server
 * cssl_go_verify, with a Signer cssl_go_sign and cssl_go_decrypt, and the
 * functions of extension.h; they block as long as the application does. It also blocks on a private key in a token,
 * and on files of the system's CA directory if that is trusted. All other
 * callbacks (ClientHello, ALPN, tickets, messages) are C.
 *
 * No pointer argument is kept. Buffers are unsigned char, not void: cgo then
 * knows that they hold no Go pointers, whatever struct they are part of.
 */
cssl_result cssl_handshake(cssl_conn *c);
cssl_result cssl_read(cssl_conn *c, unsigned char *buf, size_t len);
cssl_result cssl_peek(cssl_conn *c, unsigned char *buf, size_t len);
/*
 * Writes one or more records, as many as the tail has room for, at most four
 * full ones. Each holds bytes of one buffer. After a want, the record that waits
 * must be the first of the next write. A failure counts in n what was written
 * before.
 */
cssl_result cssl_write(cssl_conn *c, cssl_buffers b, int more);
cssl_result cssl_flush(cssl_conn *c);
/*
 * Sends up to len bytes of file, from its offset on, and moves that. Progress
 * with n = 0 is its end. CSSL_SEND_FAILED has an errno of sendfile, which may
 * be of the file. It waits for the socket if that is blocking.
 */
cssl_result cssl_send_file(cssl_conn *c, int file, size_t len);
cssl_result cssl_shutdown(cssl_conn *c, int more);
cssl_result cssl_key_update(cssl_conn *c, int request_peer);
cssl_result cssl_renegotiate(cssl_conn *c);
cssl_result cssl_request_certificate(cssl_conn *c);

/*
 * cssl_handshake can run on any thread, without the socket, while no other call
 * uses c. cssl_detach sends what is queued, receives what the socket has, and
 * makes c work in memory alone. cssl_attach gives the socket back and sends. In
 * between, the caller may close the socket, and may call only cssl_handshake
 * and cssl_conn_free.
 *
 * If need_input is set and there is no input, cssl_detach returns WANT_READ and
 * c keeps the socket. cssl_attach takes the result of cssl_handshake and
 * returns it with its flags updated. Both block like cssl_flush, and call no
 * callback.
 */
cssl_result cssl_detach(cssl_conn *c, int need_input);
cssl_result cssl_attach(cssl_conn *c, cssl_result r);

/*
 * Returns the decisions of the connection, which c owns, or NULL if the
 * application decides about nothing.
 */
cssl_decisions *cssl_conn_decisions(cssl_conn *c);

/*
 * Frees OpenSSL's record buffers if they are empty. Returns 1 if there are none
 * now.
 */
int cssl_free_buffers(cssl_conn *c);

/*
 * Without a socket; cssl_feed also with one, before the first operation: then
 * it takes all of buf. These copy, and keep no pointer. cssl_feed takes at most
 * cssl_feed_room bytes. cssl_feed and cssl_take return the number of bytes
 * copied, which may be less than len. cssl_feed returns 0 if out of memory; a
 * read before the next cssl_feed reports that.
 */
size_t cssl_feed_room(const cssl_conn *c);
size_t cssl_feed(cssl_conn *c, const unsigned char *buf, size_t len);
void cssl_feed_eof(cssl_conn *c);
/*
 * Drops what is written from now on, like a socket after SHUT_WR. What is
 * queued can still be taken.
 */
void cssl_take_end(cssl_conn *c);
size_t cssl_take(cssl_conn *c, unsigned char *buf, size_t len);
size_t cssl_unsent(const cssl_conn *c);
/*
 * Returns 1 if input was received that no read has returned, be it in OpenSSL
 * or in the transport.
 */
int cssl_has_pending(const cssl_conn *c);

/* Details of the last failure, owned by c; NULL if there was none. */
const cssl_reasons *cssl_conn_reasons(const cssl_conn *c);
/*
 * Returns the handle of the error of a Signer that made the last operation
 * fail, and forgets it; 0 if none did. The caller deletes the handle.
 */
uintptr_t cssl_conn_signer_failure(cssl_conn *c);
/* The last alert sent and the last one received, or -1 if there was none. */
int cssl_alert_sent(const cssl_conn *c);
int cssl_alert_received(const cssl_conn *c);

/* Returns 1 once the first handshake is done. */
int cssl_established(const cssl_conn *c);

/* The length of a Finished message in TLS 1.2 (RFC 5246, section 7.4.9). */
enum { CSSL_UNIQUE = 12 };

/*
 * The outcome of the handshake. Pointers are to static strings and to memory of
 * the connection, which the next operation may free; the chains belong to the
 * caller.
 */
typedef struct {
	int version, resumed;       /* from SSL_version; 0 up to psk until the handshake is done */
	unsigned cipher_id;         /* the number assigned by IANA */
	const char *cipher, *group; /* NULL if there was no key exchange with a named group */
	const unsigned char *psk;   /* the identity of an external pre-shared key */
	size_t psk_len;
	const unsigned char *alpn;
	unsigned alpn_len;
	const char *server_name;
	int early; /* from SSL_get_early_data_status */
	long verify; /* from SSL_get_verify_result; X509_V_OK also without a certificate */
	/*
	 * The peer's chain, leaf first, and the chain that was verified, each NULL
	 * if there is none or the caller did not ask for certificates. In the
	 * format of cssl_put_chain, malloc'ed; the caller frees them.
	 */
	unsigned char *peer, *verified;
	long peer_len, verified_len;
	int raw; /* peer is not a chain but a raw public key (cssl_put_key) */
	/*
	 * What a client was sent about the server's certificate, if the caller asks
	 * for certificates: an OCSP response, timestamps (see exdata.h), and the
	 * responses about the intermediates in the format of cssl_put_staples,
	 * malloc'ed; the caller frees them. The lengths may be 0 or, of the first,
	 * -1.
	 */
	const unsigned char *ocsp, *timestamps;
	unsigned char *more_ocsp;
	long ocsp_len, timestamps_len, more_ocsp_len;
	unsigned char unique[CSSL_UNIQUE]; /* tls-unique (RFC 5929), if unique_len is not 0 */
	int unique_len;
	int ech;              /* CSSL_ECH_* */
	char outer_name[CSSL_NAME];
	int retried;          /* there was a HelloRetryRequest */
	int direct, kernel;   /* records are direct; the kernel has them, at least in one direction */
	const char *obstacle; /* why they are not what the SSL_CTX asks for, or NULL */
	int obstacle_errno;   /* with obstacle, or 0 */
} cssl_state;

cssl_state cssl_conn_state(const cssl_conn *c, int certificates);

/* Returns the SSL, which c owns; NULL after the switch to direct records. */
SSL *cssl_conn_ssl(const cssl_conn *c);

/* Returns 0 if no certificate of the peer can be requested: it would be ignored. */
int cssl_requests_certificates(const cssl_conn *c);
/* Returns 1 if a close_notify of ours was written. */
int cssl_shutdown_sent(const cssl_conn *c);
/* Returns the negotiated maximum fragment length (RFC 6066) in bytes, or 0. */
unsigned cssl_max_fragment(const cssl_conn *c);

/*
 * Exports len bytes of keying material (RFC 5705, RFC 8446 section 7.5) to buf;
 * if early, with the early exporter secret, without regard to use_context.
 * Returns 1, or 0 with the reasons in out.
 */
int cssl_conn_export(const cssl_conn *c, int early, unsigned char *buf, size_t len, const char *label, size_t label_len,
                     const unsigned char *context, size_t context_len, int use_context, cssl_reasons *out);

#endif
