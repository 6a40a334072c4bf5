/* What a kind of cache can't do: it says so at once, with its kind and the operation, and nothing happens. */
#include "check.h"

static int destroyed;

static void destroy(void *ctx) {
    (void)ctx;
    destroyed++;
}

static void never_hears(void *ctx, int32_t event, const void *key, size_t key_len) {
    (void)ctx, (void)event, (void)key, (void)key_len;
    abort();
}

static int32_t never_visits(void *ctx, const void *key, size_t key_len) {
    (void)ctx, (void)key, (void)key_len;
    abort();
}

static lc_status never_loads(void *ctx, const void *key, size_t key_len, lc_sink *out) {
    (void)ctx, (void)key, (void)key_len, (void)out;
    abort();
}

/* Nothing to warm, no server to load from. */
static void warming(lc_cache cache) {
    lc_bytes key = {LCACHE_STR("k")};
    size_t n = 77;
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_warm(cache, &key, 1, &n));
    CHECK_MESSAGE("cache does not support `warm`");
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_warm_prefix(cache, LCACHE_STR("k"), 10, &n));
    CHECK(n == 77);
}

/* Snapshots are for what lives in this process alone. */
static void snapshots(lc_cache cache) {
    const char *path = joined(from_env("LC_TEST_DIR"), "/snapshot", "", "", "");
    size_t n = 77;
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_save(cache, path, &n));
    CHECK_MESSAGE("cache does not support `save`");
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_load(cache, path, &n));
    FILE *file = fopen(path, "rb");
    CHECK(n == 77 && file == NULL);
}

/* What this version does on Local alone. */
static void of_later_versions(lc_cache cache) {
    size_t n = 77;
    uint64_t id = 77;
    lc_value *value = (lc_value *)1;
    CHECK_STATUS(LCACHE_EUNSUPPORTED,
                 lc_get_or_load(cache, LCACHE_STR("new"), NULL, 0, never_loads, NULL, &value, NULL, &n));
    CHECK(!value);
    int before = destroyed;
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_subscribe(cache, LCACHE_EVENT_EXPIRED, never_hears, NULL, destroy, &id));
    CHECK(destroyed == before + 1);
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_unsubscribe(cache, 1));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("new")));
    CHECK(n == 77 && id == 77);
}

/* What a Hybrid does not do yet. */
static void of_later_hybrids(lc_cache cache) {
    int64_t sum = 77;
    size_t n = 77;
    lc_lock *lock = (lc_lock *)1;
    lc_get_result result;
    lc_set_options options = LCACHE_SET_OPTIONS_INIT;
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("1"), 60000));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_add(cache, LCACHE_STR("new"), LCACHE_STR("v"), 1000));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_replace(cache, LCACHE_STR("k"), LCACHE_STR("v"), 1000));
    CHECK_STATUS(LCACHE_EUNSUPPORTED,
                 lc_compare_and_set(cache, LCACHE_STR("k"), LCACHE_STR("1"), LCACHE_STR("v"), 1000));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_incr(cache, LCACHE_STR("k"), 1, 1000, &sum));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, &result, sizeof result));
    CHECK(!result.value);
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), &options, sizeof options));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_invalidate_tag(cache, LCACHE_STR("k")));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_delete_prefix(cache, LCACHE_STR("k"), &n));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_foreach_key(cache, LCACHE_STR("k"), never_visits, NULL));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_lock_acquire(cache, LCACHE_STR("k"), 1000, 1000, &lock));
    CHECK(HOLDS(cache, "k", "1"));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("new")));
    CHECK(sum == 77 && n == 77 && lock == (lc_lock *)1);
    CHECK_OK(lc_clear(cache));
}

int main(void) {
    lc_cache local = open_cache("local:");
    lc_cache redis = open_cache(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:unsupported"));
    lc_cache hybrid = open_cache(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:unsupported"));
    warming(local);
    warming(redis);
    snapshots(redis);
    CHECK_MESSAGE("a Redis cache");
    snapshots(hybrid);
    CHECK_MESSAGE("a Hybrid cache");
    of_later_versions(redis);
    of_later_versions(hybrid);
    of_later_hybrids(hybrid);
    CHECK_OK(lc_close(local));
    CHECK_OK(lc_close(redis));
    CHECK_OK(lc_close(hybrid));
    return 0;
}
