//go:build cgo

#include "beside.h"
#include "conn_private.h"
#include "newer.h"
#include "session.h"

#include <endian.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/*
 * Limits how long a session may be used, and decides whether a client offers
 * one. In TLS 1.3 OpenSSL starts the lifetime anew with each ticket, and it
 * checks a certificate's dates only in full handshakes. So each session carries
 * its lifetime in its application data (SSL_SESSION_set1_ticket_appdata),
 * followed by the identity of the PSK it derives from, if any.
 */
typedef struct {
	int64_t born;  /* time of the full handshake, in seconds since 1970; 0 is not set yet */
	int64_t until; /* when the first certificate of the peer's chain expires; 0 is never */
} life;

_Static_assert(sizeof(life) == CSSL_LIFE, "what psk.c leaves room for");

/* Converts from and to the byte order in a session. */
static life swapped(life l)
{
	return (life){(int64_t)htobe64((uint64_t)l.born), (int64_t)htobe64((uint64_t)l.until)};
}

/* Returns the lifetime in s; all zero if there is none. */
static life life_of(SSL_SESSION *s)
{
	life l = {0, 0};
	void *p;
	size_t len;

	if (SSL_SESSION_get0_ticket_appdata(s, &p, &len) && len >= sizeof l)
		memcpy(&l, p, sizeof l);
	return swapped(l);
}

/*
 * Stores l in s, which no other connection may share. Returns 0 if out of
 * memory.
 */
static int put_life(SSL_SESSION *s, life l)
{
	void *p;
	size_t len;

	l = swapped(l);
	if (!SSL_SESSION_get0_ticket_appdata(s, &p, &len) || len < sizeof l)
		return SSL_SESSION_set1_ticket_appdata(s, &l, sizeof l);
	memcpy(p, &l, sizeof l);
	return 1;
}

/* Returns when x expires. A date that cannot be parsed counts as expired. */
static int64_t end_of(const X509 *x, int64_t now)
{
	int days, seconds;
	int64_t end;

	if (!ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)))
		return 1;
	end = now + (int64_t)days * 86400 + seconds;
	return end > 0 ? end : 1;
}

/*
 * Returns when the first certificate of the peer's chain expires; 0 is never.
 * before is the value of the session that was resumed, in which case there is
 * no chain.
 */
static int64_t vouched_until(SSL *ssl, int64_t before, int64_t now)
{
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	int64_t until = 0;

	if (SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE)
		return 0;
	if (sk_X509_num(chain) <= 0)
		return before;
	for (int i = 0; i < sk_X509_num(chain); i++) {
		int64_t end = end_of(sk_X509_value(chain, i), now);

		if (until == 0 || end < until)
			until = end;
	}
	return until;
}

/* Returns when a session with this lifetime ends for connections of ctx. */
static int64_t end_of_life(const SSL_CTX *ctx, const life *l)
{
	int64_t end = l->born + (int64_t)cssl_data_of_ctx(ctx)->session_lifetime;

	return l->until != 0 && l->until < end ? l->until : end;
}

/*
 * Sets the timeout of s in OpenSSL, which TLS 1.3 also sends to the client. A
 * session that has ended loses its session id context, so it cannot be resumed.
 */
static void bound(SSL *ssl, SSL_SESSION *s, const life *l, int64_t now)
{
	SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
	int64_t left = end_of_life(ctx, l) - now;

	if (left < 1) {
		SSL_SESSION_set1_id_context(s, (const unsigned char *)"", 0);
		left = 1; /* OpenSSL reads 0 back as 3 */
	}
	SSL_SESSION_set_timeout(s, left < SSL_CTX_get_timeout(ctx) ? (long)left : SSL_CTX_get_timeout(ctx));
}

/*
 * Returns 1 unless ctx checks revocation, and peer is on a list or no list is
 * current: then a full handshake must decide. The signatures of the lists are
 * not checked here; the lists are the operator's own files.
 */
static int unrevoked(SSL_CTX *ctx, X509 *peer)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	STACK_OF(X509_CRL) *lists = NULL;
	X509_STORE_CTX *x;
	X509_REVOKED *entry;
	int ok = 0;

	if (peer == NULL || (X509_VERIFY_PARAM_get_flags(X509_STORE_get0_param(store)) & X509_V_FLAG_CRL_CHECK) == 0)
		return 1;
	x = X509_STORE_CTX_new();
	if (x != NULL && X509_STORE_CTX_init(x, store, peer, NULL))
		lists = X509_STORE_CTX_get1_crls(x, X509_get_issuer_name(peer));
	for (int i = 0; i < sk_X509_CRL_num(lists); i++) {
		X509_CRL *crl = sk_X509_CRL_value(lists, i);
		const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);

		if (X509_CRL_get0_by_cert(crl, &entry, peer) == 1) {
			ok = 0;
			break;
		}
		ok = ok || next == NULL || ASN1_TIME_cmp_time_t(next, time(NULL)) > 0;
	}
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
	X509_STORE_CTX_free(x);
	return ok;
}

/*
 * Returns 1 if s may be resumed now: its lifetime has not ended, and its peer
 * is not revoked.
 */
static int alive(SSL *ssl, SSL_SESSION *s)
{
	SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
	life l = life_of(s);

	return l.born != 0 && time(NULL) <= end_of_life(ctx, &l) && unrevoked(ctx, SSL_SESSION_get0_peer(s));
}

/*
 * The callbacks of a server, which run inside a handshake. They call no Go, and
 * leave OpenSSL's error queue as it was.
 */

