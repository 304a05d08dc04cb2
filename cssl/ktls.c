//go:build cgo

#include "ktls.h"
#include "conn_private.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What TLS_TX and TLS_RX take. */
typedef union {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 aes128;
	struct tls12_crypto_info_aes_gcm_256 aes256;
	struct tls12_crypto_info_chacha20_poly1305 chacha;
} crypto_info;

static void put64(unsigned char *p, uint64_t v)
{
	int i;

	for (i = 7; i >= 0; i--, v >>= 8)
		p[i] = (unsigned char)v;
}

/* Fills u for a direction, and returns how many bytes of it are used. */
static socklen_t fill(crypto_info *u, const cssl_records *r, const cssl_key *k)
{
	const cssl_suite *s = r->suite;
	unsigned char nonce[8];

	memset(u, 0, sizeof *u);
	u->info.version = s->tls13 ? TLS_1_3_VERSION : TLS_1_2_VERSION;
	if (s->explicit > 0)
		put64(nonce, r->nonce + k->seq); /* the kernel counts it up, like cssl_seal */
	else
		memcpy(nonce, k->iv + 4, sizeof nonce);
	switch (s->cipher) {
	case CSSL_AES_128_GCM:
		u->info.cipher_type = TLS_CIPHER_AES_GCM_128;
		memcpy(u->aes128.salt, k->iv, sizeof u->aes128.salt);
		memcpy(u->aes128.iv, nonce, sizeof u->aes128.iv);
		memcpy(u->aes128.key, k->key, sizeof u->aes128.key);
		put64(u->aes128.rec_seq, k->seq);
		return sizeof u->aes128;
	case CSSL_AES_256_GCM:
		u->info.cipher_type = TLS_CIPHER_AES_GCM_256;
		memcpy(u->aes256.salt, k->iv, sizeof u->aes256.salt);
		memcpy(u->aes256.iv, nonce, sizeof u->aes256.iv);
		memcpy(u->aes256.key, k->key, sizeof u->aes256.key);
		put64(u->aes256.rec_seq, k->seq);
		return sizeof u->aes256;
	default:
		u->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
		memcpy(u->chacha.iv, k->iv, sizeof u->chacha.iv);
		memcpy(u->chacha.key, k->key, sizeof u->chacha.key);
		put64(u->chacha.rec_seq, k->seq);
		return sizeof u->chacha;
	}
}

/* Gives the kernel the key of a direction. Returns 1, or 0 with errno. */
static int set_key(const cssl_conn *c, int direction)
{
	const cssl_records *r = &c->direct->records;
	crypto_info u;
	socklen_t len = fill(&u, r, direction == CSSL_KERNEL_READ ? &r->read : &r->write);
	int option = direction == CSSL_KERNEL_READ ? TLS_RX : TLS_TX, ok;

	if (cssl_data_of_ctx(c->direct->ctx)->kernel_refuses & direction)
		option = 0; /* which no kernel knows */
	ok = setsockopt(c->t.fd, SOL_TLS, option, &u, len) == 0;
	OPENSSL_cleanse(&u, sizeof u);
	return ok;
}

/* How much the kernel adds to the plaintext of a record. */
static uint64_t overhead(const cssl_suite *s)
{
	return CSSL_HEADER + s->explicit + s->tls13 + CSSL_TAG;
}

static uint64_t acknowledged(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof info;

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	return info.tcpi_bytes_acked;
}

/* Returns how many bytes TCP has taken in all, counted from somewhere. */
static uint64_t taken(int fd)
{
	uint64_t before, after = acknowledged(fd);
	int queued = 0;

	do { /* until nothing is acknowledged in between */
		before = after;
		ioctl(fd, SIOCOUTQ, &queued);
		after = acknowledged(fd);
	} while (before != after);
	return after + (uint64_t)queued;
}

/* Returns how many records the kernel has sealed under the key that it has. */
static uint64_t sealed(const cssl_conn *c)
{
	const cssl_suite *s = c->direct->records.suite;
	crypto_info u;
	socklen_t len = fill(&u, &c->direct->records, &c->direct->records.write);
	const unsigned char *p = s->cipher == CSSL_AES_128_GCM   ? u.aes128.rec_seq
	                         : s->cipher == CSSL_AES_256_GCM ? u.aes256.rec_seq
	                                                         : u.chacha.rec_seq;
	uint64_t n = 0;
	int i;

	if (getsockopt(c->t.fd, SOL_TLS, TLS_TX, &u, &len) == 0)
		for (i = 0; i < 8; i++)
			n = n << 8 | p[i];
	OPENSSL_cleanse(&u, sizeof u);
	return n;
}

/*
 * Whether the kernel can change the key that it sends with (Linux 6.14 and
 * newer): 0 is not known yet, 1 yes, -1 no. To learn it after the message was
 * sent would be too late.
 */
static _Atomic int rekeys;

/*
 * Whether a socket with TLS is readable only if a whole record is there (Linux
 * 6.5 and newer): 0 is not known yet, 1 yes, -1 no.
 */
static _Atomic int whole;

