/*
 * The demo's C program: opens the URL of a cache that a Python process has filled, reads the keys that stdin lists
 * (one a line, up to an empty line), then stores the next line under the first key, and then reads that key without a
 * pause until it has the line after that, for ten seconds at most.
 *
 * Prints "read FOUND TOTAL NANOSECONDS..." with the time of each look-up, "wrote BEGIN END", "watching" when it holds
 * what it is to see change, and "saw TIME"; all times of CLOCK_MONOTONIC in nanoseconds, which is one clock for all
 * processes of the machine.
 */
#define _POSIX_C_SOURCE 200809L
#include <lighter_cache.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#define KEYS_MAX 4096
#define LINE_MAX_BYTES 4096

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int line_of_stdin(char *line)
{
    if (!fgets(line, LINE_MAX_BYTES, stdin))
        return 0;
    line[strcspn(line, "\n")] = '\0';
    return 1;
}

static int failed(const char *what)
{
    fprintf(stderr, "reader: %s: %s\n", what, lc_last_error());
    return 1;
}

/* Whether the key holds the text. */
static int holds(lc_cache cache, const char *key, const char *text)
{
    char value[LINE_MAX_BYTES];
    size_t len;
    return lc_get_into(cache, key, strlen(key), value, sizeof value, &len) == LCACHE_OK && len == strlen(text) &&
           memcmp(value, text, len) == 0;
}

int main(int argc, char **argv)
{
    static char line[LINE_MAX_BYTES], first[LINE_MAX_BYTES];
    static long long took[KEYS_MAX];
    lc_cache cache;
    size_t total = 0, found = 0, i;

    if (argc != 2) {
        fprintf(stderr, "usage: reader URL < keys\n");
        return 2;
    }
    if (lc_open(argv[1], &cache) != LCACHE_OK)
        return failed("lc_open");

    while (line_of_stdin(line) && line[0] != '\0' && total < KEYS_MAX) {
        lc_value *value = NULL;
        const void *data;
        size_t len;
        long long began = now();
        lc_status status = lc_get(cache, line, strlen(line), &value, &data, &len);
        took[total] = now() - began;
        if (status < 0)
            return failed("lc_get");
        if (status == LCACHE_OK)
            found++;
        lc_value_free(value);
        if (total++ == 0)
            strcpy(first, line);
    }
    printf("read %zu %zu", found, total);
    for (i = 0; i < total; i++)
        printf(" %lld", took[i]);
    printf("\n");
    fflush(stdout);

    if (line_of_stdin(line)) {
        long long began = now();
        if (lc_set(cache, first, strlen(first), line, strlen(line), LCACHE_TTL_NONE) != LCACHE_OK)
            return failed("lc_set");
        printf("wrote %lld %lld\n", began, now());
        fflush(stdout);
    }
    if (line_of_stdin(line)) {
        long long until = now() + 10000000000LL;
        printf("watching\n");
        fflush(stdout);
        while (!holds(cache, first, line))
            if (now() > until)
                return failed("watching the key");
        printf("saw %lld\n", now());
    }
    return lc_close(cache) == LCACHE_OK ? 0 : failed("lc_close");
}
