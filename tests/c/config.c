/* Configurations: checked without opening, put together by options, taken from the environment. */
#include "check.h"

int main(void) {
    /* lc_check: what lc_open would understand, also where no server is. */
    const char *good[] = {
        "local:", "local://?shards=16&sweep_interval=250ms", "redis://localhost", "valkey://[::1]:7000/2?prefix=app",
        "rediss://u:p%40ss@example.org?tls_ca=ca.pem", "redis+unix:///run/redis.sock?db=1", "redis://a,b:7001,c",
        "redis+cluster://a:7000", "redis+sentinel://u:p@s1:26379,s2/service/3", "hybrid+redis://localhost?watchdog=2s",
        "hybrid+redis+sentinel://s1/service?l1.shards=8", "hybrid+redis+unix:///run/redis.sock?default_ttl=5m",
        "redis://localhost?wire=raw&prefix=",
    };
    char message[200];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        strcpy(message, "unwritten");
        CHECK_OK(lc_check(good[i], message, sizeof message));
        CHECK(message[0] == 0);
    }
    CHECK_OK(lc_check("local:", NULL, 0));

    /* Messages are cut to the buffer, always ended. */
    memset(message, '.', sizeof message);
    CHECK_STATUS(LCACHE_ECONFIG, lc_check("local:?shard=4", message, 9));
    CHECK(memchr(message, 0, 9) == message + 8 && message[9] == '.' && strncmp(message, lc_last_error(), 8) == 0);
    CHECK_STATUS(LCACHE_ECONFIG, lc_check("local:?shard=4", message, 1));
    CHECK(message[0] == 0);

    /* What can't be opened leaves the handle as it was. */
    lc_cache cache = 77;
    CHECK_STATUS(LCACHE_ECONFIG, lc_open("hybrid+redis://h?ttl_jitter=2", &cache));
    CHECK(cache == 77);
    CHECK_MESSAGE("ttl_jitter");

    /* Option by option; options override the URL; one configuration opens many. */
    lc_config *config = lc_config_new("local:?default_ttl=1s");
    CHECK_STATUS(LCACHE_ECONFIG, lc_config_set(config, "shard", "4"));
    CHECK_MESSAGE("shards");
    CHECK_STATUS(LCACHE_ECONFIG, lc_config_set(config, "shards", "many"));
    CHECK_STATUS(LCACHE_EINVAL, lc_config_set(config, NULL, "4"));
    CHECK_STATUS(LCACHE_EINVAL, lc_config_set(config, "shards", NULL));
    CHECK_OK(lc_config_set(config, "shards", "4"));
    CHECK_OK(lc_config_set(config, "default_ttl", "1h"));
    lc_cache one, two;
    CHECK_OK(lc_config_open(config, &one));
    CHECK_OK(lc_config_open(config, &two));
    CHECK_STATUS(LCACHE_EINVAL, lc_config_open(config, NULL));
    lc_config_free(config);
    CHECK_OK(lc_set(one, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_DEFAULT));
    uint64_t ttl;
    CHECK_OK(lc_ttl(one, LCACHE_STR("k"), &ttl));
    CHECK(ttl > 3500000 && ttl <= 3600000);
    CHECK_STATUS(LCACHE_MISS, lc_exists(two, LCACHE_STR("k")));
    CHECK_OK(lc_close(one));
    CHECK_OK(lc_close(two));

    /* An option that this kind of cache does not have is found at open. */
    config = lc_config_new("local:");
    CHECK_OK(lc_config_set(config, "prefix", "app"));
    CHECK_STATUS(LCACHE_ECONFIG, lc_config_open(config, &cache));
    CHECK_MESSAGE("prefix");
    lc_config_free(config);

    /* The environment. */
    CHECK(unsetenv("LIGHTER_CACHE_URL") == 0 && unsetenv("REDIS_URL") == 0);
    int32_t kind = 0;
    CHECK_OK(lc_open(NULL, &cache));
    CHECK_OK(lc_kind(cache, &kind));
    CHECK(kind == LCACHE_LOCAL);
    CHECK_OK(lc_close(cache));
    const char *server = from_env("LC_TEST_URL_SINGLE");
    CHECK(setenv("REDIS_URL", server, 1) == 0);
    CHECK_OK(lc_open(NULL, &cache));
    CHECK_OK(lc_kind(cache, &kind));
    CHECK(kind == LCACHE_HYBRID);
    CHECK_OK(lc_close(cache));
    CHECK(setenv("LIGHTER_CACHE_URL", redis_url(server, "c:config"), 1) == 0);
    CHECK_OK(lc_check(NULL, message, sizeof message));
    config = lc_config_new(NULL);
    CHECK_OK(lc_config_open(config, &cache));
    lc_config_free(config);
    CHECK_OK(lc_kind(cache, &kind));
    CHECK(kind == LCACHE_REDIS);
    CHECK_OK(lc_close(cache));
    CHECK(setenv("LIGHTER_CACHE_URL", "locl:", 1) == 0);
    CHECK_STATUS(LCACHE_ECONFIG, lc_open(NULL, &cache));
    CHECK_MESSAGE("LIGHTER_CACHE_URL");
    return 0;
}
