/* What a Hybrid has beyond get and set: two of them on one server, as two processes would have, and one whose
   server is away. */
#include "check.h"
#include "server.h"

static const uint64_t hour = 3600 * 1000;

static int calls;

static lc_status loads(void *ctx, const void *key, size_t key_len, lc_sink *out) {
    (void)key, (void)key_len;
    calls++;
    return ctx ? lc_sink_set(out, ctx, strlen(ctx)) : LCACHE_MISS;
}

/* What the call gave; `text` is what the loader brings, NULL for none. */
static lc_status load(lc_cache cache, const char *key, const lc_set_options *options, char *text,
                      const char *expected) {
    lc_value *value;
    const void *data;
    size_t len;
    lc_status status = lc_get_or_load(cache, key, strlen(key), options, options ? sizeof *options : 0, loads, text,
                                      &value, &data, &len);
    CHECK(status == LCACHE_OK ? len == strlen(expected) && memcmp(data, expected, len) == 0 : value == NULL);
    lc_value_free(value);
    return status;
}

static int32_t count(void *ctx, const void *key, size_t key_len) {
    CHECK(key && key_len);
    ++*(int *)ctx;
    return 0;
}

static int shown(lc_cache cache, const char *prefix) {
    int number = 0;
    CHECK_OK(lc_foreach_key(cache, prefix, strlen(prefix), count, &number));
    return number;
}

static void reach_the_other(lc_cache one, lc_cache two) {
    int64_t n = 0;
    uint64_t ttl = 0;
    size_t number = 77;
    CHECK_OK(lc_add(one, LCACHE_STR("k"), LCACHE_STR("a"), hour));
    CHECK_STATUS(LCACHE_EXISTS, lc_add(two, LCACHE_STR("k"), LCACHE_STR("b"), hour));
    CHECK(HOLDS(one, "k", "a") && HOLDS(two, "k", "a"));
    CHECK_OK(lc_replace(two, LCACHE_STR("k"), LCACHE_STR("b"), hour));
    CHECK(HOLDS(two, "k", "b"));
    UNTIL(HOLDS(one, "k", "b"));
    CHECK_OK(lc_compare_and_set(one, LCACHE_STR("k"), LCACHE_STR("b"), LCACHE_STR("c"), hour));
    CHECK_STATUS(LCACHE_CONFLICT, lc_compare_and_set(two, LCACHE_STR("k"), LCACHE_STR("b"), LCACHE_STR("d"), hour));
    CHECK(HOLDS(one, "k", "c"));
    UNTIL(HOLDS(two, "k", "c"));
    CHECK_OK(lc_incr(one, LCACHE_STR("n"), 5, hour, &n));
    CHECK_OK(lc_incr(two, LCACHE_STR("n"), 5, hour, &n));
    CHECK(n == 10 && HOLDS(two, "n", "10"));
    UNTIL(HOLDS(one, "n", "10"));
    CHECK_OK(lc_expire(two, LCACHE_STR("n"), 60000));
    CHECK_OK(lc_ttl(one, LCACHE_STR("n"), &ttl));
    CHECK(ttl <= 60000);
    CHECK(shown(one, "") == 2 && shown(two, "n") == 1);
    CHECK_OK(lc_delete_prefix(two, LCACHE_STR("n"), &number));
    CHECK(number == 1 && !HOLDS(two, "n", "10"));
    UNTIL(lc_exists(one, LCACHE_STR("n")) == LCACHE_MISS);

    lc_lock *lock, *other = (lc_lock *)1;
    CHECK_OK(lc_lock_acquire(one, LCACHE_STR("job"), hour, 0, &lock));
    CHECK_STATUS(LCACHE_BUSY, lc_lock_acquire(two, LCACHE_STR("job"), hour, 20, &other));
    uint64_t fence = lc_lock_fence(lock);
    CHECK_OK(lc_lock_extend(lock, hour));
    CHECK_OK(lc_lock_release(lock));
    CHECK_OK(lc_lock_acquire(two, LCACHE_STR("job"), hour, 10000, &other));
    CHECK(lc_lock_fence(other) > fence);
    CHECK_OK(lc_lock_release(other));
}

