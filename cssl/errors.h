/*
 * Takes over the thread's OpenSSL error queue, in the cgo call that filled it.
 * Nothing here blocks, allocates or calls back.
 */
#ifndef CSSL_ERRORS_H
#define CSSL_ERRORS_H

/* A copy of the thread's OpenSSL error queue, oldest entry first. */
#define CSSL_MAX_REASONS 6
typedef struct {
	int count;
	struct {
		unsigned long code;
		char data[128];
	} entry[CSSL_MAX_REASONS];
} cssl_reasons;

/* Moves the thread's error queue into out and leaves the queue empty. */
void cssl_take_reasons(cssl_reasons *out);

/*
 * If not ok, moves the error queue into out. Empties the queue and returns ok.
 */
int cssl_done(int ok, cssl_reasons *out);

#endif
