//go:build cgo

#include "exdata.h"

static int ctx_index = -1, ssl_index = -1;

int cssl_exdata_init(CRYPTO_EX_free *free_ctx)
{
	ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_ctx);
	ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return ctx_index >= 0 && ssl_index >= 0;
}

int cssl_data_set_ctx(SSL_CTX *ctx, cssl_ctx_data *d)
{
	return SSL_CTX_set_ex_data(ctx, ctx_index, d);
}

cssl_ctx_data *cssl_data_of_ctx(const SSL_CTX *ctx)
{
	return SSL_CTX_get_ex_data(ctx, ctx_index);
}

int cssl_data_set_ssl(SSL *ssl, cssl_ssl_data *d)
{
	return SSL_set_ex_data(ssl, ssl_index, d);
}

cssl_ssl_data *cssl_data_of_ssl(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, ssl_index);
}
