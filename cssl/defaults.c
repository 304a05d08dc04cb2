//go:build cgo

#include "context.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

/*
 * Takes from the TLS 1.2 ciphers that OpenSSL or the system's policy chose those without forward secrecy (static RSA, PSK)
 * and those that are not AEAD (CBC). It picks among them, so that a stricter policy stays in force. A policy
 * with nothing of the kind is left as it is.
 */
int cssl_default_ciphers(SSL_CTX *ctx)
{
	/* OpenSSL 3 has some 30 names that can be picked, of at most 32 bytes. */
	char list[4096];
	size_t length = 0;
	const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);

	for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
		const SSL_CIPHER *c = sk_SSL_CIPHER_value(all, i);
		int kx = SSL_CIPHER_get_kx_nid(c), auth = SSL_CIPHER_get_auth_nid(c);
		size_t n = strlen(SSL_CIPHER_get_name(c));

		if (!SSL_CIPHER_is_aead(c) || (kx != NID_kx_ecdhe && kx != NID_kx_dhe) ||
		    (auth != NID_auth_rsa && auth != NID_auth_ecdsa))
			continue;
		if (length + n + 2 > sizeof list)
			break;
		if (length > 0)
			list[length++] = ':';
		memcpy(list + length, SSL_CIPHER_get_name(c), n + 1);
		length += n;
	}
	return length == 0 || SSL_CTX_set_cipher_list(ctx, list);
}

/*
 * Sets the groups on elliptic curves, and the hybrid with ML-KEM where there is one. OpenSSL's own default has
 * ffdhe2048 to ffdhe8192 too, among which the client may choose: the largest costs a server 77 times as much as X25519
 * (CVE-2002-20001). A provider may lack some, and those are left out.
 *
 * From 3.5 on the list has OpenSSL's own form: a client sends a key share for each group with an asterisk, so that a
 * server without ML-KEM costs it no second round trip; a server takes from the first part (up to a slash) that has a group in
 * common, and there one that the client sent a share for.
 *
 * dhe: also the two smallest over finite fields, last. From 4.0 on a server makes a DHE of TLS 1.2 only in a group of its list, if the
 * client names any such group (RFC 7919, section 4); before, it makes one in the group of SSL_CTX_set_dh_auto.
 */
int cssl_default_groups(SSL_CTX *ctx, int dhe)
{
	static const char *const names[] = {"X25519", "P-256", "X448", "P-384", "P-521"};
	char list[64] = "";

	if (dhe && OpenSSL_version_num() >= 0x40000000L)
		return (int)SSL_CTX_set1_groups_list(ctx, "?*X25519MLKEM768 / ?*X25519:?P-256 / ?X448:?P-384:?P-521 / ?ffdhe2048:?ffdhe3072");
	if (OpenSSL_version_num() >= 0x30500000L)
		return (int)SSL_CTX_set1_groups_list(ctx, "?*X25519MLKEM768 / ?*X25519:?P-256 / ?X448:?P-384:?P-521");
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (!SSL_CTX_set1_groups_list(ctx, names[i]))
			continue;
		if (list[0] != 0)
			strcat(list, ":");
		strcat(list, names[i]); /* all of them take 30 bytes */
	}
	ERR_clear_error();
	return list[0] == 0 || SSL_CTX_set1_groups_list(ctx, list);
}
