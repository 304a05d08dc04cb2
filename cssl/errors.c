//go:build cgo

#include "errors.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

/*
 * OpenSSL 3.2 and newer add this after each failure of their record layer; the
 * headers of 3.0 lack it.
 */
#ifndef SSL_R_RECORD_LAYER_FAILURE
#define SSL_R_RECORD_LAYER_FAILURE 313
#endif

void cssl_take_reasons(cssl_reasons *out)
{
	unsigned long code;
	const char *data;
	int flags;

	out->count = 0;
	while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
		if (out->count == CSSL_MAX_REASONS)
			continue;
		if (out->count > 0 && ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_RECORD_LAYER_FAILURE)
			continue; /* the reason before it says what failed */
		out->entry[out->count].code = code;
		out->entry[out->count].data[0] = 0;
		if ((flags & ERR_TXT_STRING) && data != NULL)
			strncat(out->entry[out->count].data, data, sizeof out->entry[0].data - 1);
		out->count++;
	}
}

int cssl_done(int ok, cssl_reasons *out)
{
	if (!ok)
		cssl_take_reasons(out);
	ERR_clear_error();
	return ok;
}
