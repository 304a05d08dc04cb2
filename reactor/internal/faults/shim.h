/*
 * Intercepts calls of cssl to libc, and of OpenSSL to its allocator, so that a
 * test can choose what a call returns.
 */
#ifndef FAULTS_SHIM_H
#define FAULTS_SHIM_H

#include <stddef.h>

enum {
	SHIM_NONE,
	SHIM_RECV,
	SHIM_SEND,
	SHIM_OPENSSL, /* OpenSSL's malloc and realloc */
	SHIM_CSSL,    /* calloc, realloc and strdup of cssl itself */
};

/* What a chosen call returns: an errno, or one of these. */
enum {
	SHIM_END = 0,    /* recv: end of the stream */
	SHIM_SHORT = -1, /* recv, send: one byte moves */
};

/*
 * Starts counting calls of this kind from 1. Of recv and send, only those on fd
 * count; if fd is negative, none until shim_aim. Calls number first to last
 * return answer; if first is 0, calls are only counted.
 */
void shim_arm(int kind, int fd, long first, long last, int answer);
void shim_aim(int fd);
/* Stops counting and returns the number of calls. */
long shim_disarm(void);

/* Returns where in OpenSSL's source the last allocation was made to fail. */
const char *shim_site(int *line);

/* Returns 1 if OpenSSL allocates through the shim. */
int shim_installed(void);

/* Begins a new generation of OpenSSL's blocks and returns its number. */
int shim_mark(void);
/*
 * Returns how many blocks of this generation were not freed. Writes up to max
 * of their allocation sites to files and lines.
 */
size_t shim_left(const char **files, int *lines, size_t max);

/*
 * Counts the blocks and bytes not yet freed: those of OpenSSL (SHIM_OPENSSL),
 * or those of cssl and of cgo's C.CString and the like (SHIM_CSSL).
 */
void shim_use(int kind, long *count, long *bytes);
/* Returns free memory to the system. Returns 1 if there was any. */
int shim_trim(void);

#endif
