/* The counters, and how the structure is shortened and lengthened. */
#include "check.h"

static void counts(const char *url) {
    lc_cache cache = open_cache(url);
    CHECK_OK(lc_clear(cache));
    lc_stats before, stats;
    CHECK_OK(lc_stats_get(cache, &before, sizeof before));
    CHECK_OK(lc_set(cache, LCACHE_STR("a"), LCACHE_STR("1"), LCACHE_TTL_NONE));
    CHECK_OK(lc_set(cache, LCACHE_STR("b"), LCACHE_STR("22"), LCACHE_TTL_NONE));
    for (int i = 0; i < 3; i++)
        CHECK(HOLDS(cache, "a", "1"));
    CHECK(!HOLDS(cache, "absent", ""));
    CHECK_OK(lc_exists(cache, LCACHE_STR("a")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("absent")));
    lc_bytes keys[] = {{"a", 1}, {"absent", 6}, {"b", 1}};
    lc_value *values[3];
    size_t hits;
    CHECK_OK(lc_get_many(cache, keys, 3, values, &hits));
    lc_value_free(values[0]);
    lc_value_free(values[2]);
    CHECK_OK(lc_delete(cache, LCACHE_STR("b")));
    CHECK_STATUS(LCACHE_MISS, lc_delete(cache, LCACHE_STR("b")));
    size_t deleted;
    CHECK_OK(lc_delete_many(cache, keys + 1, 2, &deleted));
    CHECK(deleted == 0);

    CHECK_OK(lc_stats_get(cache, &stats, sizeof stats));
    CHECK(stats.hits == before.hits + 5);
    CHECK(stats.misses == before.misses + 2);
    CHECK(stats.sets == before.sets + 2);
    CHECK(stats.deletes == before.deletes + 1);
    CHECK(stats.evictions == 0 && stats.errors == 0 && stats.degraded == 0 && stats._reserved == 0);
    CHECK(stats.hit_rate == (double)stats.hits / (double)(stats.hits + stats.misses));
    int32_t kind;
    CHECK_OK(lc_kind(cache, &kind));
    CHECK(stats.entries == (kind == LCACHE_REDIS ? UINT64_MAX : 1));
    if (kind != LCACHE_REDIS)
        CHECK(stats.bytes > 0);
    CHECK_OK(lc_close(cache));
}

int main(void) {
    counts("local:");
    counts(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:stats"));
    counts(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:stats:h"));

    lc_cache cache = open_cache("local:");
    CHECK_OK(lc_set(cache, LCACHE_STR("a"), LCACHE_STR("1"), LCACHE_TTL_NONE));
    lc_stats stats;
    CHECK_OK(lc_stats_get(cache, &stats, sizeof stats));
    CHECK(stats.entries == 1 && stats.hit_rate == 0.0);

    /* A caller of an older header gets the fields that it knows. */
    struct {
        lc_stats known;
        unsigned char tail[64];
    } room;
    memset(&room, 0xaa, sizeof room);
    CHECK_OK(lc_stats_get(cache, &room.known, 2 * sizeof(uint64_t)));
    CHECK(room.known.entries == 1 && room.known.bytes == stats.bytes);
    CHECK(room.known.hits == 0xaaaaaaaaaaaaaaaa);
    memset(&room, 0xaa, sizeof room);
    CHECK_OK(lc_stats_get(cache, &room.known, 0));
    CHECK(room.known.entries == 0xaaaaaaaaaaaaaaaa);
    /* A caller of a newer header gets zeroes for what this library does not know. */
    CHECK_OK(lc_stats_get(cache, &room.known, sizeof room));
    CHECK(room.known.entries == 1);
    for (size_t i = 0; i < sizeof room.tail; i++)
        CHECK(room.tail[i] == 0);
    CHECK_OK(lc_close(cache));
    return 0;
}
