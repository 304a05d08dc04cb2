/*
 * Puts itself between cssl and libc, and between OpenSSL and its allocator, so
 * that a test can choose the answer of one call.
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

/* The answer of a call that is chosen: an errno, or one of these. */
enum {
	SHIM_END = 0,    /* recv: the end of the stream */
	SHIM_SHORT = -1, /* recv, send: one byte moves */
};

/*
 * From now on the calls of this kind are counted (recv and send: those on fd; none until
 * shim_aim if fd is negative), and those from number first to number last, both
 * counted from 1, get the answer. first 0: they are counted only.
 */
void shim_arm(int kind, int fd, long first, long last, int answer);
void shim_aim(int fd);
/* Ends that. Answers how many calls there were. */
long shim_disarm(void);

/* Where in OpenSSL's source the last allocation was that was made to fail. */
const char *shim_site(int *line);

/* 1 if OpenSSL allocates through here. */
int shim_installed(void);

/* Begins a new generation of OpenSSL's blocks, and answers its number. */
int shim_mark(void);
/*
 * The blocks of this generation that were not freed: writes up to max of their sites into files and lines,
 * and answers how many blocks there are.
 */
size_t shim_left(const char **files, int *lines, size_t max);

/* How many blocks and bytes OpenSSL (SHIM_OPENSSL), or cssl with what Go calls (SHIM_CSSL), has not freed. */
void shim_use(int kind, long *count, long *bytes);
/* Gives what is free back to the system, as far as that can be. Answers whether there was any. */
int shim_trim(void);

#endif
