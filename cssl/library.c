//go:build cgo

#include "library.h"

#include <openssl/bio.h>
#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * Puts the reason why a provider cannot be loaded on the error queue: OpenSSL
 * drops it when it reads a configuration. A name with a slash is a file name.
 */
static void load_again(OSSL_LIB_CTX *library, const char *name, const char *module)
{
	char file[4096];
	OSSL_PROVIDER *p;

	if (module != NULL && BIO_snprintf(file, sizeof file, "%s%s", strchr(module, '/') != NULL ? "" : "./", module) > 0)
		name = file;
	p = OSSL_PROVIDER_load(library, name);
	if (p != NULL)
		OSSL_PROVIDER_unload(p);
}

/*
 * OSSL_LIB_CTX_load_config succeeds even if a provider that the file activates
 * cannot be loaded; the default provider then takes its place. So this reads
 * the file again, like provider_conf.c. Returns 0 if a provider is missing,
 * with an entry on the error queue that names it.
 */
static int all_active(OSSL_LIB_CTX *library, const char *file)
{
	CONF *conf = NCONF_new_ex(library, NULL);
	const char *at;
	STACK_OF(CONF_VALUE) *list = NULL;
	int ok = conf != NULL && NCONF_load(conf, file, NULL) == 1;

	if (ok && (at = NCONF_get_string(conf, NULL, "openssl_conf")) != NULL && (at = NCONF_get_string(conf, at, "providers")) != NULL)
		list = NCONF_get_section(conf, at);
	for (int i = 0; ok && i < sk_CONF_VALUE_num(list); i++) {
		const CONF_VALUE *v = sk_CONF_VALUE_value(list, i);
		const char *active = NCONF_get_string(conf, v->value, "activate");
		const char *name = NCONF_get_string(conf, v->value, "identity"), *module = NCONF_get_string(conf, v->value, "module");

		if (name == NULL)
			name = v->name;
		if (active == NULL || (strchr("1yYtT", active[0]) == NULL && strcasecmp(active, "on") != 0))
			continue;
		ok = OSSL_PROVIDER_available(library, name);
		if (ok)
			continue;
		ERR_clear_error(); /* what the lookups left */
		load_again(library, name, module);
		ERR_raise_data(ERR_LIB_CONF, CONF_R_MODULE_INITIALIZATION_ERROR, "provider %s, module %s", name,
		               module != NULL ? module : name);
	}
	NCONF_free(conf);
	return ok;
}

/*
 * Loads count providers, or none. On failure *step has grown by the index of
 * the failed one.
 */
static int load(OSSL_LIB_CTX *library, const char *names, int count, int *step)
{
	OSSL_PROVIDER *p;

	if (count == 0)
		return 1;
	p = OSSL_PROVIDER_load(library, names);
	if (p == NULL)
		return 0;
	++*step;
	if (load(library, names + strlen(names) + 1, count - 1, step))
		return 1;
	OSSL_PROVIDER_unload(p);
	return 0;
}

/*
 * A library context that was used is never freed. OpenSSL keeps state for each
 * thread in it, such as random generators, and releases that when the thread
 * ends. If the context were freed first, this would be a use after free, and
 * only the thread itself can release its state earlier
 * (OPENSSL_thread_stop_ex(3)). Go does not let us run code in each thread. So
 * all contexts stay in this list, where a leak check finds them.
 */
typedef struct kept {
	struct kept *next;
	OSSL_LIB_CTX *library;
} kept;

static _Atomic(kept *) all;

static void keep(kept *k, OSSL_LIB_CTX *library)
{
	k->library = library;
	k->next = all;
	while (!atomic_compare_exchange_weak(&all, &k->next, k))
		;
}

OSSL_LIB_CTX *cssl_library_new(const char *path, const char *config, const char *providers, int count, int *step,
                               cssl_reasons *out)
{
	OSSL_LIB_CTX *library = NULL;
	kept *k = malloc(sizeof *k);

	ERR_clear_error();
	*step = CSSL_LIBRARY_CREATE;
	if (k == NULL || (library = OSSL_LIB_CTX_new()) == NULL)
		goto failed;
	*step = CSSL_LIBRARY_PATH;
	if (path != NULL && !OSSL_PROVIDER_set_default_search_path(library, path))
		goto failed;
	*step = CSSL_LIBRARY_CONFIG;
	if (config != NULL && !OSSL_LIB_CTX_load_config(library, config))
		goto failed;
	*step = CSSL_LIBRARY_ACTIVE;
	if (config != NULL && !all_active(library, config))
		goto failed;
	*step = 0;
	if (!load(library, providers, count, step))
		goto failed;
	ERR_clear_error();
	keep(k, library);
	return library;
failed:
	free(k);
	cssl_done(0, out);
	/* No other thread has used it. */
	OSSL_LIB_CTX_free(library);
	return NULL;
}

int cssl_library_digest(OSSL_LIB_CTX *library, const char *properties, const char *name)
{
	EVP_MD *md = EVP_MD_fetch(library, name, properties);

	EVP_MD_free(md);
	ERR_clear_error();
	return md != NULL;
}

static int add_name(OSSL_PROVIDER *provider, void *bio)
{
	return BIO_printf(bio, "%s,", OSSL_PROVIDER_get0_name(provider)) > 0;
}

void cssl_library_providers(OSSL_LIB_CTX *library, char *names, int size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (bio != NULL && OSSL_PROVIDER_do_all(library, add_name, bio))
		n = BIO_read(bio, names, size - 1);
	names[n > 0 ? n : 0] = 0;
	BIO_free(bio);
	ERR_clear_error();
}
