/* Many keys at once. */
#include "check.h"

enum { N = 1000 };

static void works(const char *url) {
    lc_cache cache = open_cache(url);
    CHECK_OK(lc_clear(cache));
    static char names[N][16];
    lc_bytes keys[N], values[N];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "key %d", i);
        keys[i] = (lc_bytes){names[i], strlen(names[i])};
        values[i] = (lc_bytes){names[i], (size_t)i % 5};
    }
    values[0] = (lc_bytes){NULL, 0};
    CHECK_OK(lc_set_many(cache, keys, values, N, LCACHE_TTL_NONE));
    uint64_t count;
    CHECK_OK(lc_count(cache, &count));
    CHECK(count == N);

    CHECK_OK(lc_delete(cache, keys[3].data, keys[3].len));
    CHECK_OK(lc_delete(cache, keys[N - 1].data, keys[N - 1].len));
    lc_value *found[N];
    memset(found, 1, sizeof found);
    size_t hits = 77;
    CHECK_OK(lc_get_many(cache, keys, N, found, &hits));
    CHECK(hits == N - 2);
    for (int i = 0; i < N; i++) {
        CHECK((found[i] == NULL) == (i == 3 || i == N - 1));
        if (found[i]) {
            CHECK(lc_value_size(found[i]) == values[i].len);
            CHECK(memcmp(lc_value_data(found[i]), names[i], values[i].len) == 0);
        }
        lc_value_free(found[i]);
    }

    /* The same key twice. */
    lc_bytes twice[] = {keys[5], keys[5], keys[3]};
    CHECK_OK(lc_get_many(cache, twice, 3, found, &hits));
    CHECK(hits == 2 && found[0] && found[1] && !found[2]);
    lc_value_free(found[0]);
    lc_value_free(found[1]);

    size_t deleted = 77;
    CHECK_OK(lc_delete_many(cache, keys, N / 2, &deleted));
    CHECK(deleted == N / 2 - 1);
    CHECK_OK(lc_delete_many(cache, keys, N / 2, &deleted));
    CHECK(deleted == 0);

    /* A TTL is that of all; 0 removes. */
    CHECK_OK(lc_set_many(cache, keys, values, 10, 60000));
    uint64_t ttl;
    CHECK_OK(lc_ttl(cache, keys[9].data, keys[9].len, &ttl));
    CHECK(ttl > 0 && ttl <= 60000);
    CHECK_OK(lc_set_many(cache, keys, values, 10, 0));
    CHECK_OK(lc_get_many(cache, keys, 10, found, &hits));
    CHECK(hits == 0 && !found[0]);

    /* None at all. */
    CHECK_OK(lc_set_many(cache, NULL, NULL, 0, LCACHE_TTL_NONE));
    hits = deleted = 77;
    CHECK_OK(lc_get_many(cache, NULL, 0, NULL, &hits));
    CHECK_OK(lc_delete_many(cache, NULL, 0, &deleted));
    CHECK(hits == 0 && deleted == 0);

    /* One that is refused refuses the whole batch, before anything is stored. */
    CHECK_OK(lc_clear(cache));
    lc_bytes bad[] = {keys[0], {"", 0}, keys[1]};
    lc_bytes reserved[] = {keys[0], {"__lc:x", 6}, keys[1]};
    memset(found, 1, sizeof found);
    hits = deleted = 77;
    CHECK_STATUS(LCACHE_EINVAL, lc_set_many(cache, bad, values, 3, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_EINVAL, lc_set_many(cache, reserved, values, 3, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_many(cache, reserved, 3, found, &hits));
    CHECK(!found[0] && !found[1] && !found[2]);
    CHECK_STATUS(LCACHE_EINVAL, lc_delete_many(cache, bad, 3, &deleted));
    CHECK(hits == 77 && deleted == 77);
    lc_bytes null_value[] = {{"a", 1}, {NULL, 1}, {"c", 1}};
    CHECK_STATUS(LCACHE_EINVAL, lc_set_many(cache, keys, null_value, 3, LCACHE_TTL_NONE));
    lc_bytes too_big[] = {{"a", 1}, {"b", LCACHE_VALUE_MAX + 1}, {"c", 1}};
    CHECK_STATUS(LCACHE_ETOOBIG, lc_set_many(cache, keys, too_big, 3, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_EINVAL, lc_set_many(cache, keys, values, 3, LCACHE_TTL_DEFAULT - 1));
    CHECK_OK(lc_count(cache, &count));
    CHECK(count == 0);
    CHECK_OK(lc_close(cache));
}

int main(void) {
    works("local:");
    works(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:batches"));
    works(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:batches"));
    works(redis_url(from_env("LC_TEST_URL_CLUSTER"), "c:batches"));
    return 0;
}
