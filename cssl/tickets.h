/*
 * Ticket keys that the application gives. Nothing here calls into Go or blocks.
 */
#ifndef CSSL_TICKETS_H
#define CSSL_TICKETS_H

#include "errors.h"
#include "exdata.h"

#include <openssl/ssl.h>
#include <stddef.h>

/*
 * A ticket key's length: name, AES key and HMAC key of 16 bytes each; or name,
 * HMAC key and AES key of 16, 32 and 32.
 */
enum { CSSL_TICKET_KEY_SHORT = 48, CSSL_TICKET_KEY_LONG = 80 };
/*
 * Ticket keys, count of them of len bytes each. The first one encrypts. ctx
 * keeps a copy, which is wiped when it is freed. 1, or 0 with the reasons in
 * out.
 */
int cssl_ctx_ticket_keys(SSL_CTX *ctx, const unsigned char *keys, size_t len, size_t count, cssl_reasons *out);
/* For what is kept beside an SSL_CTX. k may be NULL. */
void cssl_ticket_keys_free(cssl_ticket_keys *k);

/*
 * A part of changing to another SSL_CTX: ssl keeps the keys of the one that it
 * began with.
 */
void cssl_tickets_switch(SSL *ssl, SSL_CTX *from);

#endif
