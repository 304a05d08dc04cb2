#include "shim.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct {
	int kind, fd, answer;
	long first, last, calls;
	const char *file;
	int line;
} plan;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void shim_arm(int kind, int fd, long first, long last, int answer)
{
	pthread_mutex_lock(&lock);
	plan.kind = kind;
	plan.fd = fd;
	plan.first = first;
	plan.last = last;
	plan.answer = answer;
	plan.calls = 0;
	plan.file = NULL;
	pthread_mutex_unlock(&lock);
}

void shim_aim(int fd)
{
	pthread_mutex_lock(&lock);
	plan.fd = fd;
	pthread_mutex_unlock(&lock);
}

long shim_disarm(void)
{
	long n;

	pthread_mutex_lock(&lock);
	n = plan.calls;
	plan.kind = SHIM_NONE;
	pthread_mutex_unlock(&lock);
	return n;
}

const char *shim_site(int *line)
{
	*line = plan.line;
	return plan.file;
}

/* Counts a call. True if it is one that gets the chosen answer. */
static int chosen(int kind, int fd, int *answer)
{
	int hit = 0;

	pthread_mutex_lock(&lock);
	if (plan.kind == kind && plan.fd == fd) {
		plan.calls++;
		hit = plan.first > 0 && plan.calls >= plan.first && plan.calls <= plan.last;
		*answer = plan.answer;
	}
	pthread_mutex_unlock(&lock);
	return hit;
}

/*
 * The linker (--wrap) turns the calls of the objects that it links, which are cssl's and
 * those of Go's runtime, into calls of these. Shared libraries are not affected.
 */
ssize_t __real_recv(int fd, void *p, size_t n, int flags);
ssize_t __real_send(int fd, const void *p, size_t n, int flags);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t n, int flags);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
	int answer;

	if (chosen(SHIM_RECV, fd, &answer)) {
		if (answer == SHIM_END)
			return 0;
		if (answer > 0) {
			errno = answer;
			return -1;
		}
		n = 1;
	}
	return __real_recv(fd, p, n, flags);
}

ssize_t __wrap_send(int fd, const void *p, size_t n, int flags)
{
	int answer;

	if (chosen(SHIM_SEND, fd, &answer)) {
		if (answer > 0) {
			errno = answer;
			return -1;
		}
		n = 1;
	}
	return __real_send(fd, p, n, flags);
}

static int refused(void)
{
	int answer;

	if (!chosen(SHIM_CSSL, 0, &answer))
		return 0;
	errno = ENOMEM;
	return 1;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return refused() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return refused() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return refused() ? NULL : __real_strdup(s);
}

/* What stands before each of OpenSSL's blocks. */
typedef struct block {
	struct block *prev, *next;
	const char *file;
	int line, generation;
	max_align_t data[];
} block;

static block blocks = {&blocks, &blocks, NULL, 0, 0};
static int generation, installed;

static void *add(block *b, const char *file, int line)
{
	pthread_mutex_lock(&lock);
	b->file = file;
	b->line = line;
	b->generation = generation;
	b->prev = blocks.prev;
	b->next = &blocks;
	b->prev->next = b;
	blocks.prev = b;
	pthread_mutex_unlock(&lock);
	return b->data;
}

static block *take(void *p)
{
	block *b = (block *)((char *)p - offsetof(block, data));

	pthread_mutex_lock(&lock);
	b->prev->next = b->next;
	b->next->prev = b->prev;
	pthread_mutex_unlock(&lock);
	return b;
}

static int no_memory(const char *file, int line)
{
	int answer;

	if (!chosen(SHIM_OPENSSL, 0, &answer))
		return 0;
	plan.file = file;
	plan.line = line;
	return 1;
}

static void *openssl_malloc(size_t n, const char *file, int line)
{
	block *b;

	if (n == 0 || no_memory(file, line))
		return NULL;
	b = malloc(sizeof *b + n);
	return b == NULL ? NULL : add(b, file, line);
}

static void openssl_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	if (p != NULL)
		free(take(p));
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line)
{
	block *b, *old;

	if (p == NULL)
		return openssl_malloc(n, file, line);
	if (n == 0) {
		openssl_free(p, file, line);
		return NULL;
	}
	if (no_memory(file, line))
		return NULL;
	old = take(p);
	b = __real_realloc(old, sizeof *b + n);
	if (b == NULL) {
		add(old, file, line);
		return NULL;
	}
	return add(b, file, line);
}

/* OpenSSL takes an allocator only before its first allocation, and that is in the init of package cssl. */
__attribute__((constructor)) static void install(void)
{
	installed = CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
}

int shim_installed(void)
{
	return installed;
}

int shim_mark(void)
{
	int n;

	pthread_mutex_lock(&lock);
	n = ++generation;
	pthread_mutex_unlock(&lock);
	return n;
}

size_t shim_left(const char **files, int *lines, size_t max)
{
	const block *b;
	size_t n = 0;

	pthread_mutex_lock(&lock);
	for (b = blocks.next; b != &blocks; b = b->next) {
		if (b->generation != generation)
			continue;
		if (n < max) {
			files[n] = b->file;
			lines[n] = b->line;
		}
		n++;
	}
	pthread_mutex_unlock(&lock);
	return n;
}
