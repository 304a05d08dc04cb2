//go:build cgo

#include "library.h"
#include "context.h"

#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>

int cssl_store_known(OSSL_LIB_CTX *library, const char *properties, const char *scheme)
{
	OSSL_STORE_LOADER *loader = OSSL_STORE_LOADER_fetch(library, scheme, properties);

	OSSL_STORE_LOADER_free(loader);
	ERR_clear_error();
	return loader != NULL;
}

static int refuse(UI *ui, UI_STRING *string)
{
	(void)ui;
	return UI_get_string_type(string) != UIT_PROMPT && UI_get_string_type(string) != UIT_VERIFY;
}

static int no_words(UI *ui, UI_STRING *string)
{
	(void)ui, (void)string;
	return 1;
}

/* The method lives as long as the process. */
int cssl_store_init(void)
{
	UI_METHOD *none = UI_create_method("no terminal");

	if (none == NULL || UI_method_set_reader(none, refuse) != 0 || UI_method_set_writer(none, no_words) != 0)
		return 0;
	UI_set_default_method(none);
	return 1;
}

static int ask_pin(char *buf, int size, int writing, void *arg)
{
	(void)writing;
	return cssl_go_pin((uintptr_t)arg, buf, size);
}

EVP_PKEY *cssl_store_key(OSSL_LIB_CTX *library, const char *properties, const char *uri, uintptr_t pin, int *keys,
                         cssl_reasons *out)
{
	EVP_PKEY *key = NULL;
	OSSL_STORE_CTX *store = NULL;
	UI_METHOD *ui;

	ERR_clear_error();
	*keys = 0;
	ui = UI_UTIL_wrap_read_pem_callback(ask_pin, 0);
	if (ui != NULL)
		store = OSSL_STORE_open_ex(uri, library, properties, ui, (void *)pin, NULL, NULL, NULL);
	if (store != NULL && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY)) {
		while (!OSSL_STORE_eof(store)) {
			OSSL_STORE_INFO *info = OSSL_STORE_load(store);

			if (info == NULL && OSSL_STORE_error(store))
				break;
			if (info != NULL && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY && ++*keys == 1)
				key = OSSL_STORE_INFO_get1_PKEY(info);
			OSSL_STORE_INFO_free(info);
		}
	}
	if (*keys != 1) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	cssl_done(key != NULL, out);
	OSSL_STORE_close(store);
	UI_destroy_method(ui);
	return key;
}
