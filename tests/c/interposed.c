/* What the system refuses: threads, and the time of day. The library asks for both by functions that a
   program may define itself, as this one does. */
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile int no_threads;
static _Thread_local int no_clock;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (no_threads)
        return EAGAIN;
    if (!real) {
        /* POSIX lets a function pointer be had this way; ISO C has no cast for it. */
        void *found = dlsym(RTLD_NEXT, "pthread_create");
        memcpy(&real, &found, sizeof real);
    }
    return real(thread, attributes, start, argument);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (no_clock) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_clock_gettime, clock, time);
}

/* No thread to be had is no bug of the library's, and nothing that ends it. */
static void without_threads(const char *url) {
    lc_cache cache = 77, local;
    int out = dup(2), file = open(joined(from_env("LC_TEST_DIR"), "/said", "", "", ""), O_CREAT | O_RDWR, 0600);
    CHECK(out >= 0 && file >= 0 && dup2(file, 2) >= 0);
    no_threads = 1;
    lc_status redis = lc_open(url, &cache), hybrid = lc_open(url_of("hybrid+", url, ""), &cache);
    /* A Local cache does without: what has expired is not swept, and never returned. */
    lc_status opened = lc_open("local:", &local);
    no_threads = 0;
    CHECK(dup2(out, 2) >= 0);
    CHECK_STATUS(LCACHE_ENOMEM, redis);
    CHECK_STATUS(LCACHE_ENOMEM, hybrid);
    CHECK(cache == 77);
    CHECK(lseek(file, 0, SEEK_END) == 0 && "nothing was written to standard error");
    CHECK_OK(opened);
    CHECK_OK(lc_set(local, LCACHE_STR("k"), LCACHE_STR("v"), 60000));
    CHECK(HOLDS(local, "k", "v"));
    CHECK_OK(lc_close(local));
    close(file);
    close(out);
}

/* A monotonic clock that fails is a state that the library does not know: it stops at the boundary, and
   goes on afterwards. */
static void without_a_clock(const char *url) {
    lc_cache cache = open_cache(url);
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 60000));
    lc_value *value = (lc_value *)1;
    no_clock = 1;
    lc_status got = lc_get(cache, LCACHE_STR("k"), &value, NULL, NULL), set = lc_set(cache, LCACHE_STR("k"), "w", 1, 1);
    no_clock = 0;
    CHECK_STATUS(LCACHE_EPANIC, got);
    CHECK_STATUS(LCACHE_EPANIC, set);
    CHECK_MESSAGE("internal error");
    CHECK(value == NULL);
    CHECK(HOLDS(cache, "k", "v"));
    CHECK_OK(lc_close(cache));
}

int main(void) {
    const char *url = redis_url(from_env("LC_TEST_URL_SINGLE"), "c:interposed");
    without_threads(url);
    without_a_clock(url);
    return 0;
}
