/* One key at a time, the same on every kind of cache. */
#include "check.h"

static void reads_and_writes(lc_cache cache) {
    lc_value *value = (lc_value *)1;
    const void *data = "untouched";
    size_t len = 77;
    CHECK_STATUS(LCACHE_MISS, lc_get(cache, LCACHE_STR("absent"), &value, &data, &len));
    CHECK(value == NULL && strcmp(data, "untouched") == 0 && len == 77);
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("absent")));
    CHECK_STATUS(LCACHE_MISS, lc_delete(cache, LCACHE_STR("absent")));

    CHECK_OK(lc_set(cache, LCACHE_STR("user:1"), LCACHE_STR("Ada"), LCACHE_TTL_NONE));
    CHECK(HOLDS(cache, "user:1", "Ada"));
    CHECK_OK(lc_exists(cache, LCACHE_STR("user:1")));
    CHECK_OK(lc_set(cache, LCACHE_STR("user:1"), LCACHE_STR("Grace Hopper"), LCACHE_TTL_DEFAULT));
    CHECK(HOLDS(cache, "user:1", "Grace Hopper"));
    CHECK_OK(lc_get(cache, LCACHE_STR("user:1"), &value, NULL, NULL));
    CHECK(lc_value_size(value) == 12);
    lc_value_free(value);
    CHECK_OK(lc_delete(cache, LCACHE_STR("user:1")));
    CHECK_STATUS(LCACHE_MISS, lc_delete(cache, LCACHE_STR("user:1")));
    CHECK(!HOLDS(cache, "user:1", "Grace Hopper"));

    /* An empty value is a value. */
    CHECK_OK(lc_set(cache, LCACHE_STR("empty"), NULL, 0, LCACHE_TTL_NONE));
    CHECK(HOLDS(cache, "empty", ""));
    CHECK_OK(lc_set(cache, LCACHE_STR("empty"), "", 0, LCACHE_TTL_NONE));
    CHECK_OK(lc_get_into(cache, LCACHE_STR("empty"), NULL, 0, &len));
    CHECK(len == 0);
    /* A number is stored like any other text. */
    CHECK_OK(lc_set(cache, LCACHE_STR("number"), LCACHE_STR("-17"), LCACHE_TTL_NONE));
    CHECK(HOLDS(cache, "number", "-17"));
}

static void any_bytes(lc_cache cache) {
    /* All 256 bytes, glob characters, NUL, CR LF: as a key and as a value. */
    unsigned char every[256 + 16];
    for (int i = 0; i < 256; i++)
        every[i] = (unsigned char)i;
    memcpy(every + 256, "*?[]\\\0\r\n\xff__lc:x", 16);
    for (size_t cut = 1; cut <= sizeof every; cut += 17) {
        const unsigned char *key = every + sizeof every - cut;
        CHECK_OK(lc_set(cache, key, cut, every, cut, LCACHE_TTL_NONE));
        unsigned char back[sizeof every];
        size_t len = 0;
        CHECK_OK(lc_get_into(cache, key, cut, back, sizeof back, &len));
        CHECK(len == cut && memcmp(back, every, cut) == 0);
        CHECK_OK(lc_delete(cache, key, cut));
    }
    /* The longest key, and keys that only almost are the library's own. */
    char *longest = malloc(LCACHE_KEY_MAX);
    memset(longest, '_', LCACHE_KEY_MAX);
    CHECK_OK(lc_set(cache, longest, LCACHE_KEY_MAX, LCACHE_STR("long"), LCACHE_TTL_NONE));
    CHECK_OK(lc_exists(cache, longest, LCACHE_KEY_MAX));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, longest, LCACHE_KEY_MAX - 1));
    CHECK_OK(lc_delete(cache, longest, LCACHE_KEY_MAX));
    free(longest);
    CHECK_OK(lc_set(cache, LCACHE_STR("__lc"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK_OK(lc_delete(cache, LCACHE_STR("__lc")));
}

static void into_a_buffer(lc_cache cache) {
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("0123456789"), LCACHE_TTL_NONE));
    char buf[12];
    memset(buf, '.', sizeof buf);
    size_t len = 0;
    CHECK_STATUS(LCACHE_ERANGE, lc_get_into(cache, LCACHE_STR("k"), buf, 9, &len));
    CHECK(len == 10 && memcmp(buf, "............", 12) == 0);
    CHECK_STATUS(LCACHE_ERANGE, lc_get_into(cache, LCACHE_STR("k"), NULL, 0, &len));
    CHECK(len == 10);
    CHECK_OK(lc_get_into(cache, LCACHE_STR("k"), buf, 10, &len));
    CHECK(len == 10 && memcmp(buf, "0123456789..", 12) == 0);
    CHECK_OK(lc_get_into(cache, LCACHE_STR("k"), buf, sizeof buf, &len));
    len = 77;
    CHECK_STATUS(LCACHE_MISS, lc_get_into(cache, LCACHE_STR("absent"), buf, sizeof buf, &len));
    CHECK(len == 77);

    /* A buffer that is too small counts as a hit. */
    lc_stats before, after;
    CHECK_OK(lc_stats_get(cache, &before, sizeof before));
    CHECK_STATUS(LCACHE_ERANGE, lc_get_into(cache, LCACHE_STR("k"), buf, 1, &len));
    CHECK_OK(lc_stats_get(cache, &after, sizeof after));
    CHECK(after.hits == before.hits + 1 && after.misses == before.misses);
}

