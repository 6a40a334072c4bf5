/* A Hybrid that is composed, and one whose server is away: opens, answers, joins the server later. */
#include "check.h"
#include "server.h"

static lc_stats stats_of(lc_cache cache) {
    lc_stats stats;
    CHECK_OK(lc_stats_get(cache, &stats, sizeof stats));
    return stats;
}

static void composed(void) {
    const char *url = redis_url(from_env("LC_TEST_URL_SINGLE"), "c:hybrid");
    lc_cache l1 = open_cache("local:"), l2 = open_cache(url), hybrid = 77, out = 77;
    CHECK_OK(lc_clear(l2));
    CHECK_STATUS(LCACHE_ECONFIG, lc_open_hybrid(l2, l1, NULL, &out));
    CHECK_STATUS(LCACHE_ECONFIG, lc_open_hybrid(l1, l1, NULL, &out));
    CHECK_STATUS(LCACHE_ECONFIG, lc_open_hybrid(l1, l2, "watchdog=fast", &out));
    CHECK_STATUS(LCACHE_ECONFIG, lc_open_hybrid(l1, l2, "wachdog=2s", &out));
    CHECK_MESSAGE("watchdog");
    CHECK_STATUS(LCACHE_EHANDLE, lc_open_hybrid(l1, 12345, NULL, &out));
    CHECK_STATUS(LCACHE_EINVAL, lc_open_hybrid(l1, l2, NULL, NULL));
    CHECK(out == 77);

    CHECK_OK(lc_open_hybrid(l1, l2, "watchdog=2s&l2_timeout=20s", &hybrid));
    int32_t kind;
    CHECK_OK(lc_kind(hybrid, &kind));
    CHECK(kind == LCACHE_HYBRID);
    /* It hears of invalidations by now: L1 keeps its own writes. */
    CHECK(stats_of(hybrid).degraded == 0);
    CHECK_OK(lc_set(hybrid, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK(HOLDS(l2, "k", "v"));
    CHECK(HOLDS(l1, "k", "v"));
    /* It has references of its own. */
    CHECK_OK(lc_close(l1));
    CHECK_OK(lc_close(l2));
    CHECK(HOLDS(hybrid, "k", "v"));
    CHECK_OK(lc_ping(hybrid));
    CHECK_OK(lc_clear(hybrid));
    CHECK_OK(lc_close(hybrid));

    /* Without an L2: no outage. */
    l1 = open_cache("local:");
    CHECK_OK(lc_open_hybrid(l1, 0, NULL, &hybrid));
    CHECK_OK(lc_set(hybrid, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK(HOLDS(hybrid, "k", "v"));
    CHECK_OK(lc_ping(hybrid));
    uint64_t count;
    CHECK_OK(lc_count(hybrid, &count));
    CHECK(count == 1 && stats_of(hybrid).degraded == 0);
    CHECK_OK(lc_close(hybrid));
    CHECK_OK(lc_close(l1));
}

static void sees_others(void) {
    const char *server = from_env("LC_TEST_URL_SINGLE");
    lc_cache hybrid = open_cache(hybrid_url(server, "c:hybrid"));
    lc_cache other = open_cache(redis_url(server, "c:hybrid"));
    CHECK(stats_of(hybrid).degraded == 0);
    CHECK_OK(lc_set(hybrid, LCACHE_STR("k"), LCACHE_STR("old"), LCACHE_TTL_NONE));
    CHECK(HOLDS(hybrid, "k", "old") && HOLDS(other, "k", "old"));
    lc_stats stats = stats_of(hybrid);
    CHECK(stats.l1_hits >= 1 && stats.degraded == 0);
    CHECK_OK(lc_set(other, LCACHE_STR("k"), LCACHE_STR("new"), LCACHE_TTL_NONE));
    UNTIL(HOLDS(hybrid, "k", "new"));
    stats = stats_of(hybrid);
    CHECK(stats.invalidations >= 1 && stats.backfills >= 1 && stats.l2_hits >= 1);
    CHECK_OK(lc_delete(other, LCACHE_STR("k")));
    UNTIL(!HOLDS(hybrid, "k", "new"));
    CHECK_OK(lc_close(hybrid));
    CHECK_OK(lc_close(other));
}

static void without_its_server(void) {
    struct server server;
    server_start(&server, "single");
    server_do(&server, "kill");
    lc_cache cache = 77;
    const char *options = "?prefix=c:hybrid&watchdog=200ms&breaker_open=100ms";
    CHECK_STATUS(LCACHE_ECONNECT, lc_open(url_of("hybrid+", server.url, "?require_l2=true"), &cache));
    CHECK(cache == 77);

    cache = open_cache(url_of("hybrid+", server.url, options));
    CHECK(stats_of(cache).degraded == 1);
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK(HOLDS(cache, "k", "v"));
    CHECK(!HOLDS(cache, "absent", ""));
    CHECK_OK(lc_exists(cache, LCACHE_STR("k")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("absent")));
    lc_bytes keys[] = {{"k", 1}, {"absent", 6}};
    lc_value *values[2];
    size_t number = 77;
    CHECK_OK(lc_get_many(cache, keys, 2, values, &number));
    CHECK(number == 1 && values[0] && !values[1]);
    lc_value_free(values[0]);
    CHECK_OK(lc_set_many(cache, keys, keys, 2, 60000));
    uint64_t ttl, count = 77;
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK_STATUS(LCACHE_MISS, lc_ttl(cache, LCACHE_STR("nowhere"), &ttl));
    CHECK_OK(lc_expire(cache, LCACHE_STR("k"), 30000));
    CHECK_OK(lc_delete(cache, LCACHE_STR("k")));
    CHECK_STATUS(LCACHE_MISS, lc_delete(cache, LCACHE_STR("k")));
    CHECK_OK(lc_delete_many(cache, keys, 2, &number));
    CHECK(number == 1);
    CHECK_OK(lc_clear(cache));
    CHECK_STATUS(LCACHE_ECONNECT, lc_ping(cache));
    CHECK_STATUS(LCACHE_ECONNECT, lc_count(cache, &count));
    CHECK(count == 77);

    /* It joins by itself. */
    server_do(&server, "restart");
    UNTIL(stats_of(cache).degraded == 0);
    CHECK_OK(lc_ping(cache));
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("shared"), LCACHE_TTL_NONE));
    lc_cache other = open_cache(redis_url(server.url, "c:hybrid"));
    CHECK(HOLDS(other, "k", "shared"));
    CHECK_OK(lc_close(other));

    /* Lost again, under way: stopped, then killed. */
    server_do(&server, "pause");
    UNTIL(stats_of(cache).degraded == 1);
    CHECK(HOLDS(cache, "k", "shared"));
    server_do(&server, "resume");
    UNTIL(stats_of(cache).degraded == 0);
    server_do(&server, "kill");
    UNTIL(stats_of(cache).degraded == 1);
    CHECK(HOLDS(cache, "k", "shared"));
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("alone"), LCACHE_TTL_NONE));
    CHECK(HOLDS(cache, "k", "alone"));
    CHECK_OK(lc_close(cache));
    server_stop(&server);
}

int main(void) {
    composed();
    sees_others();
    without_its_server();
    return 0;
}
