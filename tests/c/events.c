/* Events of a Local cache: who hears of them, what a listener may call, and when its context is given back. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

static pthread_t main_thread;
static lc_cache redis;

struct heard {
    lc_cache cache;
    uint64_t id;
    atomic_int expired, evicted, destroyed, wrong;
    atomic_int ends_itself, in_redis, ended;
};

static void hear(void *ctx, int32_t event, const void *key, size_t key_len) {
    struct heard *heard = ctx;
    lc_value *value;
    if (pthread_equal(pthread_self(), main_thread) || atomic_load(&heard->destroyed))
        atomic_fetch_add(&heard->wrong, 1);
    if (event == LCACHE_EVENT_EXPIRED)
        atomic_fetch_add(&heard->wrong, key_len != 7 || memcmp(key, "short:", 6) != 0);
    /* What never waits is allowed; the rest is not. */
    if (lc_exists(heard->cache, key, key_len) == LCACHE_EREENTRANT)
        atomic_fetch_add(&heard->wrong, 1);
    atomic_store(&heard->in_redis, lc_get(redis, LCACHE_STR("k"), &value, NULL, NULL));
    if (atomic_exchange(&heard->ends_itself, 0))
        atomic_store(&heard->ended, lc_unsubscribe(heard->cache, heard->id) == LCACHE_OK);
    atomic_fetch_add(event == LCACHE_EVENT_EXPIRED ? &heard->expired : &heard->evicted, 1);
}

static void destroy(void *ctx) {
    struct heard *heard = ctx;
    atomic_fetch_add(&heard->destroyed, 1);
}

static void expire_some(lc_cache cache, char from, char to) {
    for (; from <= to; from++) {
        char key[] = "short:?";
        key[6] = from;
        CHECK_OK(lc_set(cache, key, 7, LCACHE_STR("v"), 20));
    }
}

int main(void) {
    main_thread = pthread_self();
    redis = open_cache(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:events"));

    lc_cache cache = open_cache("local:?sweep_interval=10ms"), other;
    struct heard heard = {.cache = cache}, deaf = {.cache = cache};
    CHECK_OK(lc_subscribe(cache, LCACHE_EVENT_EXPIRED, hear, &heard, destroy, &heard.id));
    CHECK_OK(lc_subscribe(cache, LCACHE_EVENT_EVICTED | LCACHE_EVENT_DEGRADED, hear, &deaf, destroy, &deaf.id));
    CHECK(heard.id != deaf.id);
    CHECK_OK(lc_set(cache, LCACHE_STR("long"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK_OK(lc_delete(cache, LCACHE_STR("long")));
    expire_some(cache, 'a', 'e');
    UNTIL(atomic_load(&heard.expired) == 5);
    CHECK(atomic_load(&heard.in_redis) == LCACHE_EREENTRANT);

    /* Ended once; the context is given back then. */
    CHECK_OK(lc_dup(cache, &other));
    CHECK_OK(lc_unsubscribe(other, heard.id));
    UNTIL(atomic_load(&heard.destroyed) == 1);
    CHECK_STATUS(LCACHE_MISS, lc_unsubscribe(cache, heard.id));
    CHECK_STATUS(LCACHE_MISS, lc_unsubscribe(cache, 0));
    CHECK_STATUS(LCACHE_MISS, lc_unsubscribe(cache, UINT64_MAX));
    CHECK_OK(lc_close(other));

    /* A listener may end its own subscription. */
    struct heard own = {.cache = cache};
    CHECK_OK(lc_subscribe(cache, LCACHE_EVENT_EXPIRED, hear, &own, destroy, &own.id));
    atomic_store(&own.ends_itself, 1);
    expire_some(cache, 'f', 'f');
    UNTIL(atomic_load(&own.destroyed) == 1);
    CHECK(atomic_load(&own.ended) == 1);

    /* None without a destroy; the rest ends with the cache. */
    struct heard last = {.cache = cache};
    CHECK_OK(lc_subscribe(cache, LCACHE_EVENT_EXPIRED, hear, &last, NULL, &last.id));
    expire_some(cache, 'g', 'h');
    UNTIL(atomic_load(&last.expired) == 2);
    CHECK_OK(lc_close(cache));
    UNTIL(atomic_load(&deaf.destroyed) == 1);
    CHECK(atomic_load(&deaf.evicted) == 0 && atomic_load(&deaf.expired) == 0);
    CHECK(atomic_load(&heard.wrong) == 0 && atomic_load(&own.wrong) == 0 && atomic_load(&last.wrong) == 0);
    CHECK(atomic_load(&heard.expired) == 5 && atomic_load(&own.expired) == 1 && atomic_load(&last.destroyed) == 0);

    /* What a bound pushes out. */
    cache = open_cache("local:?max_entries=100");
    struct heard full = {.cache = cache};
    CHECK_OK(lc_subscribe(cache, LCACHE_EVENT_EVICTED, hear, &full, destroy, &full.id));
    for (int i = 0; i < 1000; i++)
        CHECK_OK(lc_set(cache, &i, sizeof i, LCACHE_STR("v"), LCACHE_TTL_NONE));
    UNTIL(atomic_load(&full.evicted) > 0);
    CHECK_OK(lc_close(cache));
    UNTIL(atomic_load(&full.destroyed) == 1);
    CHECK(atomic_load(&full.wrong) == 0 && atomic_load(&full.expired) == 0);
    CHECK_OK(lc_close(redis));
    return 0;
}
