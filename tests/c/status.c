/* Texts of statuses, and the thread's last message. */
#include "check.h"

#include <limits.h>
#include <pthread.h>

static void *other_thread(void *unused) {
    CHECK(strcmp(lc_last_error(), "") == 0);
    CHECK_STATUS(LCACHE_EHANDLE, lc_ping(12345));
    CHECK_MESSAGE("handle");
    return unused;
}

int main(void) {
    CHECK(strcmp(lc_last_error(), "") == 0);

    const lc_status all[] = {
        LCACHE_OK, LCACHE_MISS, LCACHE_EXISTS, LCACHE_CONFLICT, LCACHE_BUSY, LCACHE_LOST, LCACHE_EINVAL,
        LCACHE_EHANDLE, LCACHE_ECONFIG, LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER,
        LCACHE_ECORRUPT, LCACHE_ETOOBIG, LCACHE_ERANGE, LCACHE_ETYPE, LCACHE_EUNSUPPORTED, LCACHE_ELOADER,
        LCACHE_EREENTRANT, LCACHE_ECLOSED, LCACHE_ENOMEM, LCACHE_EIO, LCACHE_EPANIC,
    };
    const size_t count = sizeof all / sizeof all[0];
    for (size_t i = 0; i < count; i++) {
        CHECK(lc_strerror(all[i])[0] != 0 && strcmp(lc_strerror(all[i]), "unknown status") != 0);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(lc_strerror(all[i]), lc_strerror(all[j])) != 0);
    }
    const lc_status none[] = {INT_MIN, -100, -98, -18, 6, 12345, INT_MAX};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        CHECK(strcmp(lc_strerror(none[i]), "unknown status") == 0);

    /* Set by a failed call, kept over calls that succeed or miss, this thread's alone. */
    lc_cache cache = open_cache("local:");
    CHECK_STATUS(LCACHE_EINVAL, lc_delete(cache, "", 0));
    CHECK_MESSAGE("empty");
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_NONE));
    CHECK_STATUS(LCACHE_MISS, lc_delete(cache, LCACHE_STR("other")));
    CHECK_MESSAGE("empty");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK_MESSAGE("empty");
    CHECK_STATUS(LCACHE_ERANGE, lc_get_into(cache, LCACHE_STR("k"), NULL, 0, &(size_t){0}));
    CHECK_MESSAGE("1 bytes");
    CHECK_OK(lc_close(cache));
    return 0;
}
