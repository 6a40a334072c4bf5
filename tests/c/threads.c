/* All functions on any thread at once: values are never torn, foreign or impossible. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 6, KEYS = 64 };

static lc_cache cache;
static int rounds;

/* A value says which key it is of, and is of one letter. */
static size_t make(char *value, unsigned key, unsigned random) {
    size_t len = 4 + random % 600;
    memset(value, 'a' + (int)(random % 26), len);
    memcpy(value, &key, 4);
    return len;
}

static void check_value(const char *value, size_t len, unsigned key) {
    unsigned of;
    CHECK(len >= 4);
    memcpy(&of, value, 4);
    CHECK(of == key);
    for (size_t i = 5; i < len; i++)
        CHECK(value[i] == value[4]);
}

static void *work(void *seed) {
    unsigned random = (unsigned)(uintptr_t)seed;
    char bytes[1024];
    for (int i = 0; i < rounds; i++) {
        random = random * 1664525 + 1013904223;
        unsigned key = random >> 8 & (KEYS - 1);
        lc_value *value;
        const void *data;
        size_t len;
        lc_status status = LCACHE_OK;
        switch (random >> 24 & 7) {
        case 0:
            len = make(bytes, key, random >> 4);
            CHECK_OK(lc_set(cache, &key, 4, bytes, len, random & 1 ? LCACHE_TTL_NONE : 20));
            break;
        case 1:
            status = lc_delete(cache, &key, 4);
            break;
        case 2:
            status = lc_exists(cache, &key, 4);
            break;
        case 3:
            status = lc_expire(cache, &key, 4, 50);
            break;
        case 4: {
            unsigned other = (key + 1) % KEYS;
            lc_bytes keys[] = {{&key, 4}, {&other, 4}};
            lc_value *values[2];
            CHECK_OK(lc_get_many(cache, keys, 2, values, &len));
            for (int j = 0; j < 2; j++)
                if (values[j])
                    check_value(lc_value_data(values[j]), lc_value_size(values[j]), j ? other : key);
            lc_value_free(values[0]);
            lc_value_free(values[1]);
            break;
        }
        case 5:
            status = lc_get_into(cache, &key, 4, bytes, sizeof bytes, &len);
            if (status == LCACHE_OK)
                check_value(bytes, len, key);
            break;
        default:
            status = lc_get(cache, &key, 4, &value, &data, &len);
            if (status == LCACHE_OK)
                check_value(data, len, key);
            lc_value_free(value);
        }
        CHECK(status == LCACHE_OK || status == LCACHE_MISS);
        if (i % 5000 == 4999)
            CHECK_OK(lc_clear(cache));
    }
    return NULL;
}

static void storm(const char *url, int each) {
    cache = open_cache(url);
    rounds = each;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(i * 77 + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_OK(lc_clear(cache));
    CHECK_OK(lc_close(cache));
}

int main(void) {
    storm("local:", 100000);
    storm(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:threads"), 2000);
    storm(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:threads"), 2000);
    return 0;
}
