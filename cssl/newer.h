/*
 * Functions of OpenSSL that are newer than 3.0. A program that was built with
 * older headers finds them in the library that it runs with. Each is NULL where
 * that library lacks it. Nothing here blocks or calls back.
 */
#ifndef CSSL_NEWER_H
#define CSSL_NEWER_H

#include <openssl/ssl.h>
#include <stddef.h>

/* Since 3.2: certificate compression, raw public keys, sessions of a library context. */
#define CSSL_NEWER_3_2(F) \
	F(int, SSL_CTX_set1_cert_comp_preference, (SSL_CTX *, int *, size_t)) \
	F(int, SSL_set1_cert_comp_preference, (SSL *, int *, size_t)) \
	F(size_t, SSL_get1_compressed_cert, (SSL *, int, unsigned char **, size_t *)) \
	F(int, SSL_CTX_set1_compressed_cert, (SSL_CTX *, int, unsigned char *, size_t, size_t)) \
	F(int, SSL_set1_compressed_cert, (SSL *, int, unsigned char *, size_t, size_t)) \
	F(int, SSL_CTX_set1_client_cert_type, (SSL_CTX *, const unsigned char *, size_t)) \
	F(int, SSL_CTX_set1_server_cert_type, (SSL_CTX *, const unsigned char *, size_t)) \
	F(int, SSL_set1_client_cert_type, (SSL *, const unsigned char *, size_t)) \
	F(int, SSL_set1_server_cert_type, (SSL *, const unsigned char *, size_t)) \
	F(EVP_PKEY *, SSL_SESSION_get0_peer_rpk, (SSL_SESSION *)) \
	F(EVP_PKEY *, X509_STORE_CTX_get0_rpk, (const X509_STORE_CTX *)) \
	F(SSL_SESSION *, d2i_SSL_SESSION_ex, (SSL_SESSION **, const unsigned char **, long, OSSL_LIB_CTX *, const char *))

#define CSSL_DECLARE(type, name, arguments) type (*name) arguments;
typedef struct {
	CSSL_NEWER_3_2(CSSL_DECLARE)
} cssl_newer_functions;
#undef CSSL_DECLARE

/* Does not change after cssl_newer_init, which is a part of cssl_init. */
extern cssl_newer_functions cssl_newer;
void cssl_newer_init(void);

#endif
