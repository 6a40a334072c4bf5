/* Without memory for a value: an error, and the process goes on. */
#include "check.h"

#include <sys/resource.h>

int main(void) {
    lc_cache cache = open_cache("local:");
    size_t size = (size_t)200 << 20;
    char *bytes = calloc(1, size);
    CHECK(bytes != NULL);
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_TTL_NONE));

    /* Room for the program as it is, and a little more. */
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%lu", &pages) == 1);
    fclose(statm);
    struct rlimit before, limit;
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    limit = before;
    limit.rlim_cur = pages * 4096 + ((rlim_t)64 << 20);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);

    CHECK_STATUS(LCACHE_ENOMEM, lc_set(cache, LCACHE_STR("k"), bytes, size, LCACHE_TTL_NONE));
    CHECK_MESSAGE("memory");
    CHECK(HOLDS(cache, "k", "v"));
    /* A batch of more keys than memory could hold; `bytes` is an array of empty keys. */
    size_t deleted = 77;
    CHECK_STATUS(LCACHE_ENOMEM, lc_delete_many(cache, (const lc_bytes *)(void *)bytes, size / sizeof(lc_bytes), &deleted));
    CHECK(deleted == 77);

    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), bytes, size, LCACHE_TTL_NONE));
    CHECK_OK(lc_close(cache));
    free(bytes);
    return 0;
}
