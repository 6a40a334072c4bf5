/* Loading what is missing: once per key, on the caller's thread, with nothing held meanwhile. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t hour = 3600 * 1000;

struct job {
    lc_cache cache;
    pthread_t thread;
    const char *text; /* NULL: none is given */
    lc_status status;
    lc_set_options *options;
    int calls;
};

static lc_status load(void *ctx, const void *key, size_t key_len, lc_sink *out) {
    struct job *job = ctx;
    CHECK(key_len > 0 && key && pthread_equal(pthread_self(), job->thread));
    job->calls++;
    if (job->text) {
        CHECK_OK(lc_sink_set(out, LCACHE_STR("another, at first")));
        CHECK_OK(lc_sink_set(out, job->text, strlen(job->text)));
    }
    if (job->options)
        CHECK_OK(lc_sink_set_options(out, job->options, sizeof *job->options));
    return job->status;
}

static struct job job_of(lc_cache cache, const char *text, lc_status status) {
    return (struct job){.cache = cache, .thread = pthread_self(), .text = text, .status = status};
}

/* What the call gave; the value is compared with `expected` where it is LCACHE_OK. */
static lc_status get(lc_cache cache, const char *key, const lc_set_options *options, lc_load_fn loader, void *ctx,
                     const char *expected) {
    lc_value *value = (lc_value *)1;
    const void *data = NULL;
    size_t len = 77;
    lc_status status = lc_get_or_load(cache, key, strlen(key), options, options ? sizeof *options : 0, loader, ctx,
                                      &value, &data, &len);
    if (status == LCACHE_OK) {
        CHECK(len == strlen(expected) && memcmp(data, expected, len) == 0 && data == lc_value_data(value));
        lc_value_free(value);
    } else {
        CHECK(value == NULL && data == NULL && len == 77);
    }
    return status;
}

static void loads_once(lc_cache cache) {
    struct job job = job_of(cache, "loaded", LCACHE_OK);
    uint64_t ttl = 0;
    CHECK_OK(get(cache, "k", NULL, load, &job, "loaded"));
    CHECK_OK(get(cache, "k", NULL, load, &job, "loaded"));
    CHECK(job.calls == 1 && HOLDS(cache, "k", "loaded"));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(ttl == LCACHE_TTL_NONE);
    CHECK_OK(lc_delete(cache, LCACHE_STR("k")));

    lc_set_options an_hour = LCACHE_SET_OPTIONS_INIT;
    an_hour.ttl_ms = hour;
    CHECK_OK(get(cache, "k", &an_hour, load, &job, "loaded"));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(job.calls == 2 && ttl <= hour);
    CHECK_OK(lc_delete(cache, LCACHE_STR("k")));
    /* The loader knows better. */
    lc_set_options minute = an_hour;
    minute.ttl_ms = 60000;
    job.options = &minute;
    CHECK_OK(get(cache, "k", &an_hour, load, &job, "loaded"));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(job.calls == 3 && ttl <= 60000);
    /* An empty value is one; the value alone is enough. */
    job = job_of(cache, "", LCACHE_OK);
    lc_value *value;
    CHECK_OK(lc_get_or_load(cache, LCACHE_STR("empty"), NULL, 0, load, &job, &value, NULL, NULL));
    CHECK(value && lc_value_size(value) == 0);
    lc_value_free(value);
}

static void there_is_none(lc_cache cache) {
    struct job none = job_of(cache, "given, but not meant", LCACHE_MISS);
    CHECK_STATUS(LCACHE_MISS, get(cache, "none", NULL, load, &none, ""));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("none")));
    CHECK(none.calls == 1);
}

static void fails(lc_cache cache) {
    struct job job = job_of(cache, "given in vain", LCACHE_ECONNECT);
    CHECK_STATUS(LCACHE_ELOADER, get(cache, "bad", NULL, load, &job, ""));
    CHECK_MESSAGE("-4");
    job.status = 4711;
    CHECK_STATUS(LCACHE_ELOADER, get(cache, "bad", NULL, load, &job, ""));
    CHECK_MESSAGE("4711");
    job = job_of(cache, NULL, LCACHE_OK);
    CHECK_STATUS(LCACHE_ELOADER, get(cache, "bad", NULL, load, &job, ""));
    CHECK_MESSAGE("lc_sink_set");
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("bad")));
    /* That is not remembered. */
    job = job_of(cache, "good", LCACHE_OK);
    CHECK_OK(get(cache, "bad", NULL, load, &job, "good"));
    CHECK(job.calls == 1);
    CHECK_STATUS(LCACHE_EINVAL, get(cache, "__lc:x", NULL, load, &job, ""));
    CHECK(job.calls == 1);
}

