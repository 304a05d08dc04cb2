//go:build cgo

#include "library.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <openssl/x509v3.h>
#include <string.h>

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

/*
 * Adds the certificates that uri names to certs, or returns the number of
 * private keys, the first of which is *key. Where certs is NULL it wants keys.
 * Returns -1 if a certificate cannot be read.
 */
static int load(OSSL_LIB_CTX *library, const char *properties, const char *uri, uintptr_t pin, STACK_OF(X509) *certs, EVP_PKEY **key)
{
	int type = certs != NULL ? OSSL_STORE_INFO_CERT : OSSL_STORE_INFO_PKEY, found = 0;
	OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, library, properties, pin_method, (void *)pin, NULL, NULL, NULL);

	if (store != NULL && OSSL_STORE_expect(store, type)) {
		while (found >= 0 && !OSSL_STORE_eof(store)) {
			OSSL_STORE_INFO *info = OSSL_STORE_load(store);

			if (info == NULL && OSSL_STORE_error(store)) {
				if (certs != NULL && !OSSL_STORE_eof(store)) /* the end of a PEM file is an error too */
					found = -1;
				break;
			}
			if (info != NULL && OSSL_STORE_INFO_get_type(info) == type) {
				found++;
				if (certs != NULL && !X509_add_cert(certs, OSSL_STORE_INFO_get0_CERT(info), X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP))
					found = -1;
				else if (certs == NULL && found == 1)
					*key = OSSL_STORE_INFO_get1_PKEY(info);
			}
			OSSL_STORE_INFO_free(info);
		}
	}
	OSSL_STORE_close(store);
	return found;
}

EVP_PKEY *cssl_keystore_key(OSSL_LIB_CTX *library, const char *properties, const char *uri, uintptr_t pin, int *keys,
                            cssl_reasons *out)
{
	EVP_PKEY *key = NULL;

	ERR_clear_error();
	*keys = load(library, properties, uri, pin, NULL, &key);
	if (*keys != 1) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	cssl_done(key != NULL, out);
	return key;
}

/* Returns 1 if certificate i issued another one of certs. */
static int is_issuer(const STACK_OF(X509) *certs, int i)
{
	for (int j = 0; j < sk_X509_num(certs); j++)
		if (j != i && X509_check_issued(sk_X509_value(certs, i), sk_X509_value(certs, j)) == X509_V_OK)
			return 1;
	return 0;
}

/*
 * Moves certificates to a new chain: the leaf, which is the first that issued
 * no other, its issuers, theirs, and so on. Those outside of the chain are left
 * in certs. The caller frees both. Returns NULL if out of memory.
 */
static STACK_OF(X509) *in_order(STACK_OF(X509) *certs)
{
	int count = sk_X509_num(certs), leaf = 0;
	STACK_OF(X509) *chain = sk_X509_new_reserve(NULL, count);

	if (chain == NULL || count == 0)
		return chain;
	while (leaf < count && is_issuer(certs, leaf))
		leaf++;
	sk_X509_push(chain, sk_X509_delete(certs, leaf < count ? leaf : 0));
	for (int i = 0; i < sk_X509_num(chain); i++)
		for (int j = 0; j < sk_X509_num(certs);)
			if (X509_check_issued(sk_X509_value(certs, j), sk_X509_value(chain, i)) == X509_V_OK)
				sk_X509_push(chain, sk_X509_delete(certs, j));
			else
				j++;
	return chain;
}

/*
 * Writes certs in order, and the key unless it is NULL, in PEM. Returns NULL on
 * failure, or if there is no certificate or one outside of the chain.
 */
static BIO *put_pem(OSSL_LIB_CTX *library, const char *properties, STACK_OF(X509) *certs, EVP_PKEY *key, cssl_keystore *found)
{
	STACK_OF(X509) *chain = in_order(certs);
	BIO *pem = BIO_new(BIO_s_secmem());
	int ok;

	found->certs = chain != NULL ? sk_X509_num(chain) : 0;
	found->outside = sk_X509_num(certs);
	ok = pem != NULL && found->certs > 0 && found->outside == 0;
	for (int i = 0; ok && i < found->certs; i++)
		ok = PEM_write_bio_X509(pem, sk_X509_value(chain, i));
	if (ok && key != NULL)
		ok = PEM_write_bio_PrivateKey_ex(pem, key, NULL, NULL, 0, NULL, NULL, library, properties);
	sk_X509_pop_free(chain, X509_free);
	if (ok)
		return pem;
	BIO_free(pem);
	return NULL;
}

BIO *cssl_keystore_chain(OSSL_LIB_CTX *library, const char *properties, const char *uri, uintptr_t pin, cssl_keystore *found,
                         cssl_reasons *out)
{
	STACK_OF(X509) *certs = sk_X509_new_null();
	BIO *pem = NULL;

	ERR_clear_error();
	memset(found, 0, sizeof *found);
	if (certs != NULL && load(library, properties, uri, pin, certs, NULL) > 0)
		pem = put_pem(library, properties, certs, NULL, found);
	sk_X509_pop_free(certs, X509_free);
	cssl_done(pem != NULL, out);
	return pem;
}

BIO *cssl_keystore_pkcs12(OSSL_LIB_CTX *library, const char *properties, const void *p, int len, const char *passphrase, int want_key,
                          cssl_keystore *found, cssl_reasons *out)
{
	const int flags = X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP;
	PKCS12 *p12 = PKCS12_init_ex(NID_pkcs7_data, library, properties);
	BIO *in = BIO_new_mem_buf(p, len), *pem = NULL;
	STACK_OF(X509) *certs = sk_X509_new_null(), *others = NULL;
	const ASN1_INTEGER *rounds = NULL;
	EVP_PKEY *key = NULL;
	X509 *leaf = NULL;

	ERR_clear_error();
	memset(found, 0, sizeof *found);
	if (p12 != NULL && in != NULL && certs != NULL && d2i_PKCS12_bio(in, &p12) != NULL) {
		found->read = 1;
		found->mac = PKCS12_mac_present(p12);
		PKCS12_get0_mac(NULL, NULL, NULL, &rounds, p12);
		/* ASN1_INTEGER_get returns -1 for what is no long. */
		found->slow = rounds != NULL && (unsigned long)ASN1_INTEGER_get(rounds) > CSSL_PKCS12_ROUNDS;
		found->open = !found->slow && PKCS12_parse(p12, passphrase, want_key ? &key : NULL, &leaf, &others);
		found->key = key != NULL;
	}
	if (found->open && (leaf == NULL || X509_add_cert(certs, leaf, flags)) && X509_add_certs(certs, others, flags) &&
	    found->key == want_key)
		pem = put_pem(library, properties, certs, key, found);
	X509_free(leaf);
	EVP_PKEY_free(key);
	sk_X509_pop_free(others, X509_free);
	sk_X509_pop_free(certs, X509_free);
	BIO_free(in);
	PKCS12_free(p12);
	cssl_done(pem != NULL, out);
	return pem;
}
