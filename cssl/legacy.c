//go:build cgo

#include "context.h"
#include "exdata.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

/*
 * What TLS 1.0 and 1.1 need and nothing else does: security level 0 (SSL_CTX_set_security_level(3): their signatures are
 * of SHA-1 and MD5), a suite that is not of TLS 1.2, and the digest of those signatures, which no FIPS provider has.
 */
int cssl_legacy_lacks(const SSL_CTX *ctx, int *level)
{
	const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);
	const cssl_ctx_data *d = cssl_data_of_ctx(ctx);
	EVP_MD *digest;

	*level = SSL_CTX_get_security_level(ctx);
	ERR_clear_error();
	digest = EVP_MD_fetch(d->library, "MD5-SHA1", d->properties);
	EVP_MD_free(digest);
	ERR_clear_error();
	if (digest == NULL)
		return CSSL_LEGACY_DIGEST;
	if (*level > 0)
		return CSSL_LEGACY_LEVEL;
	for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
		const char *since = SSL_CIPHER_get_version(sk_SSL_CIPHER_value(all, i));

		if (strcmp(since, "TLSv1.2") != 0 && strcmp(since, "TLSv1.3") != 0)
			return CSSL_LEGACY_OK;
	}
	return CSSL_LEGACY_SUITES;
}
