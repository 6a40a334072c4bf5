/* The program that the install test builds in C: it only needs what `make install` put there. */
#include <lighter_cache.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    lc_cache cache;
    lc_value *value;
    const void *data;
    size_t len;

    if (lc_version_number() != LCACHE_VERSION_NUMBER) {
        fprintf(stderr, "the header is %d, the library %s\n", LCACHE_VERSION_NUMBER, lc_version());
        return 1;
    }
    if (lc_open("local:", &cache) != LCACHE_OK
        || lc_set(cache, LCACHE_STR("greeting"), "hello", 5, LCACHE_TTL_NONE) != LCACHE_OK
        || lc_get(cache, LCACHE_STR("greeting"), &value, &data, &len) != LCACHE_OK) {
        fprintf(stderr, "%s\n", lc_last_error());
        return 1;
    }
    if (len != 5 || memcmp(data, "hello", 5) != 0)
        return 1;
    lc_value_free(value);
    printf("lighter_cache %s\n", lc_version());
    return lc_close(cache) == LCACHE_OK ? 0 : 1;
}
