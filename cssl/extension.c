//go:build cgo

#include "extension.h"
#include "decide.h"

#include <openssl/err.h>
#include <stdlib.h>

static const struct {
	int message;
	unsigned contexts;
} places[] = {
	{CSSL_CLIENT_HELLO, SSL_EXT_CLIENT_HELLO},
	{CSSL_SERVER_HELLO, SSL_EXT_TLS1_2_SERVER_HELLO | SSL_EXT_TLS1_3_ENCRYPTED_EXTENSIONS},
	{CSSL_CERTIFICATE_REQUEST, SSL_EXT_TLS1_3_CERTIFICATE_REQUEST},
	{CSSL_IN_CERTIFICATE, SSL_EXT_TLS1_3_CERTIFICATE},
};

enum { PLACES = sizeof places / sizeof *places };

static int message_of(unsigned context)
{
	size_t i;

	for (i = 0; i < PLACES; i++)
		if (places[i].contexts & context)
			return places[i].message;
	return 0;
}

static int add(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *len, X509 *x, size_t chain, int *alert,
               void *arg)
{
	unsigned char *p = NULL;
	int r = cssl_go_extension_add(cssl_data_of_ssl(ssl)->decisions->handle, type, message_of(context), chain, &p, len, alert);

	(void)x, (void)arg;
	*out = p;
	return r;
}

static void free_added(SSL *ssl, unsigned type, unsigned context, const unsigned char *out, void *arg)
{
	(void)ssl, (void)type, (void)context, (void)arg;
	free((void *)out);
}

static int parse(SSL *ssl, unsigned type, unsigned context, const unsigned char *in, size_t len, X509 *x, size_t chain, int *alert,
                 void *arg)
{
	(void)x, (void)arg;
	return cssl_go_extension_parse(cssl_data_of_ssl(ssl)->decisions->handle, type, message_of(context), chain, (unsigned char *)in, len,
	                               alert);
}

int cssl_ctx_extension(SSL_CTX *ctx, unsigned type, int messages, int adds, int parses, cssl_reasons *out)
{
	unsigned contexts = SSL_EXT_TLS_ONLY;
	size_t i;

	for (i = 0; i < PLACES; i++)
		if (places[i].message & messages)
			contexts |= places[i].contexts;
	ERR_clear_error();
	return cssl_done(SSL_CTX_add_custom_ext(ctx, type, contexts, adds ? add : NULL, adds ? free_added : NULL, NULL,
	                                        parses ? parse : NULL, NULL), out);
}
