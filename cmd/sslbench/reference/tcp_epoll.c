/*
 * tcp_epoll: a single-threaded TCP echo or discard server on epoll.
 *
 * This is the floor under the measurements: the loop of tls_epoll.c with recv
 * and send in the place of SSL_read and SSL_write, so the difference between
 * the two is what TLS costs. Buffers, budget and options are the same.
 *
 * cc -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wshadow -Wstrict-prototypes \
 *    -o tcp_epoll tcp_epoll.c
 *
 * With -u it listens on a Unix socket instead, as the backend of a TLS proxy: no
 * number of connections and no rate of new ones runs out of TCP ports there.
 *
 * There are no timeouts: a silent peer keeps its connection. Failed connections
 * are closed without a log line, which under load would be what is measured.
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
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* One buffer serves the whole process, since a turn leaves nothing in it. */
#define READ_SIZE (16 * 1024)
/* A busy connection gives way to the others after this many bytes. */
#define TURN_BUDGET (64 * 1024)
#define MAX_EVENTS 256
#define ACCEPT_BATCH 64
/* While accepting is paused, it is tried again at least this often. */
#define ACCEPT_RETRY_MS 100

struct conn {
	int fd;
	uint32_t interest;      /* What epoll watches for at present. */
	unsigned char *pending; /* Output that a short write left, or NULL. */
	size_t pending_len;
	LIST_ENTRY(conn) link;
};

/* The process has one server, so its state is plain file-level data. */
static int epoll_fd, listen_fd, signal_fd;
static bool discard;
static bool accept_paused;
/* All connections, to free them at the end. */
static LIST_HEAD(, conn) conns = LIST_HEAD_INITIALIZER(conns);
static unsigned char read_buf[READ_SIZE];

/* Passes the result of a system call through; at the start a failure is final. */
static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static void usage(const char *why)
{
	fprintf(stderr, "tcp_epoll: %s; usage: tcp_epoll [-p port | -u path] [-s echo|discard]\n", why);
	exit(2);
}

static void set_accepting(bool on)
{
	struct epoll_event ev = { .events = on ? EPOLLIN : 0, .data.ptr = &listen_fd };

	check(epoll_ctl(epoll_fd, EPOLL_CTL_MOD, listen_fd, &ev), "epoll_ctl");
	accept_paused = !on;
}

static void conn_destroy(struct conn *c)
{
	LIST_REMOVE(c, link);
	close(c->fd); /* This also takes it out of the epoll set. */
	free(c->pending);
	free(c);
	if (accept_paused)
		set_accepting(true);
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
	LIST_INSERT_HEAD(&conns, c, link);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
		conn_destroy(c);
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
			set_accepting(false);
			return;
		}
		/* Other errors belong to the one connection that could not be accepted. */
	}
}

/* Waits for the given event; a connection that cannot be watched is destroyed. */
static void conn_wait(struct conn *c, uint32_t interest)
{
	struct epoll_event ev = { .events = interest, .data.ptr = c };

	if (interest == c->interest)
		return;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) != 0)
		conn_destroy(c);
	else
		c->interest = interest;
}

/*
 * Writes all of p, which is fresh data or the pending output itself. A short
 * write leaves the rest pending and returns false; then the connection waits
 * or is gone.
 */
static bool conn_write(struct conn *c, const unsigned char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || (c->pending == NULL && (c->pending = malloc(len)) == NULL)) {
			conn_destroy(c);
			return false;
		}
		memmove(c->pending, p, len);
		c->pending_len = len;
		conn_wait(c, EPOLLOUT);
		return false;
	}
	free(c->pending);
	c->pending = NULL;
	return true;
}

/*
 * Serves one connection: read, write. The connection may be gone when this
 * returns. Nothing is read while output is pending, so a peer that does not
 * read is held back by TCP and costs at most one read buffer.
 */
