/* Pinned values: no copy, no change under the reader, alive after everything else is gone. */
#include "check.h"

static void outlives_everything(const char *url) {
    lc_cache cache = open_cache(url);
    size_t size = 1 << 20;
    char *bytes = malloc(size);
    memset(bytes, 'a', size);
    CHECK_OK(lc_set(cache, LCACHE_STR("big"), bytes, size, LCACHE_TTL_NONE));

    lc_value *value = NULL;
    const void *data = NULL;
    size_t len = 0;
    CHECK_OK(lc_get(cache, LCACHE_STR("big"), &value, &data, &len));
    CHECK(len == size && memcmp(data, bytes, size) == 0);
    CHECK(lc_value_ref(value) == value);

    /* Overwritten, deleted, cleared, closed: the value stays as it was. */
    memset(bytes, 'b', size);
    CHECK_OK(lc_set(cache, LCACHE_STR("big"), bytes, size, LCACHE_TTL_NONE));
    CHECK_OK(lc_delete(cache, LCACHE_STR("big")));
    CHECK_OK(lc_clear(cache));
    CHECK_OK(lc_close(cache));
    memset(bytes, 'a', size);
    CHECK(lc_value_data(value) == data && lc_value_size(value) == size);
    CHECK(memcmp(data, bytes, size) == 0);
    lc_value_free(value);
    CHECK(memcmp(lc_value_data(value), bytes, size) == 0);
    lc_value_free(value);
    free(bytes);
}

static void is_not_copied(void) {
    /* Two readers of one Local entry see the same bytes. */
    lc_cache cache = open_cache("local:");
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("shared"), LCACHE_TTL_NONE));
    lc_value *one, *two;
    CHECK_OK(lc_get(cache, LCACHE_STR("k"), &one, NULL, NULL));
    CHECK_OK(lc_get(cache, LCACHE_STR("k"), &two, NULL, NULL));
    CHECK(lc_value_data(one) == lc_value_data(two));
    /* Overwriting in place is for values that nobody holds. */
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("SHARED"), LCACHE_TTL_NONE));
    CHECK(memcmp(lc_value_data(one), "shared", 6) == 0);
    lc_value_free(one);
    lc_value_free(two);
    CHECK(HOLDS(cache, "k", "SHARED"));
    CHECK_OK(lc_close(cache));
}

int main(void) {
    outlives_everything("local:");
    outlives_everything(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:values"));
    outlives_everything(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:values"));
    is_not_copied();

    lc_value_free(NULL);
    CHECK(lc_value_data(NULL) == NULL && lc_value_size(NULL) == 0 && lc_value_ref(NULL) == NULL);

    lc_cache cache = open_cache("local:");
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("after shutdown"), LCACHE_TTL_NONE));
    lc_value *value;
    CHECK_OK(lc_get(cache, LCACHE_STR("k"), &value, NULL, NULL));
    CHECK_OK(lc_shutdown(1000));
    CHECK(memcmp(lc_value_data(value), "after shutdown", lc_value_size(value)) == 0);
    lc_value_free(value);
    return 0;
}
