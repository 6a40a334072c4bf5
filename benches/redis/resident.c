/* What a Redis cache keeps of the process's memory: for each idle connection, and after very many calls. Prints one row
 * in JSON for each.
 *
 *     resident SERVER-URL CACHES CALLS
 *
 * CACHES caches are opened, each with a connection that was used once; what the resident set has grown by is divided by
 * the connections that the server counts. CALLS calls (lc_get with its lc_value_free, lc_get_into, lc_set, a miss) are
 * made by one caller, and as many by eight at once, after a tenth of them to warm up.
 */
#define _GNU_SOURCE
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "resident"
#include "../measure.h"

enum { VALUE = 100, KEYS = 1000, CALLERS = 8, MAX_CACHES = 1024 };

static lc_cache cache, idle[MAX_CACHES];
static char value[VALUE];

/* Of this process, in bytes. */
static double resident(void)
{
    unsigned long whole, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    must(file && fscanf(file, "%lu %lu", &whole, &pages) == 2, "statm");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static long connections(redisContext *hiredis)
{
    redisReply *reply = redisCommand(hiredis, "INFO clients");
    must(reply && reply->type == REDIS_REPLY_STRING, "INFO");
    const char *found = strstr(reply->str, "connected_clients:");
    long count = found ? atol(found + strlen("connected_clients:")) : 0;
    freeReplyObject(reply);
    return count;
}

static void call(unsigned at)
{
    char key[16], buf[VALUE];
    size_t len, key_len = (size_t)snprintf(key, sizeof key, "key%u", at % KEYS);
    lc_value *found = NULL;
    switch (at % 4) {
    case 0:
        must(lc_get(cache, key, key_len, &found, NULL, NULL) == LCACHE_OK, "lc_get");
        lc_value_free(found);
        break;
    case 1:
        must(lc_get_into(cache, key, key_len, buf, sizeof buf, &len) == LCACHE_OK, "lc_get_into");
        break;
    case 2:
        must(lc_set(cache, key, key_len, value, VALUE, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
        break;
    default:
        must(lc_get(cache, "absent", 6, &found, NULL, NULL) == LCACHE_MISS, "a miss");
    }
}

static void *caller(void *count)
{
    for (long at = 0; at < *(long *)count; at++)
        call((unsigned)at);
    return NULL;
}

static void calls_by(int callers, long count)
{
    pthread_t threads[CALLERS];
    long each = count / callers;
    for (int n = 0; n < callers; n++)
        must(pthread_create(&threads[n], NULL, caller, &each) == 0, "a thread");
    for (int n = 0; n < callers; n++)
        pthread_join(threads[n], NULL);
}

static void growth(int callers, long count)
{
    calls_by(callers, count / 10);
    double before = resident();
    calls_by(callers, count);
    printf("{\"op\": \"resident\", \"callers\": %d, \"calls\": %ld, \"before_kib\": %.0f, \"after_kib\": %.0f}\n", callers,
           count, before / 1024, resident() / 1024);
}

int main(int count, char **arguments)
{
    must(count == 4, "SERVER-URL CACHES CALLS");
    const char *url = arguments[1];
    int caches = atoi(arguments[2]);
    char host[64], options[256];
    int port;
    must(caches > 0 && caches <= MAX_CACHES, "CACHES");
    must(sscanf(url, "redis://%63[^:]:%d", host, &port) == 2, "SERVER-URL");
    redisContext *hiredis = redisConnect(host, port);
    must(hiredis && !hiredis->err, "redisConnect");
    snprintf(options, sizeof options, "%s?prefix=bench&timeout=30s&connect_timeout=30s", url);
    memset(value, 'v', sizeof value);
    must(lc_open(options, &cache) == LCACHE_OK, "lc_open");
    for (unsigned at = 0; at < KEYS; at++) {
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof key, "key%u", at);
        must(lc_set(cache, key, len, value, VALUE, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
    }

    double before = resident();
    long had = connections(hiredis);
    for (int n = 0; n < caches; n++) {
        must(lc_open(options, &idle[n]) == LCACHE_OK, "lc_open");
        must(lc_ping(idle[n]) == LCACHE_OK, "lc_ping");
    }
    long made = connections(hiredis) - had;
    must(made >= caches, "a connection for each cache");
    printf("{\"op\": \"idle connection\", \"connections\": %ld, \"kib\": %.2f}\n", made, (resident() - before) / 1024 / (double)made);
    for (int n = 0; n < caches; n++)
        lc_close(idle[n]);

    growth(1, atol(arguments[3]));
    growth(CALLERS, atol(arguments[3]));
    lc_close(cache);
    redisFree(hiredis);
    return 0;
}
