/*
 * Protection of records on EVP, after the handshake: keys, nonces, sealing and
 * opening (RFC 8446, section 5.2; RFC 5288 and RFC 7905 for TLS 1.2). No SSL
 * and no socket. Nothing here blocks or calls back. Functions that return int
 * return 1 on success and 0 on failure, unless their comment says otherwise.
 */
#ifndef CSSL_RECORD_H
#define CSSL_RECORD_H

#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CSSL_HEADER = SSL3_RT_HEADER_LENGTH,
	CSSL_MAX_SECRET = 48, /* the longest hash of a suite; also a master secret */
	CSSL_TAG = 16,
	/* The most that sealing adds: header, explicit nonce, content type, tag. */
	CSSL_OVERHEAD = CSSL_HEADER + 8 + 1 + CSSL_TAG,
};

/* A cipher suite with AEAD: AES-GCM or ChaCha20-Poly1305. */
typedef struct {
	uint16_t id;     /* the number assigned by IANA */
	uint8_t cipher;  /* the index in cssl_algorithms.ciphers */
	uint8_t tls13;
	uint8_t explicit; /* bytes of the nonce that each record carries */
	uint8_t key, hash; /* lengths */
	const char *digest;
} cssl_suite;

/* Returns NULL for a suite that is not in the table, such as one with CBC. */
const cssl_suite *cssl_suite_find(unsigned id);

enum { CSSL_AES_128_GCM, CSSL_AES_256_GCM, CSSL_CHACHA20_POLY1305, CSSL_CIPHERS };

/*
 * What one SSL_CTX fetches, from its library context and with its properties.
 * What the providers do not have is NULL.
 */
typedef struct {
	EVP_CIPHER *ciphers[CSSL_CIPHERS];
	EVP_KDF *tls13, *tls12;
} cssl_algorithms;

void cssl_algorithms_fetch(cssl_algorithms *a, OSSL_LIB_CTX *library, const char *properties);
void cssl_algorithms_free(cssl_algorithms *a);

/* The key of one direction. */
typedef struct {
	EVP_CIPHER_CTX *ctx; /* or NULL while the direction is idle */
	uint64_t seq;        /* the sequence number of the next record */
	unsigned char secret[CSSL_MAX_SECRET]; /* TLS 1.3: the traffic secret */
	unsigned char key[32], iv[12];
	unsigned char keyed; /* ctx has key */
} cssl_key;

typedef struct {
	const cssl_suite *suite;
	const cssl_algorithms *algorithms; /* of an SSL_CTX that outlives this */
	uint64_t nonce;                    /* TLS 1.2: the explicit nonce that we sent with sequence number 0 */
	cssl_key read, write;
} cssl_records;

/*
 * cssl_keys_tls13 derives key and iv of a direction from its secret. The
 * sequence number stays. cssl_keys_tls12 derives both directions from the
 * master secret and the randoms, the server's first.
 */
int cssl_keys_tls13(cssl_records *r, cssl_key *k);
int cssl_keys_tls12(cssl_records *r, int server, const unsigned char *master, const unsigned char *randoms);
/* Moves a direction to its next secret (RFC 8446, section 7.2). */
int cssl_keys_update(cssl_records *r, cssl_key *k);
/* Frees the contexts of the ciphers. The next record makes them again. */
void cssl_keys_idle(cssl_records *r);
/* Frees and wipes all of r. */
void cssl_keys_wipe(cssl_records *r);

/*
 * HKDF-Expand-Label (RFC 8446, section 7.1) with the hash of the suite. data
 * may be NULL.
 */
int cssl_expand(const cssl_records *r, const unsigned char *secret, const char *label, size_t label_len,
                const unsigned char *data, size_t data_len, unsigned char *out, size_t len);
/* The pseudorandom function of TLS 1.2 (RFC 5246, section 5). */
int cssl_prf(const cssl_records *r, const unsigned char *master, const unsigned char *seed, size_t seed_len, unsigned char *out,
             size_t len);

/*
 * Seals n bytes of content type type into a record at out, which has room for n
 * + CSSL_OVERHEAD bytes. in and out must not overlap. Returns the length of the
 * record, or 0 on failure; then no record may follow.
 */
size_t cssl_seal(cssl_records *r, unsigned char *out, const unsigned char *in, size_t n, int type);

/*
 * Opens the record at p, in place. body is what its header says, and all of it
 * is at p. On success *plain and *n are the plaintext; in TLS 1.3 it ends with
 * the content type and padding. Returns 0 if the record is not authentic, and
 * -1 if it could not be checked. The record's bytes are then undefined.
 */
int cssl_open(cssl_records *r, cssl_key *k, unsigned char *p, size_t body, unsigned char **plain, size_t *n);

#endif
