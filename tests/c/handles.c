/* Handles: numbers that are checked at every use, also while other threads close them. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

static void duplicates(void) {
    lc_cache first = open_cache("local:"), second = 0, third = 0;
    CHECK_OK(lc_set(first, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK_OK(lc_dup(first, &second));
    CHECK_OK(lc_dup(second, &third));
    CHECK(first != second && second != third && first != third);
    CHECK_OK(lc_close(first));
    CHECK_STATUS(LCACHE_EHANDLE, lc_close(first));
    CHECK_STATUS(LCACHE_EHANDLE, lc_ping(first));
    CHECK(HOLDS(second, "k", "v"));
    CHECK_OK(lc_set(third, LCACHE_STR("k"), LCACHE_STR("w"), LCACHE_TTL_NONE));
    CHECK(HOLDS(second, "k", "w"));
    CHECK_OK(lc_close(second));
    CHECK_OK(lc_close(third));
    CHECK_STATUS(LCACHE_EHANDLE, lc_close(third));
}

static void two_opens_share_nothing(void) {
    lc_cache one = open_cache("local:"), two = open_cache("local:");
    CHECK_OK(lc_set(one, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_MISS, lc_exists(two, LCACHE_STR("k")));
    CHECK_OK(lc_close(one));
    CHECK_OK(lc_close(two));
}

static void made_up(void) {
    lc_cache open[8];
    for (int i = 0; i < 8; i++)
        open[i] = open_cache("local:");
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 1000000; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        /* Half of them name a slot that is in use. */
        lc_cache forged = i % 2 ? random : (random & ~(uint64_t)UINT32_MAX) | (open[i % 8] & UINT32_MAX);
        int real = 0;
        for (int j = 0; j < 8; j++)
            real |= forged == open[j];
        if (!real)
            CHECK_STATUS(LCACHE_EHANDLE, lc_exists(forged, LCACHE_STR("k")));
    }
    for (int i = 0; i < 8; i++)
        CHECK_OK(lc_close(open[i]));
}

static void many_at_once(void) {
    enum { MANY = 2000 };
    static lc_cache open[MANY];
    lc_cache cache = open_cache("local:");
    for (int i = 0; i < MANY; i++)
        CHECK_OK(lc_dup(cache, &open[i]));
    for (int i = 0; i < MANY; i++)
        CHECK_OK(lc_close(open[i]));
    for (int i = 0; i < MANY; i++)
        CHECK_STATUS(LCACHE_EHANDLE, lc_close(open[i]));
    CHECK_OK(lc_close(cache));
}

static atomic_uint_fast64_t current;
static atomic_int done;

static void *use(void *unused) {
    char buf[64];
    size_t len;
    while (!atomic_load(&done)) {
        lc_cache cache = atomic_load(&current);
        lc_status status = lc_set(cache, LCACHE_STR("k"), LCACHE_STR("value of the key"), LCACHE_TTL_NONE);
        CHECK(status == LCACHE_OK || status == LCACHE_EHANDLE);
        status = lc_get_into(cache, LCACHE_STR("k"), buf, sizeof buf, &len);
        CHECK(status == LCACHE_OK || status == LCACHE_EHANDLE || status == LCACHE_MISS);
        if (status == LCACHE_OK)
            CHECK(len == 16 && memcmp(buf, "value of the key", 16) == 0);
        lc_value *value;
        status = lc_get(cache, LCACHE_STR("k"), &value, NULL, NULL);
        if (status == LCACHE_OK)
            CHECK(memcmp(lc_value_data(value), "value of the key", 16) == 0);
        lc_value_free(value);
        lc_cache other;
        if (lc_dup(cache, &other) == LCACHE_OK)
            CHECK_OK(lc_close(other));
    }
    return unused;
}

/* Opens and closes under the feet of eight busy threads. */
static void closed_under_use(void) {
    pthread_t threads[8];
    atomic_store(&current, open_cache("local:"));
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, use, NULL) == 0);
    for (int i = 0; i < 100; i++) {
        lc_cache old = atomic_exchange(&current, open_cache("local:"));
        CHECK_OK(lc_close(old));
        CHECK_STATUS(LCACHE_EHANDLE, lc_ping(old));
    }
    atomic_store(&done, 1);
    for (int i = 0; i < 8; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_OK(lc_close(atomic_load(&current)));
}

int main(void) {
    duplicates();
    two_opens_share_nothing();
    made_up();
    many_at_once();
    closed_under_use();
    return 0;
}