/* Returns 1 if p is ready within a second. */
static int ready(struct pollfd *p, short events)
{
	int n;

	p->events = events;
	do
		n = poll(p, 1, 1000);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

void cssl_ktls_probe(void)
{
	static const unsigned char part[] = {SSL3_RT_APPLICATION_DATA, 3, 3, 0};
	struct tls12_crypto_info_aes_gcm_128 key = {.info = {TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128}};
	struct sockaddr_in self = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof self;
	struct pollfd p;

	if (whole != 0)
		return;
	p.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p.fd < 0)
		return;
	/* The socket is connected to itself. The part has arrived before TLS is there. */
	if (bind(p.fd, (struct sockaddr *)&self, len) == 0 && getsockname(p.fd, (struct sockaddr *)&self, &len) == 0 &&
	    (connect(p.fd, (struct sockaddr *)&self, len) == 0 || errno == EINPROGRESS) && ready(&p, POLLOUT) &&
	    send(p.fd, part, sizeof part, MSG_NOSIGNAL) == sizeof part && ready(&p, POLLIN) &&
	    setsockopt(p.fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") == 0 && setsockopt(p.fd, SOL_TLS, TLS_RX, &key, sizeof key) == 0)
		whole = poll(&p, 1, 0) == 0 ? 1 : -1;
	close(p.fd);
}

const char *cssl_ktls_no_reading(void)
{
	if (whole == 0)
		return "reading is direct: the kernel could not be tested for what it does with a part of a record";
	return whole > 0 ? NULL : "reading is direct: the kernel reports a part of a record as readable";
}

/* Not needed any more: the next one comes from the secret. */
static void wipe(cssl_direct *d, int direction)
{
	OPENSSL_cleanse(direction == CSSL_KERNEL_READ ? d->records.read.key : d->records.write.key, sizeof d->records.read.key);
}

int cssl_ktls_begin(const cssl_conn *c)
{
	return setsockopt(c->t.fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") == 0;
}

int cssl_ktls_give(cssl_conn *c, int direction)
{
	cssl_direct *d = c->direct;

	if (!set_key(c, direction))
		return 0;
	d->kernel |= (uint8_t)direction;
	if (direction == CSSL_KERNEL_WRITE) {
		d->due = taken(c->t.fd) - d->records.write.seq * overhead(d->records.suite);
		if (d->records.suite->tls13 && rekeys == 0)
			rekeys = set_key(c, direction) ? 1 : -1; /* the same key: nothing changes */
	}
	wipe(d, direction);
	return 1;
}

int cssl_ktls_can_update(const cssl_conn *c)
{
	return !(c->direct->kernel & CSSL_KERNEL_WRITE) || rekeys == 1;
}

void cssl_ktls_raise(void)
{
	ERR_raise_data(ERR_LIB_SSL, ERR_R_UNSUPPORTED, "the kernel cannot change the keys of a connection");
}

int cssl_ktls_update(cssl_conn *c, int direction)
{
	cssl_direct *d = c->direct;

	if (!(d->kernel & direction))
		return 1;
	if (direction == CSSL_KERNEL_WRITE)
		d->due += sealed(c) * overhead(d->records.suite);
	if (!set_key(c, direction))
		return 0;
	wipe(d, direction);
	return 1;
}

int cssl_ktls_recv(cssl_conn *c, unsigned char *p, size_t len, size_t *n)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(1)];
	} control;
	struct iovec iov = {p, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	cssl_direct *d = c->direct;
	socklen_t size = sizeof(int);
	const struct cmsghdr *h;
	ssize_t got;
	int err;

	do
		got = recvmsg(c->t.fd, &m, c->t.flags);
	while (got < 0 && errno == EINTR);
	h = got >= 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (h != NULL && h->cmsg_level == SOL_TLS && h->cmsg_type == TLS_GET_RECORD_TYPE) {
		*n = (size_t)got;
		return *(const unsigned char *)CMSG_DATA(h);
	}
	switch (got < 0 ? errno : 0) {
	case EBADMSG:
		d->alert = SSL_AD_BAD_RECORD_MAC;
		d->reason = SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC;
		break;
	case EMSGSIZE:
		d->alert = SSL_AD_RECORD_OVERFLOW;
		d->reason = SSL_R_ENCRYPTED_LENGTH_TOO_LONG;
		break;
	case EINVAL:
		d->alert = d->records.suite->tls13 ? SSL_AD_DECODE_ERROR : SSL_AD_PROTOCOL_VERSION;
		d->reason = SSL_R_WRONG_VERSION_NUMBER;
		break;
	case EKEYEXPIRED: /* a record begins with KeyUpdate, and there is more in it or before its end */
		d->alert = SSL_AD_UNEXPECTED_MESSAGE;
		d->reason = SSL_R_NOT_ON_RECORD_BOUNDARY;
		break;
	default:
		cssl_transport_received(&c->t, got);
		return -1;
	}
	/* The kernel would report it once more to send, and the alert would be lost. */
	getsockopt(c->t.fd, SOL_SOCKET, SO_ERROR, &err, &size);
	return -1;
}

int cssl_ktls_send(cssl_conn *c, int type, const unsigned char *p, size_t n)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(1)];
	} control = {.header = {.cmsg_len = CMSG_LEN(1), .cmsg_level = SOL_TLS, .cmsg_type = TLS_SET_RECORD_TYPE}};
	struct iovec iov = {(unsigned char *)p, n};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t sent;

	*CMSG_DATA(&control.header) = (unsigned char)type;
	if (c->t.send_errno != 0)
		return 1;
	do
		sent = sendmsg(c->t.fd, &m, c->t.flags | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent > 0)
		c->direct->due += (uint64_t)sent;
	return cssl_transport_sent(&c->t, n, sent) > 0;
}

int cssl_ktls_holds(const cssl_conn *c)
{
	const cssl_direct *d = c->direct;

	return d->kernel & CSSL_KERNEL_WRITE && c->t.send_errno == 0 &&
	       (int64_t)(taken(c->t.fd) - d->due - sealed(c) * overhead(d->records.suite)) < 0;
}

int cssl_ktls_push(cssl_conn *c)
{
	static const unsigned char close_notify[] = {SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY};

	return cssl_ktls_holds(c) && (!cssl_ktls_send(c, SSL3_RT_ALERT, close_notify, sizeof close_notify) || cssl_ktls_holds(c));
}
