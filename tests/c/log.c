/* The log callback: what it hears, when its context is given back, and what it may call. */
#include "check.h"
#include "server.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_int heard, destroyed, on_library_thread;
static pthread_t main_thread;
static lc_cache redis, hybrid, local;
static lc_status in_redis, in_hybrid, in_local, in_open, in_shutdown;

static void hear(void *ctx, int32_t level, const char *target, const char *message) {
    CHECK(strcmp(ctx, "context") == 0);
    CHECK(level >= LCACHE_LOG_ERROR && level <= LCACHE_LOG_TRACE);
    CHECK(target[0] != 0 && message[0] != 0 && !strchr(message, '\n'));
    CHECK(!strstr(message, "canary"));
    if (!pthread_equal(pthread_self(), main_thread))
        atomic_store(&on_library_thread, lc_ping(redis));
    if (atomic_fetch_add(&heard, 1) == 0 && redis) {
        lc_value *value;
        lc_cache cache;
        in_redis = lc_get(redis, LCACHE_STR("canary"), &value, NULL, NULL);
        in_hybrid = lc_set(hybrid, LCACHE_STR("canary"), LCACHE_STR("canary"), 1000);
        in_open = lc_open(from_env("LC_TEST_URL_REFUSED"), &cache);
        in_shutdown = lc_shutdown(0);
        /* What never waits is allowed. */
        in_local = lc_get(local, LCACHE_STR("k"), &value, NULL, NULL);
        lc_value_free(value);
    }
}

static void destroy(void *ctx) {
    CHECK(strcmp(ctx, "context") == 0);
    atomic_fetch_add(&destroyed, 1);
}

/* Says a warning: the environment names no cache. Once per process. */
static void provoke(void) {
    unsetenv("LIGHTER_CACHE_URL");
    unsetenv("REDIS_URL");
    lc_cache cache;
    CHECK_OK(lc_open(NULL, &cache));
    CHECK_OK(lc_close(cache));
}

/* What a child process writes to standard error with LIGHTER_CACHE_LOG set to `level`. */
static void on_stderr(const char *level, char *out, size_t cap) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        setenv("LIGHTER_CACHE_LOG", level, 1);
        dup2(ends[1], 2);
        close(ends[0]), close(ends[1]);
        provoke();
        _exit(0);
    }
    close(ends[1]);
    size_t len = 0;
    for (ssize_t got; (got = read(ends[0], out + len, cap - 1 - len)) > 0;)
        len += (size_t)got;
    out[len] = 0;
    close(ends[0]);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    char text[4096];
    on_stderr("warn", text, sizeof text);
    CHECK(strstr(text, "lighter_cache: warn: ") == text && strchr(text, '\n') == text + strlen(text) - 1);
    on_stderr("error", text, sizeof text);
    CHECK(text[0] == 0);
    on_stderr("", text, sizeof text);
    CHECK(text[0] == 0);
    on_stderr("loud", text, sizeof text);
    CHECK(strstr(text, "LIGHTER_CACHE_LOG") != NULL);

    /* The context is given back where registration fails, where there is no callback, and at the end. */
    CHECK_STATUS(LCACHE_EINVAL, lc_set_log_callback(0, hear, "context", destroy));
    CHECK_STATUS(LCACHE_EINVAL, lc_set_log_callback(6, hear, "context", destroy));
    CHECK_STATUS(LCACHE_EINVAL, lc_set_log_callback(INT32_MIN, hear, "context", destroy));
    CHECK(atomic_load(&destroyed) == 3);
    CHECK_OK(lc_set_log_callback(0, NULL, "context", destroy));
    CHECK(atomic_load(&destroyed) == 4);
    CHECK_OK(lc_set_log_callback(LCACHE_LOG_WARN, hear, "context", NULL));
    CHECK_OK(lc_set_log_callback(LCACHE_LOG_INFO, hear, "context", destroy));
    CHECK(atomic_load(&destroyed) == 4);
    main_thread = pthread_self();

    local = open_cache("local:");
    hybrid = open_cache(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:log"));
    redis = open_cache(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:log"));
    CHECK(atomic_load(&heard) == 0);
    provoke();
    CHECK(atomic_load(&heard) == 1);
    CHECK(in_redis == LCACHE_EREENTRANT && in_hybrid == LCACHE_EREENTRANT && in_open == LCACHE_EREENTRANT);
    CHECK(in_shutdown == LCACHE_EREENTRANT && in_local == LCACHE_MISS);
    /* Afterwards this thread may block again. */
    CHECK_OK(lc_ping(redis));

    /* A lost server is worth a warning, whichever thread finds out. */
    struct server own;
    server_start(&own, "single");
    lc_cache lost = open_cache(url_of("hybrid+", own.url, "?prefix=c:log&watchdog=100ms"));
    server_do(&own, "kill");
    UNTIL(lc_set(lost, LCACHE_STR("canary"), LCACHE_STR("canary"), 1000) == LCACHE_OK && atomic_load(&heard) > 1);
    /* That it is back is said by a thread of the library. */
    server_do(&own, "restart");
    UNTIL(atomic_load(&on_library_thread) != 0);
    CHECK_STATUS(LCACHE_EREENTRANT, atomic_load(&on_library_thread));
    CHECK_OK(lc_close(lost));
    server_stop(&own);

    CHECK_OK(lc_set_log_callback(LCACHE_LOG_ERROR, NULL, NULL, NULL));
    UNTIL(atomic_load(&destroyed) == 5);
    return 0;
}
