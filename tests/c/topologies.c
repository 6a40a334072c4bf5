/* Every kind of server that a URL can name. */
#include "check.h"

static void works(const char *url) {
    lc_cache cache = open_cache(url);
    CHECK_OK(lc_ping(cache));
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v\0\r\n\xff"), 60000));
    CHECK(HOLDS(cache, "k", "v\0\r\n\xff"));
    uint64_t ttl;
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(ttl > 0 && ttl <= 60000);
    CHECK_OK(lc_delete(cache, LCACHE_STR("k")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("k")));
    CHECK_OK(lc_close(cache));
}

static void both(const char *url, const char *options) {
    works(url_of("", url, options));
    works(url_of("hybrid+", url, url_of(options, "&l2_timeout=20s", "")));
}

int main(void) {
    const char *prefix = "?prefix=app&timeout=20s&connect_timeout=20s";
    both(from_env("LC_TEST_URL_SINGLE"), prefix);
    both(from_env("LC_TEST_URL_VALKEY"), prefix);
    both(from_env("LC_TEST_URL_PASSWORD"), prefix);
    works(url_of("", from_env("LC_TEST_URL_ACL"), prefix));
    both(from_env("LC_TEST_URL_UNIX"), prefix);
    both(from_env("LC_TEST_URL_TLS"), url_of("?prefix=app&timeout=20s&tls_ca=", from_env("LC_TEST_TLS_CA"), ""));
    both(from_env("LC_TEST_URL_CLUSTER"), prefix);
    both(from_env("LC_TEST_URL_SENTINEL"), prefix);
    return 0;
}
