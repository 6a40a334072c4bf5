/* exit() while calls are in flight, and after the library was used in every way: no hang, no crash. */
#include "check.h"
#include "server.h"

#include <pthread.h>

static struct server server;
static volatile int asked;
static lc_cache cache;

static void *waits(void *unused) {
    lc_value *value;
    asked = 1;
    (void)lc_get(cache, LCACHE_STR("k"), &value, NULL, NULL);
    return unused;
}

static void *works(void *unused) {
    asked = 1;
    for (;;)
        (void)lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_NONE);
    return unused;
}

/* In a process of its own: starts four threads with `body`, and leaves while they are inside. */
static void leave_during(const char *url, void *(*body)(void *), int by_shutdown) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        cache = open_cache(url);
        if (body == waits)
            server_do(&server, "pause");
        pthread_t thread;
        for (int i = 0; i < 4; i++)
            CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
        UNTIL(asked);
        pause_ms(20);
        if (by_shutdown)
            CHECK_OK(lc_shutdown(1000));
        exit(7);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    if (body == waits)
        server_do(&server, "resume");
    if (!WIFEXITED(status))
        fprintf(stderr, "%s: ended by signal %d\n", url, WTERMSIG(status));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

int main(void) {
    server_start(&server, "single");
    const char *redis = url_of("", server.url, "?prefix=c&timeout=60s");
    const char *hybrid = url_of("hybrid+", server.url, "?prefix=c&l2_timeout=60s");
    for (int by_shutdown = 0; by_shutdown < 2; by_shutdown++) {
        leave_during(redis, waits, by_shutdown);
        leave_during(hybrid, waits, by_shutdown);
        leave_during("local:", works, by_shutdown);
        leave_during(redis, works, by_shutdown);
        leave_during(hybrid, works, by_shutdown);
    }
    server_stop(&server);
    return 0;
}
