/* The library writes nothing to standard output or standard error by itself, also when all goes wrong. */
#include "check.h"
#include "server.h"

#include <fcntl.h>

int main(void) {
    struct server server;
    server_start(&server, "single");
    unsetenv("LIGHTER_CACHE_LOG");
    unsetenv("LIGHTER_CACHE_URL");
    unsetenv("REDIS_URL");
    int out = dup(1), err = dup(2);
    char path[1024];
    snprintf(path, sizeof path, "%s/written", from_env("LC_TEST_DIR"));
    int file = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    CHECK(out >= 0 && err >= 0 && file >= 0 && (check_out = fdopen(err, "w")) != NULL);
    CHECK(dup2(file, 1) >= 0 && dup2(file, 2) >= 0);

    lc_cache cache;
    CHECK_OK(lc_open(NULL, &cache));
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 1));
    CHECK_OK(lc_close(cache));
    CHECK_STATUS(LCACHE_ECONFIG, lc_open("nonsense://x", &cache));
    CHECK_STATUS(LCACHE_ECONNECT, lc_open(from_env("LC_TEST_URL_REFUSED"), &cache));
    CHECK_STATUS(LCACHE_EHANDLE, lc_close(4711));
    lc_cache redis = open_cache(redis_url(server.url, "c"));
    lc_cache hybrid = open_cache(url_of("hybrid+", server.url, "?prefix=c&watchdog=100ms"));
    CHECK_OK(lc_set(hybrid, LCACHE_STR("k"), LCACHE_STR("v"), 60000));
    server_do(&server, "kill");
    CHECK(lc_ping(redis) < 0);
    lc_stats stats = {0};
    UNTIL(lc_stats_get(hybrid, &stats, sizeof stats) == LCACHE_OK && stats.degraded);
    CHECK_OK(lc_set(hybrid, LCACHE_STR("k"), LCACHE_STR("v"), 60000));
    CHECK_OK(lc_shutdown(1000));

    CHECK(dup2(out, 1) >= 0 && dup2(err, 2) >= 0);
    check_out = NULL;
    off_t written = lseek(file, 0, SEEK_END);
    if (written > 0) {
        char text[4096];
        ssize_t len = pread(file, text, sizeof text, 0);
        fprintf(stderr, "written: %.*s\n", (int)len, text);
    }
    CHECK(written == 0);
    server_stop(&server);
    return 0;
}
