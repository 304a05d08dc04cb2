/*
 * tls_epoll: a single-threaded TLS echo or discard server on epoll and OpenSSL.
 *
 * This is the reference that the Go server is measured against: plain, decent C.
 * OpenSSL reads and writes the socket itself (SSL_set_fd), epoll is
 * level-triggered, and nothing is tuned beyond the obvious. There are no timeouts.
 * A signal ends the process. Failed connections are closed without a log line,
 * which under load would be what is measured.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

/* A TLS record carries at most 16 KiB, so one SSL_read empties one record. */
#define READ_SIZE (16 * 1024)
/* A busy connection gives way to the others after this many bytes. */
#define TURN_BUDGET (64 * 1024)
#define MAX_EVENTS 256
#define ACCEPT_BATCH 64

struct conn {
	SSL *ssl;
	int fd;
	uint32_t interest;      /* What epoll watches for at present. */
	unsigned char *pending; /* Output that a short write left, or NULL. */
	size_t pending_len;
};

/* The process has one server, so its state is plain file-level data. */
static SSL_CTX *ctx;
static int epoll_fd, listen_fd;
static bool discard;
static unsigned char read_buf[READ_SIZE];

/* Passes the result of a system call through; a failure ends the process. */
static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static void conn_destroy(struct conn *c)
{
	SSL_free(c->ssl);
	close(c->fd); /* This also takes it out of the epoll set. */
	free(c->pending);
	free(c);
}

/* Takes ownership of fd; a connection that cannot be set up is closed. */
static void conn_create(int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	int one = 1;

	if (c == NULL) {
		close(fd);
		return;
	}
	c->fd = fd;
	c->interest = EPOLLIN;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	ERR_clear_error();
	c->ssl = SSL_new(ctx);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
		conn_destroy(c);
		return;
	}
	/* From here on SSL_read performs the handshake before it reads data. */
	SSL_set_accept_state(c->ssl);
}

static void accept_batch(void)
{
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			conn_create(fd);
		} else if (errno == EAGAIN) {
			return;
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* The listener stays readable, so a level-triggered loop would spin. */
			check(fd, "accept4");
		}
		/* Other errors belong to the one connection that could not be accepted. */
	}
}

/* Waits for what the failed call asked for; a connection beyond help is destroyed. */
static void conn_wait(struct conn *c, int ssl_error)
{
	struct epoll_event ev = { .data.ptr = c };

	if (ssl_error == SSL_ERROR_WANT_READ)
		ev.events = EPOLLIN;
	else if (ssl_error == SSL_ERROR_WANT_WRITE)
		ev.events = EPOLLOUT;
	if (ev.events == c->interest)
		return;
	if (ev.events == 0 || epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) != 0)
		conn_destroy(c);
	else
		c->interest = ev.events;
}

/*
 * Writes all of p, which is fresh data or the pending output itself. A short
 * write leaves the rest pending, to be retried with the same bytes as OpenSSL
 * demands, and returns false; then the connection waits or is gone.
 */
static bool conn_write(struct conn *c, const unsigned char *p, size_t len)
{
	while (len > 0) {
		int n, err;

		ERR_clear_error();
		n = SSL_write(c->ssl, p, (int)len);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		err = SSL_get_error(c->ssl, n);
		if (c->pending == NULL && (c->pending = malloc(len)) == NULL) {
			conn_destroy(c);
			return false;
		}
		memmove(c->pending, p, len);
		c->pending_len = len;
		conn_wait(c, err);
		return false;
	}
	free(c->pending);
	c->pending = NULL;
	return true;
}

/*
 * Serves one connection: handshake, read, write. The connection may be gone
 * when this returns. Nothing is read while output is pending, so a peer that
 * does not read is held back by TCP and costs at most one read buffer.
 */
static void conn_turn(struct conn *c)
{
	size_t total = 0;

	if (c->pending != NULL && !conn_write(c, c->pending, c->pending_len))
		return;

	/* epoll does not know about bytes that OpenSSL holds, so those never wait. */
	while (total < TURN_BUDGET || SSL_pending(c->ssl) > 0) {
		int n, err;

		ERR_clear_error();
		n = SSL_read(c->ssl, read_buf, sizeof(read_buf));
		if (n <= 0) {
			err = SSL_get_error(c->ssl, n);
			if (err == SSL_ERROR_ZERO_RETURN)
				SSL_shutdown(c->ssl); /* The peer sent its close_notify, and gets ours. */
			conn_wait(c, err); /* Which is the end, unless it waits. */
			return;
		}
		total += (size_t)n;
		if (!discard && !conn_write(c, read_buf, (size_t)n))
			return;
	}
	conn_wait(c, SSL_ERROR_WANT_READ);
}

static void serve(void)
{
	struct epoll_event events[MAX_EVENTS];

	for (;;) {
		int n = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);

		if (n < 0 && errno != EINTR)
			check(n, "epoll_wait");
		for (int i = 0; i < n; i++) {
			/* A turn only ever frees its own connection, so no later event dangles. */
			if (events[i].data.ptr == &listen_fd)
				accept_batch();
			else
				conn_turn(events[i].data.ptr);
		}
	}
}

/* file has the chain and its key. */
static void make_context(const char *file, int version)
{
	ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL ||
	    SSL_CTX_set_min_proto_version(ctx, version) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, version) != 1 ||
	    SSL_CTX_use_certificate_chain_file(ctx, file) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, file, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1) {
		fprintf(stderr, "tls_epoll: cannot set up TLS with %s\n", file);
		ERR_print_errors_fp(stderr);
		exit(1);
	}
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	/* Tickets stay on as OpenSSL has them; only the server-side cache is off. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}

/* Opens the listener and epoll. */
static void start(int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event ev = { .events = EPOLLIN };
	int one = 1;

	/* OpenSSL writes with write(2), which raises SIGPIPE on a connection that is gone. */
	signal(SIGPIPE, SIG_IGN);

	listen_fd = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
	setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	check(bind(listen_fd, (struct sockaddr *)&addr, sizeof(addr)), "bind");
	check(listen(listen_fd, SOMAXCONN), "listen");

	epoll_fd = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	ev.data.ptr = &listen_fd;
	check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &ev), "epoll_ctl");
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: tls_epoll PORT FILE.PEM echo|discard 1.2|1.3\n");
		return 2;
	}
	discard = strcmp(argv[3], "discard") == 0;
	make_context(argv[2], strcmp(argv[4], "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION);
	start(atoi(argv[1]));
	serve();
}
