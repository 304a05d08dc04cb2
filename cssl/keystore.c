//go:build cgo

#include "library.h"

#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>

int cssl_keystore_known(OSSL_LIB_CTX *library, const char *properties, const char *scheme)
{
	OSSL_STORE_LOADER *loader = OSSL_STORE_LOADER_fetch(library, scheme, properties);

	OSSL_STORE_LOADER_free(loader);
	ERR_clear_error();
	return loader != NULL;
}

/*
 * A UI reader returns 1 if it has set the result or there is none to set, and 0
 * to give up.
 */

static int refuse(UI *ui, UI_STRING *string)
{
	(void)ui;
	return UI_get_string_type(string) != UIT_PROMPT && UI_get_string_type(string) != UIT_VERIFY;
}

/*
 * The user data of the UI is a handle for cssl_go_pin. OpenSSL wipes its copy
 * of the PIN; this wipes ours.
 */
static int ask_pin(UI *ui, UI_STRING *string)
{
	char pin[1024];
	int max = UI_get_result_maxsize(string), n, ok;

	if (UI_get_string_type(string) != UIT_PROMPT)
		return refuse(ui, string);
	n = cssl_go_pin((uintptr_t)UI_get0_user_data(ui), pin, max < (int)sizeof pin ? max : (int)sizeof pin);
	ok = n >= 0 && UI_set_result_ex(ui, string, pin, n) == 0;
	OPENSSL_cleanse(pin, sizeof pin);
	return ok;
}

static int no_words(UI *ui, UI_STRING *string)
{
	(void)ui, (void)string;
	return 1;
}

static UI_METHOD *pin_method; /* never freed, like the default one */

int cssl_keystore_init(void)
{
	UI_METHOD *none = UI_create_method("no terminal");

	pin_method = UI_create_method("PIN");
	if (none == NULL || pin_method == NULL || UI_method_set_reader(none, refuse) != 0 ||
	    UI_method_set_writer(none, no_words) != 0 || UI_method_set_reader(pin_method, ask_pin) != 0 ||
	    UI_method_set_writer(pin_method, no_words) != 0)
		return 0;
	UI_set_default_method(none);
	return 1;
}

EVP_PKEY *cssl_keystore_key(OSSL_LIB_CTX *library, const char *properties, const char *uri, uintptr_t pin, int *keys,
                         cssl_reasons *out)
{
	EVP_PKEY *key = NULL;
	OSSL_STORE_CTX *store;

	ERR_clear_error();
	*keys = 0;
	store = OSSL_STORE_open_ex(uri, library, properties, pin_method, (void *)pin, NULL, NULL, NULL);
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
	return key;
}
