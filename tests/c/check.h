/* What the C tests assert with. The first thing that fails ends the program with status 1 and says where,
   what was expected, and the library's last message. */
#ifndef LC_TEST_CHECK_H
#define LC_TEST_CHECK_H

/* For nanosleep and the like; this file is included first. */
#define _GNU_SOURCE

#include <lighter_cache.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Where a failure is told: standard error, unless a test looks at that itself. */
static FILE *check_out;
#define CHECK_OUT (check_out ? check_out : stderr)

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(CHECK_OUT, "%s:%d: failed: %s (last error: \"%s\")\n", __FILE__, __LINE__, #condition, \
                    lc_last_error()); \
            exit(1); \
        } \
    } while (0)

#define CHECK_STATUS(expected, call) \
    do { \
        lc_status check_got = (call); \
        if (check_got != (expected)) { \
            fprintf(CHECK_OUT, "%s:%d: failed: %s gave %d (%s), not %s (last error: \"%s\")\n", __FILE__, __LINE__, \
                    #call, (int)check_got, lc_strerror(check_got), #expected, lc_last_error()); \
            exit(1); \
        } \
    } while (0)

#define CHECK_OK(call) CHECK_STATUS(LCACHE_OK, call)

/* The last message has to contain `text`. */
#define CHECK_MESSAGE(text) CHECK(strstr(lc_last_error(), (text)) != NULL)

/* Waits, by asking again and again, for what brings no event of its own. Fails after 30 s. */
#define UNTIL(condition) \
    do { \
        time_t until_end = time(NULL) + 30; \
        while (!(condition)) { \
            CHECK(time(NULL) < until_end && #condition); \
            pause_ms(2); \
        } \
    } while (0)

static inline void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* A variable that the runner has to set. */
static inline const char *from_env(const char *name) {
    const char *value = getenv(name);
    if (!value) {
        fprintf(stderr, "%s is not set: run the tests by tests/run_native.py\n", name);
        exit(1);
    }
    return value;
}

/* The parts one after the other, in a buffer of the thread that every eighth call overwrites. */
static inline const char *joined(const char *a, const char *b, const char *c, const char *d, const char *e) {
    static _Thread_local char buffers[8][1024];
    static _Thread_local unsigned next;
    char text[sizeof buffers[0]];
    snprintf(text, sizeof text, "%s%s%s%s%s", a, b, c, d, e);
    return memcpy(buffers[next++ % 8], text, sizeof text);
}

static inline const char *url_of(const char *before, const char *url, const char *after) {
    return joined(before, url, after, "", "");
}

/* URLs of caches that are expected to answer, on however busy a machine. */
#define PATIENCE "?timeout=20s&connect_timeout=20s"

static inline const char *redis_url(const char *url, const char *prefix) {
    return joined("", url, PATIENCE, "&prefix=", prefix);
}

static inline const char *hybrid_url(const char *url, const char *prefix) {
    return joined("hybrid+", url, PATIENCE "&l2_timeout=20s&watchdog=20s", "&prefix=", prefix);
}

static inline lc_cache open_cache(const char *url) {
    lc_cache cache = 0;
    lc_status status = lc_open(url, &cache);
    if (status != LCACHE_OK) {
        fprintf(CHECK_OUT, "lc_open(%s) gave %d: %s\n", url, (int)status, lc_last_error());
        exit(1);
    }
    CHECK(cache != 0);
    return cache;
}

/* Whether `key` holds exactly `expected`. */
static inline int holds(lc_cache cache, const char *key, const void *expected, size_t expected_len) {
    lc_value *value = (lc_value *)1;
    const void *data = NULL;
    size_t len = 0;
    lc_status status = lc_get(cache, key, strlen(key), &value, &data, &len);
    if (status != LCACHE_OK) {
        CHECK(value == NULL);
        return 0;
    }
    int same = len == expected_len && memcmp(data, expected, len) == 0;
    CHECK(lc_value_data(value) == data && lc_value_size(value) == len);
    lc_value_free(value);
    return same;
}

#define HOLDS(cache, key, literal) holds(cache, key, literal, sizeof(literal) - 1)

#endif
