/* How fast the keys of a cache are cleared: lc_clear and lc_delete_prefix of so many keys, and the same by hiredis as
 * django-redis's delete_pattern does it (SCAN in steps of 10, pipelined DEL), while as many keys of others
 * are there. Prints one row in JSON for each.
 *
 *     clear redis://HOST:PORT KEYS
 */
#define _GNU_SOURCE
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROGRAM "clear"
#include "../measure.h"

enum { BATCH = 1000 };

static redisContext *hiredis;
static long keys;

static void fill(lc_cache cache)
{
    static char texts[BATCH][32];
    lc_bytes names[BATCH], values[BATCH];
    for (long at = 0; at < keys; at += BATCH) {
        for (long i = 0; i < BATCH; i++) {
            names[i].len = (size_t)sprintf(texts[i], "user:%ld", at + i);
            names[i].data = texts[i];
            values[i] = (lc_bytes){"0123456789", 10};
        }
        must(lc_set_many(cache, names, values, BATCH, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set_many");
    }
}

static void row(const char *what, double began)
{
    double took = now() - began;
    printf("{\"op\": \"%s\", \"keys\": %ld, \"seconds\": %.3f, \"per_second\": %.0f}\n", what, keys, took,
           (double)keys / took);
    fflush(stdout);
}

/* SCAN by tens; what a page has is removed in one pipeline. */
static void delete_pattern(void)
{
    char cursor[32] = "0";
    long found = 0;
    do {
        redisReply *page = redisCommand(hiredis, "SCAN %s MATCH ours:* COUNT 10", cursor);
        must(page && page->type == REDIS_REPLY_ARRAY, "SCAN");
        snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
        for (size_t i = 0; i < page->element[1]->elements; i++, found++)
            redisAppendCommand(hiredis, "DEL %b", page->element[1]->element[i]->str, page->element[1]->element[i]->len);
        freeReplyObject(page);
        for (; found > 0; found--) {
            void *reply = NULL;
            must(redisGetReply(hiredis, &reply) == REDIS_OK, "DEL");
            freeReplyObject(reply);
        }
    } while (strcmp(cursor, "0") != 0);
}

int main(int argc, char **argv)
{
    char host[64], url[256];
    int port = 0;
    must(argc == 3 && sscanf(argv[1], "redis://%63[^:/]:%d", host, &port) == 2, "reading the arguments");
    keys = atol(argv[2]) / BATCH * BATCH;
    hiredis = redisConnect(host, port);
    must(hiredis && !hiredis->err, "redisConnect");
    lc_cache cache, others;
    snprintf(url, sizeof url, "redis://%s:%d?timeout=60s&prefix=ours", host, port);
    must(lc_open(url, &cache) == LCACHE_OK, "lc_open");
    snprintf(url, sizeof url, "redis://%s:%d?timeout=60s&prefix=others", host, port);
    must(lc_open(url, &others) == LCACHE_OK, "lc_open");
    fill(others);

    fill(cache);
    double began = now();
    must(lc_clear(cache) == LCACHE_OK, "lc_clear");
    row("lc_clear", began);

    fill(cache);
    size_t deleted = 0;
    began = now();
    must(lc_delete_prefix(cache, LCACHE_STR("user:"), &deleted) == LCACHE_OK, "lc_delete_prefix");
    row("lc_delete_prefix", began);
    must(deleted == (size_t)keys, "the number of keys that were deleted");

    fill(cache);
    began = now();
    delete_pattern();
    row("delete_pattern in C", began);
    uint64_t left = 0;
    must(lc_count(others, &left) == LCACHE_OK && left == (uint64_t)keys, "the keys of others");
    must(lc_count(cache, &left) == LCACHE_OK && left == 0, "the keys of ours");
    lc_close(cache);
    lc_close(others);
    redisFree(hiredis);
    return 0;
}
