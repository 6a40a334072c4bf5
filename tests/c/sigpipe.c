/* A server that went away is an error, not a signal: SIGPIPE has its default action here, which kills. */
#include "check.h"
#include "server.h"

static void loses_its_server(const char *topology) {
    struct server server;
    server_start(&server, topology);
    lc_cache redis = open_cache(redis_url(server.url, "c"));
    lc_cache hybrid = open_cache(hybrid_url(server.url, "c"));
    CHECK_OK(lc_set(redis, LCACHE_STR("k"), LCACHE_STR("v"), 60000));
    CHECK_OK(lc_set(hybrid, LCACHE_STR("k"), LCACHE_STR("v"), 60000));
    server_do(&server, "kill");
    static char big[1 << 20];
    for (int i = 0; i < 3; i++) {
        CHECK(lc_set(redis, LCACHE_STR("k"), big, sizeof big, 60000) < 0);
        CHECK(lc_ping(redis) < 0);
        CHECK_OK(lc_set(hybrid, LCACHE_STR("k"), big, sizeof big, 60000));
    }
    CHECK_OK(lc_close(redis));
    CHECK_OK(lc_close(hybrid));
    server_stop(&server);
}

int main(void) {
    /* The topology `unix` is LC_TEST_URL_UNIX's, but with a server that can be killed. */
    struct sigaction action;
    CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    loses_its_server("unix");
    loses_its_server("single");
    CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    return 0;
}
