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

/* What a Redis cache has not. */
static void events(lc_cache cache) {
    uint64_t id = 77;
    int before = destroyed;
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_subscribe(cache, LCACHE_EVENT_EXPIRED, never_hears, NULL, destroy, &id));
    CHECK(destroyed == before + 1 && id == 77);
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_unsubscribe(cache, 1));
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
    events(redis);
    CHECK_OK(lc_close(local));
    CHECK_OK(lc_close(redis));
    CHECK_OK(lc_close(hybrid));
    return 0;
}
