/* Keys by their prefix: shown and removed. */
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

struct seen {
    lc_cache cache;
    int count, stop_after, sum;
};

static int32_t count(void *ctx, const void *key, size_t key_len) {
    struct seen *seen = ctx;
    int number;
    if (key_len == 2 + sizeof number) {
        CHECK(memcmp(key, "n:", 2) == 0);
        memcpy(&number, (const char *)key + 2, sizeof number);
        seen->sum += number;
    }
    return ++seen->count == seen->stop_after ? -5 : 0;
}

/* It may use the cache, that of the enumeration too. */
static int32_t removes(void *ctx, const void *key, size_t key_len) {
    struct seen *seen = ctx;
    CHECK_OK(lc_delete(seen->cache, key, key_len));
    CHECK_OK(lc_set(seen->cache, LCACHE_STR("aside"), key, key_len, LCACHE_TTL_NONE));
    seen->count++;
    return 0;
}

static int32_t closes(void *ctx, const void *key, size_t key_len) {
    struct seen *seen = ctx;
    lc_status expected = seen->count++ == 0 ? LCACHE_OK : LCACHE_EHANDLE;
    CHECK_STATUS(expected, lc_close(seen->cache));
    CHECK(key && key_len);
    return 0;
}

/* It may even fork: nothing of the library is held meanwhile. */
static int32_t forks(void *ctx, const void *key, size_t key_len) {
    struct seen *seen = ctx;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(lc_exists(seen->cache, key, key_len) == LCACHE_OK ? 0 : 1);
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    seen->count++;
    return 1;
}

static int shown(lc_cache cache, const char *prefix, size_t len) {
    struct seen seen = {.cache = cache};
    CHECK_OK(lc_foreach_key(cache, prefix, len, count, &seen));
    return seen.count;
}

static void shows(lc_cache cache) {
    char key[2 + sizeof(int)] = "n:";
    for (int i = 0; i < 500; i++) {
        memcpy(key + 2, &i, sizeof i);
        CHECK_OK(lc_set(cache, key, sizeof key, NULL, 0, LCACHE_TTL_NONE));
    }
    const char *others[] = {"a*b", "axb", "a*", "a", "m:", "n", "o:"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        CHECK_OK(lc_set(cache, others[i], strlen(others[i]), NULL, 0, LCACHE_TTL_NONE));

    struct seen seen = {.cache = cache};
    CHECK_OK(lc_foreach_key(cache, LCACHE_STR("n:"), count, &seen));
    CHECK(seen.count == 500 && seen.sum == 499 * 500 / 2);
    CHECK(shown(cache, "n:\0", 3) == 2);
    CHECK(shown(cache, "n", 1) == 501 && shown(cache, NULL, 0) == 507 && shown(cache, "", 0) == 507);
    /* No character of a prefix stands for others. */
    CHECK(shown(cache, "a*", 2) == 2 && shown(cache, "?", 1) == 0 && shown(cache, "[a]", 3) == 0);

    /* It ends when it is told to, which is no failure. */
    for (int after = 1; after < 500; after += 83) {
        struct seen some = {.cache = cache, .stop_after = after};
        CHECK_OK(lc_foreach_key(cache, LCACHE_STR("n:"), count, &some));
        CHECK(some.count == after);
    }
    struct seen forked = {.cache = cache};
    CHECK_OK(lc_foreach_key(cache, LCACHE_STR("n:"), forks, &forked));
    CHECK(forked.count == 1);

    struct seen closed = {0};
    CHECK_OK(lc_dup(cache, &closed.cache));
    CHECK_OK(lc_foreach_key(closed.cache, LCACHE_STR("n:"), closes, &closed));
    CHECK(closed.count == 500);
    struct seen removed = {.cache = cache};
    CHECK_OK(lc_foreach_key(cache, LCACHE_STR("n:"), removes, &removed));
    CHECK(removed.count == 500 && shown(cache, "n:", 2) == 0 && shown(cache, "aside", 5) == 1);

    /* What has expired is not shown. */
    CHECK_OK(lc_set(cache, LCACHE_STR("short"), NULL, 0, 20));
    UNTIL(shown(cache, "short", 5) == 0);
    CHECK_OK(lc_clear(cache));
}

static void removes_all_of_a_prefix(lc_cache cache) {
    size_t deleted = 77;
    CHECK_OK(lc_delete_prefix(cache, LCACHE_STR("p:"), &deleted));
    CHECK(deleted == 0);
    for (int i = 0; i < 300; i++) {
        char key[16];
        CHECK_OK(lc_set(cache, key, (size_t)snprintf(key, sizeof key, "p%s%d", i % 3 ? ":" : "*", i), "v", 1, 60000));
    }
    CHECK_OK(lc_delete_prefix(cache, LCACHE_STR("p*"), &deleted));
    CHECK(deleted == 100);
    CHECK_OK(lc_delete_prefix(cache, LCACHE_STR("p:1"), &deleted));
    CHECK(deleted == 75); /* 1, 10 to 19 and 100 to 199, but for multiples of 3 */
    uint64_t left = 0;
    CHECK_OK(lc_count(cache, &left));
    CHECK(left == 200 - deleted);
    CHECK_OK(lc_delete_prefix(cache, NULL, 0, &deleted));
    CHECK(deleted == left);
    CHECK_OK(lc_count(cache, &left));
    CHECK(left == 0);
}

static void works(const char *url) {
    lc_cache cache = open_cache(url);
    shows(cache);
    removes_all_of_a_prefix(cache);
    CHECK_OK(lc_close(cache));
}

int main(void) {
    works("local:");
    works(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:prefixes"));
    works(redis_url(from_env("LC_TEST_URL_VALKEY"), "c:prefixes"));
    works(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:prefixes:h"));
    works(hybrid_url(from_env("LC_TEST_URL_VALKEY"), "c:prefixes:h"));
    return 0;
}
