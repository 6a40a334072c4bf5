/* Writes that depend on what is there: each kind of answer, and that of many threads one wins. */
#include "check.h"

#include <pthread.h>

static const uint64_t hour = 3600 * 1000, century = 100ull * 365 * 24 * 3600 * 1000;

static void adds_and_replaces(lc_cache cache) {
    uint64_t ttl = 0;
    CHECK_STATUS(LCACHE_MISS, lc_replace(cache, LCACHE_STR("k"), LCACHE_STR("early"), hour));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("k")));
    CHECK_OK(lc_add(cache, LCACHE_STR("k"), LCACHE_STR("first"), hour));
    CHECK_STATUS(LCACHE_EXISTS, lc_add(cache, LCACHE_STR("k"), LCACHE_STR("second"), LCACHE_TTL_NONE));
    CHECK(HOLDS(cache, "k", "first"));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(ttl <= hour);
    CHECK_OK(lc_replace(cache, LCACHE_STR("k"), LCACHE_STR("third"), LCACHE_TTL_NONE));
    CHECK(HOLDS(cache, "k", "third"));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("k"), &ttl));
    CHECK(ttl == LCACHE_TTL_NONE);

    /* Empty values are values; what has expired is absent. */
    CHECK_OK(lc_add(cache, LCACHE_STR("empty"), NULL, 0, hour));
    CHECK_STATUS(LCACHE_EXISTS, lc_add(cache, LCACHE_STR("empty"), NULL, 0, hour));
    CHECK_OK(lc_replace(cache, LCACHE_STR("empty"), LCACHE_STR("full"), 20));
    UNTIL(lc_add(cache, LCACHE_STR("empty"), LCACHE_STR("again"), hour) == LCACHE_OK);
    CHECK_OK(lc_expire(cache, LCACHE_STR("empty"), 20));
    UNTIL(lc_exists(cache, LCACHE_STR("empty")) == LCACHE_MISS);
    CHECK_STATUS(LCACHE_MISS, lc_replace(cache, LCACHE_STR("empty"), LCACHE_STR("late"), 20));

    CHECK_STATUS(LCACHE_EINVAL, lc_add(cache, LCACHE_STR("long"), LCACHE_STR("v"), century + 1));
    CHECK_STATUS(LCACHE_EINVAL, lc_replace(cache, LCACHE_STR("k"), LCACHE_STR("v"), century + 1));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("long")));
    CHECK(HOLDS(cache, "k", "third"));
}

static void compares_and_sets(lc_cache cache) {
    uint64_t ttl = 0;
    CHECK_STATUS(LCACHE_MISS, lc_compare_and_set(cache, LCACHE_STR("c"), NULL, 0, LCACHE_STR("v"), hour));
    CHECK_OK(lc_set(cache, LCACHE_STR("c"), "a\0b", 3, LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_CONFLICT, lc_compare_and_set(cache, LCACHE_STR("c"), "a\0c", 3, LCACHE_STR("v"), hour));
    CHECK_STATUS(LCACHE_CONFLICT, lc_compare_and_set(cache, LCACHE_STR("c"), "a", 1, LCACHE_STR("v"), hour));
    CHECK_STATUS(LCACHE_CONFLICT, lc_compare_and_set(cache, LCACHE_STR("c"), NULL, 0, LCACHE_STR("v"), hour));
    CHECK(holds(cache, "c", "a\0b", 3));
    CHECK_OK(lc_compare_and_set(cache, LCACHE_STR("c"), "a\0b", 3, NULL, 0, hour));
    CHECK(HOLDS(cache, "c", ""));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("c"), &ttl));
    CHECK(ttl <= hour);
    CHECK_OK(lc_compare_and_set(cache, LCACHE_STR("c"), NULL, 0, LCACHE_STR("w"), LCACHE_TTL_NONE));
    CHECK(HOLDS(cache, "c", "w"));
    CHECK_STATUS(LCACHE_EINVAL,
                 lc_compare_and_set(cache, LCACHE_STR("c"), LCACHE_STR("w"), LCACHE_STR("x"), century + 1));
    CHECK(HOLDS(cache, "c", "w"));

    /* Large values are compared to their last byte. */
    enum { LARGE = 1 << 20 };
    char *large = malloc(LARGE);
    memset(large, 'x', LARGE);
    CHECK_OK(lc_set(cache, LCACHE_STR("c"), large, LARGE, hour));
    large[LARGE - 1] = 'y';
    CHECK_STATUS(LCACHE_CONFLICT, lc_compare_and_set(cache, LCACHE_STR("c"), large, LARGE, LCACHE_STR("z"), hour));
    large[LARGE - 1] = 'x';
    CHECK_OK(lc_compare_and_set(cache, LCACHE_STR("c"), large, LARGE, LCACHE_STR("z"), hour));
    free(large);
}

