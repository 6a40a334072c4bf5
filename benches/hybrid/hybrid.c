/* A Hybrid beside its two tiers, and under faults. Each line of output is one row in JSON.
 *
 *     hybrid SERVER-URL MODE ROUNDS [PID]
 *
 * hit:      an L1 hit against a hit of a Local cache; rounds alternate
 * miss:     a read that L1 does not hold against one of a Redis cache; rounds alternate
 * dead:     get and set with the server dead (it is killed by PID) and the breaker open, against a Local
 *           cache: percentiles of single calls, which alternate
 * foreign:  from a plain client's SET to the moment at which another cache's L1 gives the new value
 * herd:     many waiting threads for one absent key: how often it was loaded
 * storm:    a plain client writes one key without a pause, a Hybrid reads it: reads older than the last write
 * recovery: the server is stopped for a second and goes on (by PID): from then to the first set that reaches it
 */
#define _GNU_SOURCE
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "hybrid"
#include "../measure.h"

enum { VALUE = 100, KEYS = 10000, HELD = 1000, MAX = 1000000, WAITERS = 10000 };

static const char *server;
static char value[VALUE];
static double ours[MAX], theirs[MAX], ratios[MAX];

static void nap(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

static double at(double *sorted, int count, double share)
{
    int place = (int)((double)count * share);
    return sorted[place < count ? place : count - 1];
}

static lc_cache open_cache(const char *scheme, const char *options)
{
    char url[512];
    lc_cache cache;
    snprintf(url, sizeof url, "%s%s?prefix=bench%s", scheme, server, options);
    must(lc_open(url, &cache) == LCACHE_OK, "lc_open");
    return cache;
}

static lc_cache open_local(void)
{
    lc_cache cache;
    must(lc_open("local://?max_entries=100000", &cache) == LCACHE_OK, "lc_open");
    return cache;
}

static lc_stats stats_of(lc_cache cache)
{
    lc_stats stats;
    must(lc_stats_get(cache, &stats, sizeof stats) == LCACHE_OK, "lc_stats_get");
    return stats;
}

static void await(lc_cache cache, int degraded)
{
    while (stats_of(cache).degraded != (uint32_t)degraded)
        nap(0.001);
}

static redisContext *plain_client(void)
{
    char host[256];
    int port = 0;
    must(sscanf(server, "redis://%255[^:/]:%d", host, &port) == 2, "reading the URL");
    redisContext *connection = redisConnect(host, port);
    must(connection && !connection->err, "redisConnect");
    return connection;
}

static size_t name(char *key, unsigned number) { return (size_t)sprintf(key, "key%u", number); }

static void fill(lc_cache cache, unsigned keys)
{
    char key[16];
    for (unsigned i = 0; i < keys; i++)
        must(lc_set(cache, key, name(key, i), value, VALUE, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
}

static void get(lc_cache cache, unsigned number)
{
    char key[16], buf[VALUE];
    size_t len;
    must(lc_get_into(cache, key, name(key, number), buf, VALUE, &len) == LCACHE_OK && len == VALUE, "lc_get_into");
}

static void set(lc_cache cache, unsigned number)
{
    char key[16];
    must(lc_set(cache, key, name(key, number), value, VALUE, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
}

/* Seconds of one read, of `calls` in a row; keys below `keys`, from *place on. */
static double reads(lc_cache cache, unsigned keys, unsigned *place, int calls)
{
    double began = now();
    for (int i = 0; i < calls; i++)
        get(cache, (*place)++ % keys);
    return (now() - began) / calls;
}

static void pair(const char *mode, lc_cache a, lc_cache b, unsigned keys, int calls, int rounds)
{
    unsigned place_a = 0, place_b = 0;
    for (int round = -3; round < rounds; round++) {
        double x = 0, y;
        if (round & 1)
            x = reads(a, keys, &place_a, calls);
        y = reads(b, keys, &place_b, calls);
        if (!(round & 1))
            x = reads(a, keys, &place_a, calls);
        if (round >= 0)
            ours[round] = x, theirs[round] = y, ratios[round] = x / y;
    }
    sort(ours, rounds), sort(theirs, rounds), sort(ratios, rounds);
    printf("{\"mode\": \"%s\", \"ratio\": %.4f, \"low\": %.4f, \"high\": %.4f, \"ours_us\": %.4f, \"theirs_us\": %.4f}\n", mode,
           at(ratios, rounds, .5), at(ratios, rounds, .25), at(ratios, rounds, .75), 1e6 * at(ours, rounds, .5),
           1e6 * at(theirs, rounds, .5));
}

static void hit(int rounds)
{
    lc_cache hybrid = open_cache("hybrid+", ""), local = open_local();
    await(hybrid, 0);
    fill(hybrid, HELD), fill(local, HELD);
    pair("hit", hybrid, local, HELD, 2000, rounds);
    must(stats_of(hybrid).l2_hits == 0, "staying in L1");
}

static void miss(int rounds)
{
    /* What is read comes round long after L1 has evicted it. */
    lc_cache hybrid = open_cache("hybrid+", "&l1.max_entries=64"), redis = open_cache("", "");
    await(hybrid, 0);
    fill(redis, KEYS);
    pair("miss", hybrid, redis, KEYS, 100, rounds);
    lc_stats stats = stats_of(hybrid);
    must(stats.l1_hits < stats.l2_hits / 100, "missing L1");
}

static void percentiles(const char *mode, const char *op, double *a, double *b, int calls)
{
    sort(a, calls), sort(b, calls);
    printf("{\"mode\": \"%s\", \"op\": \"%s\", \"calls\": %d", mode, op, calls);
    for (int who = 0; who < 2; who++)
        printf(", \"%s_us\": [%.3f, %.3f, %.3f]", who ? "theirs" : "ours", 1e6 * at(who ? b : a, calls, .5),
               1e6 * at(who ? b : a, calls, .99), 1e6 * at(who ? b : a, calls, .999));
    printf("}\n");
}

static void dead(int rounds, pid_t pid)
{
    lc_cache hybrid = open_cache("hybrid+", ""), local = open_local();
    await(hybrid, 0);
    fill(hybrid, HELD), fill(local, HELD);
    kill(pid, SIGKILL);
    while (lc_ping(hybrid) == LCACHE_OK)
        nap(0.001);
    await(hybrid, 1);
    set(hybrid, 0);
    void (*ops[])(lc_cache, unsigned) = {get, set};
    for (int op = 0; op < 2; op++) {
        int calls = rounds * 1000 < MAX ? rounds * 1000 : MAX;
        for (int i = -1000; i < calls; i++) {
            double began = now();
            ops[op](hybrid, (unsigned)(i + 1000) % HELD);
            double between = now();
            ops[op](local, (unsigned)(i + 1000) % HELD);
            double ended = now();
            if (i >= 0)
                ours[i] = between - began, theirs[i] = ended - between;
        }
        percentiles("dead", op ? "lc_set" : "lc_get_into", ours, theirs, calls);
    }
}

/* Reads until the key has the number; the moment at which it had. */
static double seen(lc_cache cache, unsigned long number)
{
    char buf[32];
    size_t len;
    for (;;) {
        lc_status status = lc_get_into(cache, LCACHE_STR("k"), buf, sizeof buf - 1, &len);
        must(status == LCACHE_OK || status == LCACHE_MISS, "lc_get_into");
        if (status == LCACHE_OK) {
            buf[len] = 0;
            if (strtoul(buf, NULL, 10) >= number)
                return now();
        }
    }
}

struct watch {
    lc_cache cache;
    atomic_ulong wanted, done;
    double moment;
};

static void *watches(void *arg)
{
    struct watch *watch = arg;
    for (unsigned long last = 0;;) {
        unsigned long wanted = atomic_load(&watch->wanted);
        if (wanted == ~0ul)
            return NULL;
        if (wanted == last)
            continue;
        watch->moment = seen(watch->cache, wanted);
        atomic_store(&watch->done, last = wanted);
    }
}

static void foreign(int rounds)
{
    struct watch watch = {.cache = open_cache("hybrid+", "")};
    redisContext *client = plain_client();
    await(watch.cache, 0);
    pthread_t thread;
    must(pthread_create(&thread, NULL, watches, &watch) == 0, "pthread_create");
    int calls = rounds * 20 < MAX ? rounds * 20 : MAX;
    freeReplyObject(redisCommand(client, "SET bench:k 0"));
    for (int i = 0; i < calls; i++) {
        /* It holds the former value, and reads it without a pause. */
        atomic_store(&watch.wanted, (unsigned long)i + 1);
        nap(0.0005);
        void *reply = redisCommand(client, "SET bench:k %d", i + 1);
        double answered = now();
        must(reply != NULL, "SET by hiredis");
        freeReplyObject(reply);
        while (atomic_load(&watch.done) != (unsigned long)i + 1)
            nap(0.00005);
        ours[i] = watch.moment > answered ? watch.moment - answered : 0;
    }
    atomic_store(&watch.wanted, ~0ul);
    pthread_join(thread, NULL);
    sort(ours, calls);
    printf("{\"mode\": \"foreign\", \"calls\": %d, \"us\": [%.1f, %.1f, %.1f, %.1f]}\n", calls, 1e6 * at(ours, calls, .5),
           1e6 * at(ours, calls, .99), 1e6 * at(ours, calls, .999), 1e6 * ours[calls - 1]);
}

static atomic_int loads;
static pthread_barrier_t barrier;

static lc_status loader(void *ctx, const void *key, size_t key_len, lc_sink *sink)
{
    (void)ctx, (void)key, (void)key_len;
    atomic_fetch_add(&loads, 1);
    nap(0.2);
    return lc_sink_set(sink, value, VALUE);
}

static void *waits(void *arg)
{
    lc_value *got;
    pthread_barrier_wait(&barrier);
    must(lc_get_or_load(*(lc_cache *)arg, LCACHE_STR("absent"), NULL, 0, loader, NULL, &got, NULL, NULL) == LCACHE_OK,
         "lc_get_or_load");
    lc_value_free(got);
    return NULL;
}

static void herd(int waiters)
{
    lc_cache cache = open_cache("hybrid+", "&timeout=20s&l2_timeout=20s");
    await(cache, 0);
    pthread_t *threads = malloc((size_t)waiters * sizeof *threads);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    pthread_barrier_init(&barrier, NULL, (unsigned)waiters);
    for (int i = 0; i < waiters; i++)
        must(pthread_create(&threads[i], &attributes, waits, &cache) == 0, "pthread_create");
    double began = now();
    for (int i = 0; i < waiters; i++)
        pthread_join(threads[i], NULL);
    printf("{\"mode\": \"herd\", \"waiters\": %d, \"loads\": %d, \"seconds\": %.3f}\n", waiters, atomic_load(&loads), now() - began);
}

/* Reads beside the storm; how old what they gave was, in seconds, is judged by when the next write was answered. */
static atomic_ulong written;
static double answered[MAX];
static atomic_int over;

static void *storms(void *arg)
{
    redisContext *client = arg;
    for (unsigned long i = 1; i < MAX && !atomic_load(&over); i++) {
        freeReplyObject(redisCommand(client, "SET bench:k %lu", i));
        answered[i] = now();
        atomic_store(&written, i);
    }
    return NULL;
}

static void storm(int rounds)
{
    lc_cache cache = open_cache("hybrid+", "");
    await(cache, 0);
    pthread_t thread;
    must(pthread_create(&thread, NULL, storms, plain_client()) == 0, "pthread_create");
    double until = now() + rounds / 20.0;
    int count = 0, late = 0;
    while (now() < until && count < MAX) {
        char buf[32];
        size_t len;
        unsigned long floor = atomic_load(&written);
        double began = now();
        if (lc_get_into(cache, LCACHE_STR("k"), buf, sizeof buf - 1, &len) != LCACHE_OK)
            continue;
        buf[len] = 0;
        unsigned long found = strtoul(buf, NULL, 10);
        /* Overwritten by a write that had been answered before the read began. */
        ours[count] = found < floor ? began - answered[found + 1] : 0;
        late += found < floor;
        count++;
    }
    atomic_store(&over, 1);
    pthread_join(thread, NULL);
    sort(ours, count);
    printf("{\"mode\": \"storm\", \"reads\": %d, \"writes\": %lu, \"late\": %d, \"late_us\": [%.1f, %.1f, %.1f, %.1f]}\n", count,
           atomic_load(&written), late, 1e6 * at(ours, count, .5), 1e6 * at(ours, count, .99), 1e6 * at(ours, count, .999),
           1e6 * ours[count - 1]);
}

static void recovery(int rounds, pid_t pid)
{
    lc_cache cache = open_cache("hybrid+", "");
    redisContext *client = plain_client();
    await(cache, 0);
    int stops = rounds / 10 > 3 ? rounds / 10 : 3;
    for (int i = 0; i < stops; i++) {
        char text[16];
        size_t len = (size_t)sprintf(text, "%d", i);
        kill(pid, SIGSTOP);
        nap(1.0);
        must(lc_set(cache, LCACHE_STR("k"), text, len, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
        double began = now();
        kill(pid, SIGCONT);
        for (;;) {
            redisReply *reply = redisCommand(client, "GET bench:k");
            must(reply != NULL, "GET by hiredis");
            int there = reply->len >= len && memcmp(reply->str + reply->len - len, text, len) == 0;
            freeReplyObject(reply);
            if (there && !stats_of(cache).degraded)
                break;
            nap(0.0005);
        }
        ours[i] = now() - began;
        nap(0.2);
    }
    sort(ours, stops);
    printf("{\"mode\": \"recovery\", \"stops\": %d, \"ms\": [%.1f, %.1f]}\n", stops, 1e3 * at(ours, stops, .5), 1e3 * ours[stops - 1]);
}

int main(int argc, char **argv)
{
    must(argc >= 4, "reading the arguments");
    server = argv[1];
    const char *mode = argv[2];
    int rounds = atoi(argv[3]);
    pid_t pid = argc > 4 ? (pid_t)atol(argv[4]) : 0;
    must(rounds > 0 && rounds < MAX, "reading the numbers");
    memset(value, 'v', sizeof value);
    if (strcmp(mode, "hit") == 0)
        hit(rounds);
    else if (strcmp(mode, "miss") == 0)
        miss(rounds);
    else if (strcmp(mode, "dead") == 0)
        dead(rounds, pid);
    else if (strcmp(mode, "foreign") == 0)
        foreign(rounds);
    else if (strcmp(mode, "herd") == 0)
        herd(rounds);
    else if (strcmp(mode, "storm") == 0)
        storm(rounds);
    else if (strcmp(mode, "recovery") == 0)
        recovery(rounds, pid);
    else
        must(0, "choosing the mode");
    return 0;
}