static void warms(lc_cache one, lc_cache two) {
    const lc_bytes keys[] = {{LCACHE_STR("w:1")}, {LCACHE_STR("w:2")}, {LCACHE_STR("absent")}};
    size_t loaded = 77;
    CHECK_OK(lc_set_many(one, keys, keys, 2, hour));
    CHECK_OK(lc_warm(two, keys, 3, &loaded));
    CHECK(loaded == 2);
    CHECK_OK(lc_warm_prefix(two, LCACHE_STR("w:"), 1, &loaded));
    CHECK(loaded == 1);
    CHECK_OK(lc_warm_prefix(two, LCACHE_STR("nothing"), 10, &loaded));
    CHECK(loaded == 0 && HOLDS(two, "w:1", "w:1"));
}

static void knows_conditions(lc_cache one, lc_cache two) {
    lc_bytes tag = {LCACHE_STR("tag")};
    lc_set_options options = LCACHE_SET_OPTIONS_INIT;
    options.ttl_ms = hour;
    options.tags = &tag;
    options.tag_count = 1;
    CHECK_OK(lc_set_ex(one, LCACHE_STR("t"), LCACHE_STR("v"), &options, sizeof options));
    CHECK(HOLDS(one, "t", "v") && HOLDS(two, "t", "v"));
    CHECK_OK(lc_invalidate_tag(two, LCACHE_STR("tag")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(two, LCACHE_STR("t")));
    UNTIL(lc_exists(one, LCACHE_STR("t")) == LCACHE_MISS);
    CHECK_STATUS(LCACHE_EINVAL, lc_invalidate_tag(one, NULL, 0));

    /* One of both loads, and what there is not is known to both. */
    calls = 0;
    CHECK_OK(load(one, "t", &options, "loaded", "loaded"));
    CHECK_OK(load(two, "t", &options, "again", "loaded"));
    CHECK_STATUS(LCACHE_MISS, load(one, "none", NULL, NULL, ""));
    CHECK_STATUS(LCACHE_MISS, load(two, "none", NULL, NULL, ""));
    CHECK(calls == 2);
    CHECK_OK(lc_invalidate_tag(one, LCACHE_STR("tag")));
    CHECK_OK(load(one, "t", &options, "anew", "anew"));
    CHECK(calls == 3);

    /* Past its TTL a value is good enough where a load fails. */
    options.ttl_ms = 20;
    options.stale_ms = hour;
    options.tag_count = 0;
    CHECK_OK(lc_set_ex(one, LCACHE_STR("stale"), LCACHE_STR("old"), &options, sizeof options));
    UNTIL(lc_exists(two, LCACHE_STR("stale")) == LCACHE_MISS);
    lc_value *value;
    CHECK_STATUS(LCACHE_MISS, lc_get(two, LCACHE_STR("stale"), &value, NULL, NULL));
    CHECK_STATUS(LCACHE_MISS, lc_delete(one, LCACHE_STR("stale")));
}

static int degraded(lc_cache cache) {
    lc_stats stats;
    CHECK_OK(lc_stats_get(cache, &stats, sizeof stats));
    return (int)stats.degraded && lc_ping(cache) == LCACHE_ECONNECT;
}

static int has_replayed(lc_cache cache) {
    lc_stats stats;
    CHECK_OK(lc_stats_get(cache, &stats, sizeof stats));
    CHECK(stats.dropped_writes == 0);
    return !stats.degraded && !stats.queued_writes;
}

/* What only the server can decide fails at once and changes nothing; the rest goes on. */
static void without_its_server(void) {
    struct server server;
    server_start(&server, "single");
    lc_cache cache =
        open_cache(url_of("hybrid+", server.url, "?prefix=c:away&watchdog=200ms&breaker_open=100ms&negative_ttl=1h"));
    lc_bytes tag = {LCACHE_STR("tag")}, key = {LCACHE_STR("k")};
    lc_set_options options = LCACHE_SET_OPTIONS_INIT;
    options.ttl_ms = hour;
    options.tags = &tag;
    options.tag_count = 1;
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), hour));
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("tagged"), LCACHE_STR("v"), &options, sizeof options));
    CHECK(HOLDS(cache, "tagged", "v"));
    server_do(&server, "kill");
    UNTIL(degraded(cache));
    for (int i = 0; i < 1000; i++) {
        int64_t n = 77;
        size_t number = 77;
        uint64_t entries = 77;
        lc_lock *lock = (lc_lock *)1;
        CHECK_STATUS(LCACHE_ECONNECT, lc_add(cache, LCACHE_STR("new"), LCACHE_STR("v"), hour));
        CHECK_STATUS(LCACHE_ECONNECT, lc_replace(cache, LCACHE_STR("k"), LCACHE_STR("w"), hour));
        CHECK_STATUS(LCACHE_ECONNECT,
                     lc_compare_and_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_STR("w"), hour));
        CHECK_STATUS(LCACHE_ECONNECT, lc_incr(cache, LCACHE_STR("n"), 1, hour, &n));
        CHECK_STATUS(LCACHE_ECONNECT, lc_lock_acquire(cache, LCACHE_STR("job"), hour, hour, &lock));
        CHECK_STATUS(LCACHE_ECONNECT, lc_foreach_key(cache, LCACHE_STR("k"), count, &number));
        CHECK_STATUS(LCACHE_ECONNECT, lc_delete_prefix(cache, LCACHE_STR("k"), &number));
        CHECK_STATUS(LCACHE_ECONNECT, lc_warm(cache, &key, 1, &number));
        CHECK_STATUS(LCACHE_ECONNECT, lc_warm_prefix(cache, LCACHE_STR("k"), 10, &number));
        CHECK_STATUS(LCACHE_ECONNECT, lc_count(cache, &entries));
        CHECK(n == 77 && number == 77 && entries == 77 && HOLDS(cache, "k", "v"));
    }
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("new")));

    CHECK(HOLDS(cache, "tagged", "v"));
    CHECK_OK(lc_invalidate_tag(cache, LCACHE_STR("tag")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("tagged")));
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("later"), LCACHE_STR("v"), &options, sizeof options));
    calls = 0;
    CHECK_OK(load(cache, "loaded", NULL, "here", "here"));
    CHECK_OK(load(cache, "loaded", NULL, "again", "here"));
    CHECK_STATUS(LCACHE_MISS, load(cache, "none", NULL, NULL, ""));
    CHECK_STATUS(LCACHE_MISS, load(cache, "none", NULL, NULL, ""));
    CHECK(calls == 2);

    /* All of it reaches the server. */
    server_do(&server, "restart");
    UNTIL(has_replayed(cache));
    lc_cache other = open_cache(redis_url(server.url, "c:away"));
    CHECK(HOLDS(other, "later", "v") && HOLDS(other, "loaded", "here"));
    CHECK_STATUS(LCACHE_MISS, lc_exists(other, LCACHE_STR("tagged")));
    CHECK_OK(lc_close(other));
    CHECK_OK(lc_close(cache));
    server_stop(&server);
}

int main(void) {
    const char *servers[] = {from_env("LC_TEST_URL_SINGLE"), from_env("LC_TEST_URL_VALKEY")};
    for (size_t i = 0; i < 2; i++) {
        const char *url = joined(hybrid_url(servers[i], "c:hybrid_operations"), "&negative_ttl=1h", "", "", "");
        lc_cache one = open_cache(url), two = open_cache(url);
        CHECK_OK(lc_clear(one));
        reach_the_other(one, two);
        warms(one, two);
        knows_conditions(one, two);
        CHECK_OK(lc_clear(two));
        CHECK_OK(lc_close(one));
        CHECK_OK(lc_close(two));
    }
    without_its_server();
    return 0;
}