/* A value past its time is better than none, where it was stored so. */
static void serves_stale(lc_cache cache) {
    lc_set_options options = LCACHE_SET_OPTIONS_INIT;
    options.ttl_ms = 20;
    options.stale_ms = hour;
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("stale"), LCACHE_STR("old"), &options, sizeof options));
    UNTIL(lc_exists(cache, LCACHE_STR("stale")) == LCACHE_MISS);
    struct job job = job_of(cache, NULL, LCACHE_ESERVER);
    CHECK_OK(get(cache, "stale", NULL, load, &job, "old"));
    lc_stats stats;
    CHECK_OK(lc_stats_get(cache, &stats, sizeof stats));
    CHECK(job.calls == 1 && stats.stale_served == 1);
    job = job_of(cache, "new", LCACHE_OK);
    CHECK_OK(get(cache, "stale", NULL, load, &job, "new"));
    CHECK(job.calls == 1);
}

/* A loader that uses the library, forks, and closes the handle it was called through. */
static lc_status busy(void *ctx, const void *key, size_t key_len, lc_sink *out) {
    struct job *job = ctx, inner = job_of(job->cache, "inner", LCACHE_OK);
    int status;
    if (job->calls++ > 0)
        return LCACHE_EINVAL;
    CHECK_STATUS(LCACHE_EREENTRANT, get(job->cache, "outer", NULL, busy, ctx, ""));
    CHECK(job->calls == 1);
    CHECK_OK(get(job->cache, "inner", NULL, load, &inner, "inner"));
    CHECK_OK(lc_set(job->cache, LCACHE_STR("beside"), key, key_len, hour));
    pid_t child = fork();
    if (child == 0)
        _exit(holds(job->cache, "beside", "outer", 5) ? 0 : 1);
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK_OK(lc_close(job->cache));
    return lc_sink_set(out, LCACHE_STR("outer's"));
}

static void does_much(lc_cache cache) {
    struct job job = {.thread = pthread_self()};
    CHECK_OK(lc_dup(cache, &job.cache));
    CHECK_OK(get(job.cache, "outer", NULL, busy, &job, "outer's"));
    CHECK(HOLDS(cache, "outer", "outer's") && HOLDS(cache, "inner", "inner"));
    CHECK_STATUS(LCACHE_EHANDLE, lc_ping(job.cache));
}

enum { THREADS = 8 };

static lc_cache shared;
static atomic_int about_to_ask, loads;
static int failing;

static lc_status slow(void *ctx, const void *key, size_t key_len, lc_sink *out) {
    (void)ctx, (void)key, (void)key_len;
    atomic_fetch_add(&loads, 1);
    UNTIL(atomic_load(&about_to_ask) == THREADS);
    /* Most of them wait by now; the assertions hold for those that come later, too. */
    pause_ms(50);
    return failing ? LCACHE_ESERVER : lc_sink_set(out, LCACHE_STR("for all"));
}

static void *asks(void *arg) {
    atomic_fetch_add(&about_to_ask, 1);
    lc_status status = get(shared, "shared", NULL, slow, NULL, "for all");
    CHECK_STATUS(failing ? LCACHE_ELOADER : LCACHE_OK, status);
    if (failing)
        CHECK_MESSAGE("-7");
    return arg;
}

static void together(lc_cache cache, int fail) {
    pthread_t threads[THREADS];
    shared = cache;
    failing = fail;
    atomic_store(&about_to_ask, 0);
    atomic_store(&loads, 0);
    CHECK_OK(lc_clear(cache));
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, asks, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    /* Who comes after a failed load loads for itself. */
    CHECK(fail ? atomic_load(&loads) >= 1 : atomic_load(&loads) == 1);
}

static void works(const char *url) {
    lc_cache cache = open_cache(url);
    loads_once(cache);
    there_is_none(cache);
    fails(cache);
    serves_stale(cache);
    does_much(cache);
    together(cache, 0);
    together(cache, 1);
    CHECK_OK(lc_clear(cache));
    CHECK_OK(lc_close(cache));
}

/* That there is none is remembered where the cache is told to. */
static void remembers_that_there_is_none(const char *url) {
    lc_cache cache = open_cache(joined(url, strchr(url, '?') ? "&" : "?", "negative_ttl=1h", "", ""));
    struct job none = job_of(cache, NULL, LCACHE_MISS);
    CHECK_STATUS(LCACHE_MISS, get(cache, "none", NULL, load, &none, ""));
    CHECK_STATUS(LCACHE_MISS, get(cache, "none", NULL, load, &none, ""));
    CHECK(none.calls == 1);
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("none")));
    CHECK_STATUS(LCACHE_MISS, lc_delete(cache, LCACHE_STR("none")));
    CHECK_STATUS(LCACHE_MISS, get(cache, "none", NULL, load, &none, ""));
    CHECK_OK(lc_add(cache, LCACHE_STR("none"), LCACHE_STR("now"), hour));
    CHECK_OK(get(cache, "none", NULL, load, &none, "now"));
    CHECK_OK(lc_clear(cache));
    CHECK_OK(lc_close(cache));
}

int main(void) {
    const char *single = from_env("LC_TEST_URL_SINGLE"), *valkey = from_env("LC_TEST_URL_VALKEY");
    const char *urls[] = {"local:", redis_url(single, "c:loaders"), hybrid_url(single, "c:loaders:h"),
                          hybrid_url(valkey, "c:loaders:h")};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        works(urls[i]);
        remembers_that_there_is_none(urls[i]);
    }
    return 0;
}
