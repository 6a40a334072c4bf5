/* Locks: held by one, given back, lost with their lease, and not inherited by a child. */
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MINUTE = 60 * 1000 };

static lc_lock *take(lc_cache cache, const char *name, uint64_t lease_ms) {
    lc_lock *lock = NULL;
    CHECK_OK(lc_lock_acquire(cache, name, strlen(name), lease_ms, 0, &lock));
    CHECK(lock != NULL && lc_lock_fence(lock) > 0);
    return lock;
}

#define TRY(name, out) lc_lock_acquire(cache, LCACHE_STR(name), MINUTE, 0, out)

static void held_by_one(lc_cache cache) {
    lc_lock *lock = take(cache, "job", MINUTE), *other = (lc_lock *)1;
    uint64_t fence = lc_lock_fence(lock);
    CHECK_STATUS(LCACHE_BUSY, TRY("job", &other));
    CHECK_STATUS(LCACHE_BUSY, lc_lock_acquire(cache, LCACHE_STR("job"), MINUTE, 30, &other));
    CHECK(other == (lc_lock *)1);
    /* Another name, and a key of the same name, are others' affairs. */
    lc_lock *apart = take(cache, "job2", MINUTE);
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("job")));
    CHECK_OK(lc_set(cache, LCACHE_STR("job"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK_OK(lc_delete(cache, LCACHE_STR("job")));
    CHECK_OK(lc_lock_release(apart));

    CHECK_OK(lc_lock_extend(lock, MINUTE));
    CHECK_STATUS(LCACHE_EINVAL, lc_lock_extend(lock, 0));
    CHECK_STATUS(LCACHE_EINVAL, lc_lock_extend(lock, UINT64_MAX));
    CHECK_STATUS(LCACHE_BUSY, TRY("job", &other));
    CHECK(lc_lock_fence(lock) == fence);
    CHECK_OK(lc_lock_release(lock));
    for (int i = 0; i < 10; i++) {
        lock = take(cache, "job", MINUTE);
        CHECK(lc_lock_fence(lock) > fence);
        fence = lc_lock_fence(lock);
        CHECK_OK(lc_lock_release(lock));
    }
}

static void lost_with_its_lease(lc_cache cache) {
    lc_lock *late = take(cache, "late", 20), *next = NULL;
    CHECK_OK(lc_lock_acquire(cache, LCACHE_STR("late"), MINUTE, UINT64_MAX, &next));
    CHECK(lc_lock_fence(next) > lc_lock_fence(late));
    CHECK_STATUS(LCACHE_LOST, lc_lock_extend(late, MINUTE));
    CHECK_STATUS(LCACHE_LOST, lc_lock_release(late)); /* and that of the next stays */
    CHECK_OK(lc_lock_extend(next, MINUTE));
    CHECK_OK(lc_lock_release(next));
}

struct waiter {
    lc_cache cache;
    int *counter;
};

static void *counts(void *arg) {
    const struct waiter *waiter = arg;
    for (int i = 0; i < 200; i++) {
        lc_lock *lock;
        CHECK_OK(lc_lock_acquire(waiter->cache, LCACHE_STR("counter"), MINUTE, MINUTE, &lock));
        int seen = *waiter->counter;
        if (i % 50 == 0)
            pause_ms(1);
        *waiter->counter = seen + 1;
        CHECK_OK(lc_lock_release(lock));
    }
    return NULL;
}

static void excludes(lc_cache cache) {
    int counter = 0;
    struct waiter waiter = {cache, &counter};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, counts, &waiter) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(counter == 800);
}

static void *releases(void *arg) {
    CHECK_OK(lc_lock_release(arg));
    return NULL;
}

static void belongs_to_nobody(lc_cache cache) {
    /* Another thread may give it back, and that after the handle it was taken through is closed. */
    lc_cache own;
    lc_lock *other;
    pthread_t thread;
    CHECK_OK(lc_dup(cache, &own));
    lc_lock *lock = take(own, "moved", MINUTE);
    CHECK_OK(lc_close(own));
    CHECK_STATUS(LCACHE_BUSY, TRY("moved", &other));
    CHECK(pthread_create(&thread, NULL, releases, lock) == 0 && pthread_join(thread, NULL) == 0);
    CHECK_OK(TRY("moved", &other));
    CHECK_OK(lc_lock_release(other));

    /* A child holds none of its parent's locks. */
    lock = take(cache, "parent's", MINUTE);
    int status;
    pid_t child = fork();
    if (child == 0) {
        CHECK_STATUS(LCACHE_LOST, lc_lock_extend(lock, MINUTE));
        CHECK_STATUS(LCACHE_LOST, lc_lock_release(lock));
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK_STATUS(LCACHE_BUSY, TRY("parent's", &other));
    CHECK_OK(lc_lock_release(lock));
}

static void works(const char *url) {
    lc_cache cache = open_cache(url);
    held_by_one(cache);
    lost_with_its_lease(cache);
    excludes(cache);
    belongs_to_nobody(cache);
    CHECK_OK(lc_close(cache));
}

/* Of a cache that is closed altogether. */
static void outlives_its_cache(const char *url) {
    lc_cache cache = open_cache(url);
    lc_lock *lock = take(cache, "job", MINUTE);
    CHECK_OK(lc_close(cache));
    CHECK(lc_lock_fence(lock) > 0);
    CHECK_OK(lc_lock_release(lock));
}

/* Two caches stand for two processes. */
static void excludes_other_processes(const char *url) {
    lc_cache cache = open_cache(url), other_cache = open_cache(url);
    lc_lock *lock = take(cache, "shared", MINUTE), *other = NULL;
    uint64_t fence = lc_lock_fence(lock);
    CHECK_STATUS(LCACHE_BUSY, lc_lock_acquire(other_cache, LCACHE_STR("shared"), MINUTE, 10, &other));
    CHECK_OK(lc_lock_release(lock));
    CHECK_OK(lc_lock_acquire(other_cache, LCACHE_STR("shared"), MINUTE, MINUTE, &other));
    CHECK(lc_lock_fence(other) > fence);
    CHECK_OK(lc_lock_release(other));
    CHECK_OK(lc_close(other_cache));
    CHECK_OK(lc_close(cache));
}

int main(void) {
    const char *redis = redis_url(from_env("LC_TEST_URL_SINGLE"), "c:locks");
    const char *valkey = redis_url(from_env("LC_TEST_URL_VALKEY"), "c:locks");
    const char *hybrid = hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:locks:h");
    const char *urls[] = {"local:", redis, valkey, hybrid};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        works(urls[i]);
        outlives_its_cache(urls[i]);
    }
    excludes_other_processes(redis);
    excludes_other_processes(valkey);
    excludes_other_processes(hybrid);
    return 0;
}
