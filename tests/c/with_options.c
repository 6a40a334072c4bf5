/* Reads and writes with options: what they do, and what a structure of another size means. */
#include "check.h"

static const uint64_t hour = 3600 * 1000, century = 100ull * 365 * 24 * 3600 * 1000;

static lc_set_options options_with(uint64_t ttl_ms) {
    lc_set_options options = LCACHE_SET_OPTIONS_INIT;
    options.ttl_ms = ttl_ms;
    return options;
}

#define SET(key, value, options) lc_set_ex(cache, LCACHE_STR(key), LCACHE_STR(value), options, sizeof *(options))
#define GET(key, result) lc_get_ex(cache, LCACHE_STR(key), NULL, 0, result, sizeof *(result))

static void reads(lc_cache cache, uint32_t expected_flags) {
    lc_get_result result;
    memset(&result, 0xee, sizeof result);
    CHECK_STATUS(LCACHE_MISS, GET("k", &result));
    CHECK(!result.value && !result.data && !result.len && !result.ttl_ms && !result.flags && !result._reserved);
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("value"), hour));
    lc_get_options patience = LCACHE_GET_OPTIONS_INIT;
    patience.timeout_ms = 20000;
    CHECK_OK(lc_get_ex(cache, LCACHE_STR("k"), &patience, sizeof patience, &result, sizeof result));
    CHECK(result.len == 5 && memcmp(result.data, "value", 5) == 0 && result.data == lc_value_data(result.value));
    CHECK(result.ttl_ms <= hour && result.ttl_ms > hour - 60000);
    CHECK(result.flags == expected_flags && !result._reserved);
    CHECK_OK(lc_delete(cache, LCACHE_STR("k")));
    CHECK(memcmp(result.data, "value", 5) == 0);
    lc_value_free(result.value);

    CHECK_OK(lc_set(cache, LCACHE_STR("k"), NULL, 0, LCACHE_TTL_NONE));
    CHECK_OK(GET("k", &result));
    CHECK(result.value && result.len == 0 && result.ttl_ms == LCACHE_TTL_NONE);
    lc_value_free(result.value);
    CHECK_STATUS(LCACHE_EINVAL, GET("__lc:x", &result));
}

/* A caller with an older or a newer header. */
static void result_sizes(lc_cache cache) {
    struct {
        lc_get_result result;
        char later[24];
    } longer;
    lc_get_result *result = &longer.result;
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("value"), hour));
    memset(&longer, 0xee, sizeof longer);
    CHECK_OK(lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, result, offsetof(lc_get_result, ttl_ms)));
    CHECK(result->len == 5 && result->ttl_ms == 0xeeeeeeeeeeeeeeee && result->flags == 0xeeeeeeee);
    lc_value_free(result->value);
    CHECK_OK(lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, result, sizeof longer));
    CHECK(result->len == 5 && longer.later[0] == 0 && longer.later[23] == 0);
    lc_value_free(result->value);
    /* Where the value does not fit, none is handed out, and none is lost. */
    for (size_t size = 0; size < sizeof result->value; size++) {
        memset(&longer, 0xee, sizeof longer);
        CHECK_OK(lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, result, size));
        for (size_t i = 0; i < sizeof *result; i++)
            CHECK(((unsigned char *)result)[i] == (i < size ? 0 : 0xee));
    }
}

static void writes(lc_cache cache) {
    uint64_t ttl = 0;
    lc_set_options options = options_with(hour);
    CHECK_OK(SET("k", "one", &options));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(HOLDS(cache, "k", "one") && ttl <= hour);
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("two"), NULL, 0));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(HOLDS(cache, "k", "two") && ttl == LCACHE_TTL_NONE);
    options.timeout_ms = 20000;
    options.ttl_ms = LCACHE_TTL_NONE;
    options.stale_ms = 0;
    CHECK_OK(SET("k", "three", &options));
    options.ttl_ms = 0;
    CHECK_OK(SET("k", "four", &options));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("k")));
    options.ttl_ms = century + 1;
    CHECK_STATUS(LCACHE_EINVAL, SET("k", "five", &options));
    options = options_with(hour);
    options.stale_ms = century + 1;
    CHECK_STATUS(LCACHE_EINVAL, SET("k", "five", &options));
    options.stale_ms = century;
    CHECK_OK(SET("k", "five", &options));
    CHECK_STATUS(LCACHE_EINVAL, SET("__lc:x", "v", &options));
    /* A number that carries a stale window or tags is no counter. */
    int64_t n;
    CHECK_OK(SET("k", "5", &options));
    CHECK_STATUS(LCACHE_ETYPE, lc_incr(cache, LCACHE_STR("k"), 1, hour, &n));
}

