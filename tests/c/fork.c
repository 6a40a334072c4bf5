/* After fork() parent and child go on with every handle, whatever other threads were doing. */
#include "check.h"
#include "server.h"

#include <pthread.h>
#include <stdatomic.h>

enum { FORKS = 40, THREADS = 4 };

static lc_cache local, redis, hybrid;
static lc_value *pinned;
static atomic_int done;

static void use(lc_cache cache, const char *key) {
    CHECK_OK(lc_set(cache, key, strlen(key), LCACHE_STR("busy"), 60000));
    CHECK(HOLDS(cache, key, "busy"));
}

static void *busy(void *key) {
    while (!atomic_load(&done)) {
        use(local, key);
        use(redis, key);
        use(hybrid, key);
        /* Handles and values come and go too. */
        lc_cache cache;
        CHECK_OK(lc_dup(local, &cache));
        CHECK_OK(lc_close(cache));
    }
    return NULL;
}

static void in_child(int depth) {
    CHECK(HOLDS(local, "before", "kept"));
    CHECK(memcmp(lc_value_data(pinned), "pinned", 6) == 0);
    use(local, "child");
    CHECK(HOLDS(redis, "before", "kept"));
    use(redis, "child");
    CHECK(HOLDS(hybrid, "before", "kept"));
    use(hybrid, "child");
    if (depth == 0) {
        pid_t grandchild = fork();
        CHECK(grandchild >= 0);
        if (grandchild == 0) {
            alarm(20);
            in_child(1);
            _exit(0);
        }
        int status;
        CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
    }
    lc_value_free(pinned);
    CHECK_OK(lc_close(redis));
    CHECK_OK(lc_close(local));
    lc_cache again = open_cache("local:");
    CHECK_OK(lc_close(again));
    CHECK_OK(lc_shutdown(1000));
}

int main(void) {
    const char *url = from_env("LC_TEST_URL_SINGLE");
    local = open_cache("local:");
    redis = open_cache(redis_url(url, "c:fork"));
    hybrid = open_cache(hybrid_url(url, "c:fork:h"));
    lc_cache all[] = {local, redis, hybrid};
    for (int i = 0; i < 3; i++)
        CHECK_OK(lc_set(all[i], LCACHE_STR("before"), LCACHE_STR("kept"), LCACHE_TTL_NONE));
    CHECK_OK(lc_set(local, LCACHE_STR("pinned"), LCACHE_STR("pinned"), LCACHE_TTL_NONE));
    CHECK_OK(lc_get(local, LCACHE_STR("pinned"), &pinned, NULL, NULL));

    pthread_t threads[THREADS];
    static char names[THREADS][8];
    for (int i = 0; i < THREADS; i++) {
        snprintf(names[i], sizeof names[i], "key %d", i);
        CHECK(pthread_create(&threads[i], NULL, busy, names[i]) == 0);
    }
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            /* A hang is a failure of this child alone. */
            alarm(30);
            in_child(i % 8);
            /* Both ways out, without and with the handlers of exit. */
            if (i % 2)
                _exit(0);
            exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        if (status != 0)
            fprintf(stderr, "child %d ended with status %d, signal %d\n", i, WEXITSTATUS(status), WTERMSIG(status));
        CHECK(status == 0);
        /* The parent is unharmed. */
        use(local, "parent");
        use(redis, "parent");
        use(hybrid, "parent");
    }
    atomic_store(&done, 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    lc_value_free(pinned);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(lc_clear(all[i]));
        CHECK_OK(lc_close(all[i]));
    }
    return 0;
}
