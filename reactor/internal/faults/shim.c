#include "shim.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
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

/* Counts a call. Returns 1 if the call gets the chosen answer. */
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
 * The linker (--wrap) redirects calls in the objects that it links, which are
 * cssl's and the Go runtime's, to these. Shared libraries are not affected.
 */
ssize_t __real_recv(int fd, void *p, size_t n, int flags);
ssize_t __real_send(int fd, const void *p, size_t n, int flags);
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void __real_free(void *p);

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t n, int flags);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);

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

/*
 * What is allocated and not freed: by OpenSSL, and by the linked objects (cssl
 * and C code that Go calls).
 */
static struct use {
	atomic_long blocks, bytes;
} openssl_use, linked_use;

static void *more(struct use *u, void *p)
{
	if (p != NULL) {
		atomic_fetch_add(&u->blocks, 1);
		atomic_fetch_add(&u->bytes, (long)malloc_usable_size(p));
	}
	return p;
}

static void *less(struct use *u, void *p)
{
	if (p != NULL) {
		atomic_fetch_sub(&u->blocks, 1);
		atomic_fetch_sub(&u->bytes, (long)malloc_usable_size(p));
	}
	return p;
}

void shim_use(int kind, long *count, long *bytes)
{
	struct use *u = kind == SHIM_OPENSSL ? &openssl_use : &linked_use;

	*count = atomic_load(&u->blocks);
	*bytes = atomic_load(&u->bytes);
}

int shim_trim(void)
{
	return malloc_trim(0);
}

void *__wrap_malloc(size_t n)
{
	return more(&linked_use, __real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return refused() ? NULL : more(&linked_use, __real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
	void *q;

	if (refused())
		return NULL;
	less(&linked_use, p);
	q = __real_realloc(p, n);
	if (q == NULL)
		more(&linked_use, p); /* realloc has not changed it */
	return more(&linked_use, q);
}

char *__wrap_strdup(const char *s)
{
	return refused() ? NULL : more(&linked_use, __real_strdup(s));
}

void __wrap_free(void *p)
{
	__real_free(less(&linked_use, p));
}

/* The header of each of OpenSSL's blocks. */
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
	more(&openssl_use, b);
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
	return less(&openssl_use, b);
}

/*
 * OpenSSL 3.5 crashes after some failures: if the buffer of a memory BIO could
 * not grow, SSL_free writes to it again when a record layer (new in 3.2) passes
 * on what it has read. The bug is in libssl, so these failures are left out.
 */
static int fatal_to_openssl(const char *file)
{
	return OpenSSL_version_num() >= 0x30200000L && file != NULL && strstr(file, "crypto/buffer/buffer.c") != NULL;
}

static int no_memory(const char *file, int line)
{
	int answer;

	if (fatal_to_openssl(file) || !chosen(SHIM_OPENSSL, 0, &answer))
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
	b = __real_malloc(sizeof *b + n);
	return b == NULL ? NULL : add(b, file, line);
}

static void openssl_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	if (p != NULL)
		__real_free(take(p));
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

/*
 * OpenSSL accepts an allocator only before its first allocation, which is in
 * the init of package cssl.
 */
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