static void options_sizes(lc_cache cache) {
    struct {
        lc_set_options options;
        char later[24];
    } longer;
    uint64_t ttl = 0;
    lc_bytes tag = {LCACHE_STR("tag")};
    /* Shorter: what is cut off counts as zero, whatever is there. */
    memset(&longer, 0xee, sizeof longer);
    longer.options.ttl_ms = hour;
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), &longer.options, sizeof longer.options.ttl_ms));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(ttl <= hour);
    CHECK_OK(lc_incr(cache, LCACHE_STR("n"), 1, hour, &(int64_t){0}));
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("n"), LCACHE_STR("1"), &longer.options, sizeof longer.options.ttl_ms));
    CHECK_OK(lc_incr(cache, LCACHE_STR("n"), 1, hour, &(int64_t){0})); /* no tags, no stale window */
    /* Nothing of it: a ttl_ms of 0, which has expired. */
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), &longer.options, 0));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("k")));
    /* Longer, of a later version, and nothing asked for that this one does not know. */
    memset(&longer, 0, sizeof longer);
    longer.options.ttl_ms = hour;
    longer.options.tags = &tag;
    longer.options.tag_count = 1;
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), &longer.options, sizeof longer));
    CHECK_OK(lc_invalidate_tag(cache, LCACHE_STR("tag")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("k")));
}

static void tags(lc_cache cache) {
    const lc_bytes names[] = {{LCACHE_STR("red")}, {"b\0e", 3}};
    lc_set_options both = options_with(hour), red = both, second = both;
    both.tags = red.tags = names;
    both.tag_count = 2;
    red.tag_count = 1;
    second.tags = names + 1;
    second.tag_count = 1;
    CHECK_OK(SET("both", "v", &both));
    CHECK_OK(SET("red", "v", &red));
    CHECK_OK(SET("second", "v", &second));
    CHECK_OK(lc_set(cache, LCACHE_STR("none"), LCACHE_STR("v"), hour));
    CHECK_OK(lc_invalidate_tag(cache, LCACHE_STR("nobody's")));
    CHECK(HOLDS(cache, "both", "v") && HOLDS(cache, "red", "v") && HOLDS(cache, "second", "v"));
    CHECK_OK(lc_invalidate_tag(cache, "b\0e", 3));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("both")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("second")));
    CHECK(HOLDS(cache, "red", "v") && HOLDS(cache, "none", "v"));
    /* Absent for everything. */
    CHECK_STATUS(LCACHE_MISS, lc_delete(cache, LCACHE_STR("both")));
    CHECK_STATUS(LCACHE_MISS, lc_replace(cache, LCACHE_STR("both"), LCACHE_STR("w"), hour));
    CHECK_OK(lc_add(cache, LCACHE_STR("both"), LCACHE_STR("w"), hour));
    /* What is stored with it later is not affected. */
    CHECK_OK(SET("second", "w", &second));
    CHECK(HOLDS(cache, "second", "w") && HOLDS(cache, "both", "w"));
}

static void works(const char *url, uint32_t expected_flags) {
    lc_cache cache = open_cache(url);
    reads(cache, expected_flags);
    result_sizes(cache);
    writes(cache);
    options_sizes(cache);
    tags(cache);
    CHECK_OK(lc_clear(cache));
    CHECK_OK(lc_close(cache));
}

int main(void) {
    works("local:", LCACHE_FROM_L1);
    works(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:with_options"), LCACHE_FROM_L2);
    works(redis_url(from_env("LC_TEST_URL_VALKEY"), "c:with_options"), LCACHE_FROM_L2);
    works(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:with_options:h"), LCACHE_FROM_L1);
    works(hybrid_url(from_env("LC_TEST_URL_VALKEY"), "c:with_options:h"), LCACHE_FROM_L1);
    return 0;
}
