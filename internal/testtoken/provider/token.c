/* The files of the token, and its errors. */
#include "token.h"

#include <stdarg.h>
#include <stdio.h>

OSSL_LIB_CTX *inside;
static const OSSL_CORE_HANDLE *core;
static OSSL_FUNC_core_new_error_fn *new_error;
static OSSL_FUNC_core_vset_error_fn *vset_error;

void set_functions(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in)
{
	core = handle;
	for (; in->function_id != 0; in++) {
		if (in->function_id == OSSL_FUNC_CORE_NEW_ERROR)
			new_error = OSSL_FUNC_core_new_error(in);
		else if (in->function_id == OSSL_FUNC_CORE_VSET_ERROR)
			vset_error = OSSL_FUNC_core_vset_error(in);
	}
}

void set_error(unsigned reason, const char *format, ...)
{
	va_list args;

	new_error(core);
	va_start(args, format);
	vset_error(core, reason, format, args);
	va_end(args);
}

int content(const char *name, char *buf, size_t size)
{
	char path[4096];
	FILE *f;
	size_t n;

	snprintf(path, sizeof path, "%s/%s", TOKEN_DIR, name);
	if ((f = fopen(path, "r")) == NULL)
		return -1;
	n = fread(buf, 1, size - 1, f);
	buf[n] = 0;
	fclose(f);
	return (int)n;
}

int gone(void)
{
	char c[2];

	if (content("gone", c, sizeof c) < 0)
		return 0;
	set_error(REASON_GONE, NULL);
	return 1;
}
