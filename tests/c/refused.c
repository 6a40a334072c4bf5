/* Arguments that are refused: a clear error, nothing written, nothing lost. */
#include "check.h"

static const size_t over_ssize = (size_t)1 << (sizeof(size_t) * 8 - 1);

static void nulls_and_lengths(lc_cache cache) {
    lc_value *value;
    const void *data;
    size_t len = 77;
    uint64_t number = 77;
    char buf[8];

    CHECK_OK(lc_set(cache, LCACHE_STR("kept"), LCACHE_STR("v"), LCACHE_TTL_NONE));

    /* Keys: NULL, empty, reserved, too long, absurd. */
    const struct {
        const void *key;
        size_t len;
        lc_status status;
    } keys[] = {
        {NULL, 3, LCACHE_EINVAL},         {NULL, 0, LCACHE_EINVAL},
        {"", 0, LCACHE_EINVAL},           {"__lc:", 5, LCACHE_EINVAL},
        {"__lc:tag:x", 10, LCACHE_EINVAL}, {"k", LCACHE_KEY_MAX + 1, LCACHE_ETOOBIG},
        {"k", over_ssize, LCACHE_ETOOBIG}, {"k", SIZE_MAX, LCACHE_ETOOBIG},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const void *key = keys[i].key;
        size_t key_len = keys[i].len;
        lc_status expected = keys[i].status;
        /* A real key of that length, where the length is not absurd. */
        char *long_key = NULL;
        if (key_len == LCACHE_KEY_MAX + 1)
            key = long_key = calloc(1, key_len);
        value = (lc_value *)1;
        data = buf;
        CHECK_STATUS(expected, lc_get(cache, key, key_len, &value, &data, &len));
        CHECK(value == NULL && data == buf);
        CHECK_STATUS(expected, lc_get_into(cache, key, key_len, buf, sizeof buf, &len));
        CHECK_STATUS(expected, lc_set(cache, key, key_len, LCACHE_STR("v"), LCACHE_TTL_NONE));
        CHECK_STATUS(expected, lc_delete(cache, key, key_len));
        CHECK_STATUS(expected, lc_exists(cache, key, key_len));
        CHECK_STATUS(expected, lc_ttl(cache, key, key_len, &number));
        CHECK_STATUS(expected, lc_expire(cache, key, key_len, 1000));
        CHECK(lc_last_error()[0] != 0);
        free(long_key);
    }
    CHECK(len == 77 && number == 77);

    /* Values and buffers. */
    CHECK_STATUS(LCACHE_EINVAL, lc_set(cache, LCACHE_STR("k"), NULL, 1, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_ETOOBIG, lc_set(cache, LCACHE_STR("k"), "v", LCACHE_VALUE_MAX + 1, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_ETOOBIG, lc_set(cache, LCACHE_STR("k"), "v", over_ssize, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_ETOOBIG, lc_set(cache, LCACHE_STR("k"), NULL, SIZE_MAX, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_into(cache, LCACHE_STR("kept"), NULL, 1, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_into(cache, LCACHE_STR("kept"), buf, over_ssize, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_DEFAULT - 1));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("k")));

    /* Output parameters that are needed. */
    CHECK_STATUS(LCACHE_EINVAL, lc_get(cache, LCACHE_STR("kept"), NULL, &data, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_into(cache, LCACHE_STR("kept"), buf, sizeof buf, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_ttl(cache, LCACHE_STR("kept"), NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_stats_get(cache, NULL, sizeof(lc_stats)));
    CHECK_STATUS(LCACHE_EINVAL, lc_stats_get(cache, (lc_stats *)buf, SIZE_MAX));
    CHECK_STATUS(LCACHE_EINVAL, lc_count(cache, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_kind(cache, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_dup(cache, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_open("local:", NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_open_hybrid(cache, 0, NULL, NULL));

    /* Batches. */
    lc_bytes key = {"kept", 4};
    lc_value *values[2] = {NULL, NULL};
    CHECK_STATUS(LCACHE_EINVAL, lc_get_many(cache, NULL, 1, values, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_many(cache, &key, 1, NULL, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_many(cache, &key, 1, values, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_many(cache, &key, SIZE_MAX, values, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_many(cache, &key, SIZE_MAX / 16, values, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_set_many(cache, NULL, &key, 1, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_EINVAL, lc_set_many(cache, &key, NULL, 1, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_EINVAL, lc_set_many(cache, &key, &key, SIZE_MAX, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_EINVAL, lc_delete_many(cache, NULL, 1, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_delete_many(cache, &key, 1, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_delete_many(cache, &key, SIZE_MAX, &len));
    lc_bytes endless = {"k", over_ssize};
    CHECK_STATUS(LCACHE_ETOOBIG, lc_get_many(cache, &endless, 1, values, &len));
    CHECK_STATUS(LCACHE_ETOOBIG, lc_set_many(cache, &endless, &key, 1, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_ETOOBIG, lc_set_many(cache, &key, &endless, 1, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_ETOOBIG, lc_delete_many(cache, &endless, 1, &len));
    CHECK(len == 77 && values[0] == NULL);

    CHECK(HOLDS(cache, "kept", "v"));
}

static void handles(lc_cache closed) {
    const lc_cache bad[] = {0, 1, 7, UINT32_MAX, (lc_cache)1 << 32, UINT64_MAX, 0xdeadbeefdeadbeef, closed};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lc_cache cache = bad[i], out = 77;
        lc_value *value = (lc_value *)1, *values[1] = {(lc_value *)1};
        size_t len = 77;
        uint64_t number = 77;
        int32_t kind = 77;
        lc_stats stats;
        lc_bytes key = {"k", 1};
        char buf[8];
        CHECK_STATUS(LCACHE_EHANDLE, lc_get(cache, LCACHE_STR("k"), &value, NULL, &len));
        CHECK(value == NULL);
        CHECK_STATUS(LCACHE_EHANDLE, lc_get_into(cache, LCACHE_STR("k"), buf, sizeof buf, &len));
        CHECK_STATUS(LCACHE_EHANDLE, lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 1000));
        CHECK_STATUS(LCACHE_EHANDLE, lc_delete(cache, LCACHE_STR("k")));
        CHECK_STATUS(LCACHE_EHANDLE, lc_exists(cache, LCACHE_STR("k")));
        CHECK_STATUS(LCACHE_EHANDLE, lc_clear(cache));
        CHECK_STATUS(LCACHE_EHANDLE, lc_get_many(cache, &key, 1, values, &len));
        CHECK(values[0] == NULL);
        CHECK_STATUS(LCACHE_EHANDLE, lc_set_many(cache, &key, &key, 1, 1000));
        CHECK_STATUS(LCACHE_EHANDLE, lc_delete_many(cache, &key, 1, &len));
        CHECK_STATUS(LCACHE_EHANDLE, lc_ttl(cache, LCACHE_STR("k"), &number));
        CHECK_STATUS(LCACHE_EHANDLE, lc_expire(cache, LCACHE_STR("k"), 1000));
        CHECK_STATUS(LCACHE_EHANDLE, lc_stats_get(cache, &stats, sizeof stats));
        CHECK_STATUS(LCACHE_EHANDLE, lc_count(cache, &number));
        CHECK_STATUS(LCACHE_EHANDLE, lc_ping(cache));
        CHECK_STATUS(LCACHE_EHANDLE, lc_kind(cache, &kind));
        CHECK_STATUS(LCACHE_EHANDLE, lc_dup(cache, &out));
        CHECK_STATUS(LCACHE_EHANDLE, lc_open_hybrid(cache, 0, NULL, &out));
        CHECK_STATUS(LCACHE_EHANDLE, lc_close(cache));
        CHECK(len == 77 && number == 77 && kind == 77 && out == 77);
    }
}

static void urls(void) {
    const struct {
        const char *url, *message;
    } bad[] = {
        {"", ""},
        {"nonsense", ""},
        {"memcached://localhost", "memcached"},
        {"locl:", "local"},
        {"local:?shard=4", "shards"},
        {"local:?shards=many", "shards"},
        {"local:?sweep_interval=5x", "sweep_interval"},
        {"redis://", "host"},
        {"redis://localhost:99999", ""},
        {"redis://localhost/notanumber", ""},
        {"redis://user:p@ss@localhost", "@"},
        {"redis://localhost?prefx=app", "prefix"},
        {"redis://localhost?timeout=fast", "timeout"},
        {"redis://localhost?prefix=", "prefix"},
        {"hybrid+redis://localhost?prefix=", "prefix"},
        {"hybrid+redis://localhost?read_from=replica", "read_from"},
        {"rediss://localhost#insecure", "insecure"},
        {"redis://localhost?prefix=\xff", ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lc_cache cache = 77;
        char message[256] = "unwritten";
        if (lc_open(bad[i].url, &cache) != LCACHE_ECONFIG)
            fprintf(stderr, "URL %zu: %s\n", i, bad[i].url);
        CHECK_STATUS(LCACHE_ECONFIG, lc_open(bad[i].url, &cache));
        CHECK(cache == 77 && lc_last_error()[0] != 0);
        CHECK_MESSAGE(bad[i].message);
        CHECK_STATUS(LCACHE_ECONFIG, lc_check(bad[i].url, message, sizeof message));
        CHECK(strcmp(message, lc_last_error()) == 0);
        CHECK_STATUS(LCACHE_ECONFIG, lc_check(bad[i].url, NULL, 0));

        lc_config *config = lc_config_new(bad[i].url);
        CHECK(config != NULL);
        CHECK_STATUS(LCACHE_ECONFIG, lc_config_open(config, &cache));
        CHECK(cache == 77);
        lc_config_free(config);
    }
    /* No message shows a password. */
    const char *secrets[] = {"redis://user:canary77@", "redis://:canary77@localhost?timeot=1s",
                             "redis://u:canary77@x@localhost", "redis://localhost?password=canary77&db=x"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        lc_cache cache;
        CHECK_STATUS(LCACHE_ECONFIG, lc_open(secrets[i], &cache));
        CHECK(!strstr(lc_last_error(), "canary77"));
    }
}

int main(void) {
    lc_cache local = open_cache("local:"), closed = open_cache("local:");
    CHECK_OK(lc_close(closed));
    nulls_and_lengths(local);
    lc_cache redis = open_cache(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:refused"));
    nulls_and_lengths(redis);
    lc_cache hybrid = open_cache(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:refused"));
    nulls_and_lengths(hybrid);
    handles(closed);
    urls();
    CHECK_OK(lc_clear(redis));
    CHECK_OK(lc_close(local));
    CHECK_OK(lc_close(redis));
    CHECK_OK(lc_close(hybrid));

    CHECK_STATUS(LCACHE_EINVAL, lc_config_set(NULL, "prefix", "x"));
    CHECK_STATUS(LCACHE_EINVAL, lc_config_open(NULL, &local));
    CHECK_STATUS(LCACHE_EINVAL, lc_check("local:", NULL, 8));
    lc_config_free(NULL);
    return 0;
}
