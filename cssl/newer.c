//go:build cgo

#include "newer.h"

#include <dlfcn.h>

cssl_newer_functions cssl_newer;

/* POSIX lets dlsym return functions; ISO C has no cast for that. */
#define LOOK_UP(type, name, arguments) *(void **)&cssl_newer.name = dlsym(RTLD_DEFAULT, #name);
#define LINK(type, name, arguments) cssl_newer.name = name;

void cssl_newer_init(void)
{
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
	CSSL_NEWER_3_2(LINK)
#else
	CSSL_NEWER_3_2(LOOK_UP)
#endif
}
