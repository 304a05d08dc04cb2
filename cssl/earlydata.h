/*
 * Early data (RFC 8446, section 2.3). Nothing here blocks or calls Go, but for
 * cssl_read_early and cssl_write_early: they are operations, of which conn.h
 * says what can fire.
 */
#ifndef CSSL_EARLYDATA_H
#define CSSL_EARLYDATA_H

#include "conn.h"

#include <openssl/ssl.h>

/*
 * Both are in conn.c; see SSL_read_early_data(3). read answers CSSL_END when
 * there is no more; then cssl_handshake goes on. Both answer CSSL_BAD_STATE
 * where they make no sense. write takes a part of buf where the limit, or the
 * room, is no larger.
 */
cssl_result cssl_read_early(cssl_conn *c, unsigned char *buf, size_t len);
cssl_result cssl_write_early(cssl_conn *c, const unsigned char *buf, size_t len);
/*
 * Ends a server's early data while it waits for the decision on the
 * ClientHello: what comes of it is thrown away, and cssl_handshake goes on.
 */
void cssl_early_give_up(cssl_conn *c);
/* How many bytes of early data a client may still write. */
uint32_t cssl_early_room(cssl_conn *c);
/* 1 on success. */
int cssl_ssl_export_early(SSL *ssl, void *buf, size_t len, const char *label, size_t label_len, const void *context,
                          size_t context_len, cssl_reasons *out);
/* How much early data the server of a session in DER takes; 0 is none. */
uint32_t cssl_session_early(const unsigned char *der, long len);

#endif