static void conn_turn(struct conn *c)
{
	size_t total = 0;

	if (c->pending != NULL && !conn_write(c, c->pending, c->pending_len))
		return;

	while (total < TURN_BUDGET) {
		ssize_t n = recv(c->fd, read_buf, sizeof(read_buf), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			conn_destroy(c); /* The peer is done, and all it sent is answered. */
			return;
		}
		total += (size_t)n;
		if (!discard && !conn_write(c, read_buf, (size_t)n))
			return;
	}
	conn_wait(c, EPOLLIN);
}

static void serve(void)
{
	struct epoll_event events[MAX_EVENTS];

	for (;;) {
		int n = epoll_wait(epoll_fd, events, MAX_EVENTS, accept_paused ? ACCEPT_RETRY_MS : -1);

		if (n < 0 && errno != EINTR)
			check(n, "epoll_wait");
		if (n == 0 && accept_paused)
			set_accepting(true);
		for (int i = 0; i < n; i++) {
			/* A turn only ever frees its own connection, so no later event dangles. */
			if (events[i].data.ptr == &signal_fd)
				return;
			if (events[i].data.ptr == &listen_fd)
				accept_batch();
			else
				conn_turn(events[i].data.ptr);
		}
	}
}

/* Opens a TCP listener on loopback, sets *port to what the system chose if it is 0. */
static int listen_tcp(long *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)*port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int one = 1;
	int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	check(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), "bind");
	check(getsockname(fd, (struct sockaddr *)&addr, &len), "getsockname");
	*port = ntohs(addr.sin_port);
	return fd;
}

/* Opens a Unix listener on a path that does not exist yet. */
static int listen_unix(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = check(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");

	if (strlen(path) >= sizeof(addr.sun_path))
		usage("the path of -u is too long for a Unix socket");
	memcpy(addr.sun_path, path, strlen(path) + 1);
	check(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), "bind");
	return fd;
}

/* Opens the listener, the signal descriptor and epoll, and says where it listens. */
static void start(long port, const char *path)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct rlimit lim;
	sigset_t set;

	/* The Go runtime raises the descriptor limit to the hard one; so does this. */
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}

	/* The sends ask for no SIGPIPE; ignoring it covers a closed standard output too. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	check(sigprocmask(SIG_BLOCK, &set, NULL), "sigprocmask");
	signal_fd = check(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd");

	listen_fd = path != NULL ? listen_unix(path) : listen_tcp(&port);
	check(listen(listen_fd, SOMAXCONN), "listen");

	epoll_fd = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	ev.data.ptr = &signal_fd;
	check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signal_fd, &ev), "epoll_ctl");
	ev.data.ptr = &listen_fd;
	check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &ev), "epoll_ctl");

	if (path != NULL)
		printf("listening on unix:%s\n", path);
	else
		printf("listening on 127.0.0.1:%ld\n", port);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *path = NULL;
	char *end = "";
	long port = 0;
	int opt;

	/* The leading colon keeps getopt silent, so that usage prints the only line. */
	while ((opt = getopt(argc, argv, ":p:u:s:")) != -1) {
		if (opt == 'p')
			port = *optarg == '\0' ? -1 : strtol(optarg, &end, 10);
		else if (opt == 'u')
			path = optarg;
		else if (opt == 's' && strcmp(optarg, "echo") == 0)
			discard = false;
		else if (opt == 's' && strcmp(optarg, "discard") == 0)
			discard = true;
		else
			usage("unknown option, or a missing or unknown value");
	}
	if (*end != '\0' || port < 0 || port > 65535)
		usage("-p needs a port from 0 to 65535");
	if (port != 0 && path != NULL)
		usage("-p and -u exclude each other");
	if (optind != argc)
		usage("unexpected argument");

	start(port, path);
	serve();
	while (!LIST_EMPTY(&conns))
		conn_destroy(LIST_FIRST(&conns));
	if (path != NULL)
		unlink(path);
	return 0;
}