/* A ticket is about to be made from the connection's session. */
static int on_new_ticket(SSL *ssl, void *arg)
{
	SSL_SESSION *s = SSL_get_session(ssl);
	int64_t now = time(NULL);
	life l;
	int ok;

	(void)arg;
	if (SSL_session_reused(ssl) && SSL_version(ssl) < TLS1_3_VERSION)
		return 1; /* same session, new key; other connections may share it */
	ERR_set_mark();
	l = life_of(s);
	if (l.born == 0)
		l.born = now;
	l.until = vouched_until(ssl, l.until, now);
	bound(ssl, s, &l, now);
	ok = put_life(s, l);
	ERR_pop_to_mark();
	return ok;
}

/*
 * OpenSSL calls this for tickets only. Sessions in the cache belong to this
 * Context, and bound limits them.
 */
static SSL_TICKET_RETURN on_old_ticket(SSL *ssl, SSL_SESSION *s, const unsigned char *name, size_t name_len,
                                       SSL_TICKET_STATUS status, void *arg)
{
	int ok;

	(void)name, (void)name_len, (void)arg;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	ERR_set_mark();
	ok = alive(ssl, s) && cssl_psk_known(SSL_get_SSL_CTX(ssl), s);
	ERR_pop_to_mark();
	if (!ok)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* A session was added to the cache. TLS 1.3 also makes tickets from those. */
static int on_cached(SSL *ssl, SSL_SESSION *s)
{
	int64_t now = time(NULL);
	life l = {now, 0};

	if (SSL_version(ssl) < TLS1_3_VERSION) {
		ERR_set_mark();
		l.until = vouched_until(ssl, 0, now);
		bound(ssl, s, &l, now);
		ERR_pop_to_mark();
	}
	return 0; /* no reference is kept */
}

void cssl_sessions_bound(SSL_CTX *ctx)
{
	SSL_CTX_sess_set_new_cb(ctx, on_cached);
	SSL_CTX_set_session_ticket_cb(ctx, on_new_ticket, on_old_ticket, NULL);
}

/*
 * A resumed handshake shows no certificate. So the session's peer must match
 * the name that this connection asks for, and must have been verified by a
 * Context with the same settings.
 */
static int session_fits(SSL *ssl, SSL_SESSION *s, const unsigned char *session_id_context, const char *name, int is_ip,
                        int check_name)
{
	unsigned len;
	const unsigned char *id = SSL_SESSION_get0_id_context(s, &len);
	const char *host = SSL_SESSION_get0_hostname(s);
	X509 *peer = SSL_SESSION_get0_peer(s);

	if (len != 32 || memcmp(id, session_id_context, len) != 0 || !alive(ssl, s))
		return 0;
	if (check_name && is_ip && cssl_raw_key_of_session(s) != NULL)
		return 0; /* a key is for no name, and a session keeps no address: the application must see the key again */
	if (!check_name || cssl_raw_key_of_session(s) != NULL)
		return name == NULL || is_ip || (host != NULL && strcasecmp(host, name) == 0);
	if (peer == NULL)
		return 0;
	if (is_ip)
		return X509_check_ip_asc(peer, name, 0) == 1;
	return X509_check_host(peer, name, 0, X509_VERIFY_PARAM_get_hostflags(SSL_get0_param(ssl)), NULL) == 1;
}

int cssl_ssl_set_session(SSL *ssl, const unsigned char *der, long len, const unsigned char *session_id_context,
                         const char *name, int is_ip, int check_name, cssl_reasons *out)
{
	const cssl_ctx_data *d = cssl_data_of_ctx(SSL_get_SSL_CTX(ssl));
	SSL_SESSION *s;
	int ok;

	ERR_clear_error();
	if (cssl_newer.d2i_SSL_SESSION_ex != NULL)
		s = cssl_newer.d2i_SSL_SESSION_ex(NULL, &der, len, d->library, d->properties);
	else
		s = d2i_SSL_SESSION(NULL, &der, len);
	ok = s != NULL && (!session_fits(ssl, s, session_id_context, name, is_ip, check_name) || SSL_set_session(ssl, s));
	SSL_SESSION_free(s);
	return cssl_done(ok, out);
}

/*
 * Adds to a client's session its lifetime and the name it is for, which OpenSSL
 * stores only if the server acknowledged it.
 */
static int complete(const cssl_conn *c, SSL_SESSION *s)
{
	const char *name = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);
	life l = life_of(s);

	if (l.born == 0)
		l.born = c->born;
	l.until = vouched_until(c->ssl, l.until, time(NULL));
	return put_life(s, l) && (name == NULL || SSL_SESSION_get0_hostname(s) != NULL || SSL_SESSION_set1_hostname(s, name));
}

long cssl_conn_session(const cssl_conn *c, unsigned char **out)
{
	SSL_SESSION *live = c->ssl != NULL ? SSL_get0_session(c->ssl) : NULL, *s = NULL;
	long n = 0;

	*out = NULL;
	if (c->established && live != NULL && SSL_SESSION_is_resumable(live))
		s = SSL_SESSION_dup(live);
	if (s != NULL && complete(c, s)) {
		n = i2d_SSL_SESSION(s, NULL);
		*out = n > 0 ? malloc((size_t)n) : NULL;
		if (*out != NULL) {
			unsigned char *p = *out;
			n = i2d_SSL_SESSION(s, &p);
		} else {
			n = 0;
		}
	}
	SSL_SESSION_free(s);
	ERR_clear_error();
	return n;
}
