/* One caller's GET of 100 bytes through lc_get_into against hiredis's redisGet, server and client on one processor
 * (quick.sh pins both), which shows the cost of the software alone. Short rounds of both alternate; printed is the median
 * of the rounds' ratios with its quartiles.
 *
 * The server is that of LC_TEST_URL_SINGLE (tests/servers.py exec single COMMAND).
 */
#define _GNU_SOURCE
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROGRAM "redis"
#include "measure.h"

enum { VALUE = 100, OPS = 200, ROUNDS = 101 };

static const double goal = 1.5;
static lc_cache cache;
static redisContext *hiredis;

static void ours(void)
{
    unsigned char buf[VALUE];
    size_t len = 0;
    must(lc_get_into(cache, LCACHE_STR("key"), buf, sizeof buf, &len) == LCACHE_OK && len == VALUE, "lc_get_into");
}

static void theirs(void)
{
    unsigned char buf[VALUE];
    redisReply *reply = redisCommand(hiredis, "GET %b", "bench:raw", (size_t)9);
    must(reply && reply->type == REDIS_REPLY_STRING && reply->len == VALUE, "redisCommand");
    memcpy(buf, reply->str, VALUE);
    freeReplyObject(reply);
}

static double round_of(void (*call)(void))
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < OPS; i++)
        call();
    clock_gettime(CLOCK_MONOTONIC, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / OPS;
}

int main(void)
{
    const char *server = getenv("LC_TEST_URL_SINGLE");
    char host[64], url[256], value[VALUE];
    int port = 0;
    must(server && sscanf(server, "redis://%63[^:/]:%d", host, &port) == 2, "reading LC_TEST_URL_SINGLE");
    memset(value, 'v', sizeof value);
    snprintf(url, sizeof url, "redis://%s:%d?prefix=bench&timeout=10s", host, port);
    must(lc_open(url, &cache) == LCACHE_OK, "lc_open");
    must(lc_set(cache, LCACHE_STR("key"), value, VALUE, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
    hiredis = redisConnect(host, port);
    must(hiredis && !hiredis->err, "redisConnect");
    freeReplyObject(redisCommand(hiredis, "SET bench:raw %b", value, (size_t)VALUE));

    double ratios[ROUNDS], a[ROUNDS], b[ROUNDS];
    for (int round = -5; round < ROUNDS; round++) {
        double x = round_of(ours), y = round_of(theirs);
        if (round >= 0) {
            a[round] = x;
            b[round] = y;
            ratios[round] = x / y;
        }
    }
    sort(ratios, ROUNDS);
    sort(a, ROUNDS);
    sort(b, ROUNDS);
    double ratio = ratios[ROUNDS / 2];
    if (getenv("BENCH_NS"))
        fprintf(stderr, "lc_get_into %.0f ns, redisGet %.0f ns\n", a[ROUNDS / 2], b[ROUNDS / 2]);
    printf("Redis cache / hiredis, one caller on the server's processor, time per operation\n\n"
           "| operation | ratio | quartiles | goal | reached |\n|---|---|---|---|---|\n"
           "| lc_get_into, 100 bytes, TCP | %.2f | %.2f to %.2f | %.2f | %s |\n",
           ratio, ratios[ROUNDS / 4], ratios[3 * ROUNDS / 4], goal, ratio > goal ? "no" : "yes");
    redisFree(hiredis);
    lc_close(cache);
    return ratio > goal;
}
