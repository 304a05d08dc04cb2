/*
 * Early data (RFC 8446, section 2.3). Nothing here blocks or calls Go, except
 * the operations cssl_read_early and cssl_write_early: see conn.h.
 */
#ifndef CSSL_EARLYDATA_H
#define CSSL_EARLYDATA_H

#include "conn.h"

#include <openssl/ssl.h>

/*
 * Both are in conn.c; see SSL_read_early_data(3) and SSL_write_early_data(3).
 * They return CSSL_BAD_STATE if they are not possible now. cssl_read_early
 * returns CSSL_END when there is no more; then cssl_handshake continues.
 * cssl_write_early writes only a part of buf if the limit or the room is
 * smaller.
 */
cssl_result cssl_read_early(cssl_conn *c, unsigned char *buf, size_t len);
cssl_result cssl_write_early(cssl_conn *c, const unsigned char *buf, size_t len);
/*
 * Ends a server's early data while the handshake waits for the decision on the
 * ClientHello. What still arrives is discarded, and cssl_handshake continues.
 */
void cssl_early_give_up(cssl_conn *c);
/* Returns how many bytes of early data a client may still write. */
uint32_t cssl_early_room(cssl_conn *c);
/* Returns how much early data this session, in DER, allows; or 0. */
uint32_t cssl_session_early(const unsigned char *der, long len);

#endif