static void times_to_live(lc_cache cache) {
    uint64_t ttl = 0;
    CHECK_OK(lc_set(cache, LCACHE_STR("ever"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("ever"), &ttl));
    CHECK(ttl == LCACHE_TTL_NONE);
    CHECK_OK(lc_expire(cache, LCACHE_STR("ever"), 60000));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("ever"), &ttl));
    CHECK(ttl > 0 && ttl <= 60000);
    CHECK(HOLDS(cache, "ever", "v"));
    CHECK_OK(lc_expire(cache, LCACHE_STR("ever"), LCACHE_TTL_NONE));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("ever"), &ttl));
    CHECK(ttl == LCACHE_TTL_NONE);

    ttl = 77;
    CHECK_STATUS(LCACHE_MISS, lc_ttl(cache, LCACHE_STR("absent"), &ttl));
    CHECK(ttl == 77);
    CHECK_STATUS(LCACHE_MISS, lc_expire(cache, LCACHE_STR("absent"), 1000));

    CHECK_OK(lc_set(cache, LCACHE_STR("soon"), LCACHE_STR("v"), 40));
    UNTIL(lc_exists(cache, LCACHE_STR("soon")) == LCACHE_MISS);
    CHECK(!HOLDS(cache, "soon", "v"));
    CHECK_STATUS(LCACHE_MISS, lc_ttl(cache, LCACHE_STR("soon"), &ttl));

    /* A TTL of 0 has already expired. */
    CHECK_OK(lc_set(cache, LCACHE_STR("gone"), LCACHE_STR("old"), LCACHE_TTL_NONE));
    CHECK_OK(lc_set(cache, LCACHE_STR("gone"), LCACHE_STR("new"), 0));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("gone")));
    CHECK_OK(lc_set(cache, LCACHE_STR("gone"), LCACHE_STR("old"), LCACHE_TTL_NONE));
    CHECK_OK(lc_expire(cache, LCACHE_STR("gone"), 0));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("gone")));

    /* The longest TTL is 100 years. */
    const uint64_t century = 100ull * 365 * 24 * 3600 * 1000;
    CHECK_OK(lc_set(cache, LCACHE_STR("century"), LCACHE_STR("v"), century));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("century"), &ttl));
    CHECK(ttl <= century && ttl > century - 60000);
    CHECK_STATUS(LCACHE_EINVAL, lc_set(cache, LCACHE_STR("century"), LCACHE_STR("v"), century + 1));
    CHECK_STATUS(LCACHE_EINVAL, lc_expire(cache, LCACHE_STR("century"), LCACHE_TTL_DEFAULT - 1));
}

static void all_of_it(lc_cache cache) {
    CHECK_OK(lc_clear(cache));
    uint64_t count = 77;
    CHECK_OK(lc_count(cache, &count));
    CHECK(count == 0);
    for (int i = 0; i < 500; i++)
        CHECK_OK(lc_set(cache, &i, sizeof i, &i, sizeof i, LCACHE_TTL_NONE));
    CHECK_OK(lc_count(cache, &count));
    CHECK(count == 500);
    CHECK_OK(lc_ping(cache));
    CHECK_OK(lc_clear(cache));
    CHECK_OK(lc_count(cache, &count));
    CHECK(count == 0);
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, &(int){7}, sizeof(int)));
}

static void works(const char *url, int32_t expected_kind) {
    lc_cache cache = open_cache(url);
    int32_t kind = 0;
    CHECK_OK(lc_kind(cache, &kind));
    CHECK(kind == expected_kind);
    reads_and_writes(cache);
    any_bytes(cache);
    into_a_buffer(cache);
    times_to_live(cache);
    all_of_it(cache);
    CHECK_OK(lc_close(cache));
}

int main(void) {
    works("local:", LCACHE_LOCAL);
    const char *urls[] = {from_env("LC_TEST_URL_SINGLE"), from_env("LC_TEST_URL_VALKEY")};
    for (int i = 0; i < 2; i++) {
        works(redis_url(urls[i], "c:operations"), LCACHE_REDIS);
        works(hybrid_url(urls[i], "c:operations"), LCACHE_HYBRID);
    }
    return 0;
}