static void counts(lc_cache cache) {
    int64_t n = 77;
    uint64_t ttl = 0;
    CHECK_OK(lc_incr(cache, LCACHE_STR("n"), 5, hour, &n));
    CHECK(n == 5 && HOLDS(cache, "n", "5"));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("n"), &ttl));
    CHECK(ttl <= hour);
    /* One that is there keeps its time to live. */
    CHECK_OK(lc_incr(cache, LCACHE_STR("n"), -12, LCACHE_TTL_NONE, &n));
    CHECK(n == -7 && HOLDS(cache, "n", "-7"));
    CHECK_OK(lc_ttl(cache, LCACHE_STR("n"), &ttl));
    CHECK(ttl <= hour);
    CHECK_OK(lc_incr(cache, LCACHE_STR("n"), 0, hour, &n));
    CHECK(n == -7);
    CHECK_OK(lc_set(cache, LCACHE_STR("n"), LCACHE_STR("41"), hour));
    CHECK_OK(lc_incr(cache, LCACHE_STR("n"), 1, hour, &n));
    CHECK(n == 42);

    /* What is no number, or would be none. */
    const char *texts[] = {"", "x", "1x", " 1", "+1", "01", "-0", "1.5", "9223372036854775808", "0x10"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CHECK_OK(lc_set(cache, LCACHE_STR("n"), texts[i], strlen(texts[i]), hour));
        CHECK_STATUS(LCACHE_ETYPE, lc_incr(cache, LCACHE_STR("n"), 1, hour, &n));
        CHECK(n == 42 && holds(cache, "n", texts[i], strlen(texts[i])));
    }
    CHECK_OK(lc_delete(cache, LCACHE_STR("n")));
    CHECK_OK(lc_incr(cache, LCACHE_STR("n"), INT64_MAX, hour, &n));
    CHECK_STATUS(LCACHE_ETYPE, lc_incr(cache, LCACHE_STR("n"), 1, hour, &n));
    CHECK(n == INT64_MAX && HOLDS(cache, "n", "9223372036854775807"));
    CHECK_OK(lc_delete(cache, LCACHE_STR("n")));
    CHECK_OK(lc_incr(cache, LCACHE_STR("n"), INT64_MIN, hour, &n));
    CHECK_STATUS(LCACHE_ETYPE, lc_incr(cache, LCACHE_STR("n"), -1, hour, &n));
    CHECK(n == INT64_MIN && HOLDS(cache, "n", "-9223372036854775808"));
    CHECK_STATUS(LCACHE_EINVAL, lc_incr(cache, LCACHE_STR("m"), 1, century + 1, &n));
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("m")));
}

static void reserved(lc_cache cache) {
    int64_t n = 77;
    CHECK_STATUS(LCACHE_EINVAL, lc_add(cache, LCACHE_STR("__lc:x"), LCACHE_STR("v"), hour));
    CHECK_STATUS(LCACHE_EINVAL, lc_replace(cache, LCACHE_STR("__lc:x"), LCACHE_STR("v"), hour));
    CHECK_STATUS(LCACHE_EINVAL,
                 lc_compare_and_set(cache, LCACHE_STR("__lc:x"), LCACHE_STR("v"), LCACHE_STR("v"), hour));
    CHECK_STATUS(LCACHE_EINVAL, lc_incr(cache, LCACHE_STR("__lc:x"), 1, hour, &n));
    CHECK(n == 77);
}

enum { THREADS = 4, ROUNDS = 2000 };

static lc_cache shared;
static pthread_barrier_t barrier;
static int winners[THREADS];

static void *competes(void *arg) {
    const int me = (int)(intptr_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t n;
        CHECK_OK(lc_incr(shared, LCACHE_STR("count"), 1, LCACHE_TTL_NONE, &n));
        CHECK(n > i && n <= (int64_t)THREADS * ROUNDS);
        /* The same by hand: read, add, and store if nobody was faster. */
        for (;;) {
            char old[32] = "", sum[32];
            size_t len;
            CHECK_OK(lc_get_into(shared, LCACHE_STR("by hand"), old, sizeof old - 1, &len));
            int sum_len = snprintf(sum, sizeof sum, "%lld", atoll(old) + 1);
            lc_status status =
                lc_compare_and_set(shared, LCACHE_STR("by hand"), old, len, sum, (size_t)sum_len, LCACHE_TTL_NONE);
            CHECK(status == LCACHE_OK || status == LCACHE_CONFLICT);
            if (status == LCACHE_OK)
                break;
        }
    }
    for (int i = 0; i < 100; i++) {
        pthread_barrier_wait(&barrier);
        lc_status status = lc_add(shared, &i, sizeof i, &me, sizeof me, LCACHE_TTL_NONE);
        CHECK(status == LCACHE_OK || status == LCACHE_EXISTS);
        winners[me] += status == LCACHE_OK;
    }
    return NULL;
}

static void one_wins(lc_cache cache) {
    pthread_t threads[THREADS];
    shared = cache;
    CHECK_OK(lc_set(cache, LCACHE_STR("by hand"), LCACHE_STR("0"), LCACHE_TTL_NONE));
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        winners[i] = 0;
        CHECK(pthread_create(&threads[i], NULL, competes, (void *)(intptr_t)i) == 0);
    }
    int sum = 0;
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        sum += winners[i];
    }
    pthread_barrier_destroy(&barrier);
    CHECK(sum == 100);
    CHECK(HOLDS(cache, "count", "8000") && HOLDS(cache, "by hand", "8000"));
}

static void works(const char *url) {
    lc_cache cache = open_cache(url);
    adds_and_replaces(cache);
    compares_and_sets(cache);
    counts(cache);
    reserved(cache);
    one_wins(cache);
    CHECK_OK(lc_clear(cache));
    CHECK_OK(lc_close(cache));
}

int main(void) {
    works("local:");
    works(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:conditional"));
    works(redis_url(from_env("LC_TEST_URL_VALKEY"), "c:conditional"));
    works(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:conditional:h"));
    works(hybrid_url(from_env("LC_TEST_URL_VALKEY"), "c:conditional:h"));
    return 0;
}
