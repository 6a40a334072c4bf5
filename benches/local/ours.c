/* The library through its C API, as a C program calls it. Compiled with -DBENCH_OTHER it becomes the contender "other":
 * a second build of the library, the one whose path is in BENCH_OTHER_LIBRARY. So two states of the code can be
 * compared in one interleaved run.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contender.h"
#include "lighter_cache.h"

enum { HOUR = 3600 * 1000 };

#ifdef BENCH_OTHER
#include <dlfcn.h>
static __typeof__(&lc_open) other_open;
static __typeof__(&lc_close) other_close;
static __typeof__(&lc_get) other_get;
static __typeof__(&lc_get_into) other_get_into;
static __typeof__(&lc_set) other_set;
static __typeof__(&lc_value_free) other_value_free;
static __typeof__(&lc_last_error) other_last_error;
#define lc_open other_open
#define lc_close other_close
#define lc_get other_get
#define lc_get_into other_get_into
#define lc_set other_set
#define lc_value_free other_value_free
#define lc_last_error other_last_error

static int load(void)
{
    const char *path = getenv("BENCH_OTHER_LIBRARY");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library)
        return 0;
    /* A function's address by way of a data pointer, as POSIX allows. */
#define FIND(name) (*(void **)&other_##name = dlsym(library, "lc_" #name)) != NULL
    return FIND(open) && FIND(close) && FIND(get) && FIND(get_into) && FIND(set) && FIND(value_free) && FIND(last_error);
}
#else
static int load(void) { return 1; }
#endif

static void *open_cache(const struct bench_setup *setup)
{
    static int said;
    lc_cache cache;
    char url[512];
    const char *hole = setup->capacity ? strstr(setup->url, "{capacity}") : NULL;
    if (!load()) {
        fprintf(stderr, "BENCH_OTHER_LIBRARY does not name another build of the library\n");
        return NULL;
    }
    if (hole)
        snprintf(url, sizeof url, "%.*s%zu%s", (int)(hole - setup->url), setup->url, setup->capacity,
                 hole + strlen("{capacity}"));
    else
        snprintf(url, sizeof url, "%s", setup->capacity ? setup->url : "local:");
    lc_status status = lc_open(url, &cache);
    if (status == LCACHE_EUNSUPPORTED && setup->capacity >= setup->keys) {
        if (!said++)
            fprintf(stderr, "note: this build takes no bound, so the library is measured without one: %s\n", lc_last_error());
        setenv("BENCH_UNBOUNDED", "1", 1);
        status = lc_open("local:", &cache);
    }
    if (status != LCACHE_OK) {
        fprintf(stderr, "%s: %s\n", url, lc_last_error());
        return NULL;
    }
    /* A handle is never 0, and fits. */
    return (void *)(uintptr_t)cache;
}

static size_t run(void *self, int op, const struct bench_work *work)
{
    const lc_cache cache = (lc_cache)(uintptr_t)self;
    const size_t wanted = work->value_len;
    size_t good = 0, len = 0;
#define EACH(body) \
    for (const struct bench_key *key = work->keys, *end = key + work->n; key < end; key++) { body }
#define GET_INTO (lc_get_into(cache, key->bytes, key->len, work->buf, wanted, &len) == LCACHE_OK && len == wanted)
#define SET(ttl) (lc_set(cache, key->bytes, key->len, work->value, wanted, ttl) == LCACHE_OK)
    switch (op) {
    case BENCH_GET_INTO:
        EACH(good += GET_INTO;)
        break;
    case BENCH_GET:
        EACH(lc_value *pin; const void *data;
             good += lc_get(cache, key->bytes, key->len, &pin, &data, &len) == LCACHE_OK && len == wanted;
             lc_value_free(pin);)
        break;
    case BENCH_SET:
        EACH(good += SET(LCACHE_TTL_NONE);)
        break;
    case BENCH_SET_TTL:
        EACH(good += SET(HOUR);)
        break;
    case BENCH_MISS:
        EACH(good += lc_get_into(cache, key->bytes, key->len, work->buf, wanted, &len) == LCACHE_MISS;)
        break;
    case BENCH_MIX: {
        unsigned turn = 0;
        EACH(if (++turn % 20) good += GET_INTO; else good += SET(HOUR);)
        break;
    }
    case BENCH_CHURN:
        EACH(if (GET_INTO) good++; else if (!SET(HOUR)) return 0;)
        break;
    }
    return good;
}

static void close_cache(void *self)
{
    lc_close((lc_cache)(uintptr_t)self);
}

#ifdef BENCH_OTHER
static const struct bench_contender other = { "other", open_cache, run, close_cache };
const struct bench_contender *bench_find(const char *name)
{
    return strcmp(name, other.name) == 0 ? &other : NULL;
}
#else
const struct bench_contender ours = { "lc", open_cache, run, close_cache };
#endif
