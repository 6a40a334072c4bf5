/* Callers of a Redis cache against as many hiredis connections, in one process: rounds of both alternate, and each
 * line of output is one row in JSON with the median of the rounds' ratios of throughput, ours over theirs, and its
 * quartiles. Above 1 we are faster.
 *
 *     callers SERVER-URL OPERATION CALLERS VALUE-BYTES ROUNDS [redis-rs]
 *
 * OPERATION: get, set; many (lc_get_many of 100 keys against 100 GETs in one pipeline), single (the same against
 * lc_get_into one by one). SERVER-URL is redis://HOST:PORT or redis+unix://PATH. With redis-rs the peer is that
 * crate's blocking connection, one for each caller (get and set only).
 *
 * OPERATION only-ours or only-theirs: each caller gets ROUNDS values and nothing is printed, for strace to count.
 */
#define _GNU_SOURCE
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROGRAM "callers"
#include "../measure.h"

enum { BATCH = 100, MAX_CALLERS = 64, MAX_ROUNDS = 1001 };

static const double round_seconds = 0.02;
static lc_cache cache;
static redisContext *connections[MAX_CALLERS];

/* benches/redis_rs */
struct rust;
struct rust *rr_connect(const char *url);
ptrdiff_t rr_get(struct rust *, const char *key, size_t key_len, char *buf, size_t cap);
int rr_set(struct rust *, const char *key, size_t key_len, const char *value, size_t value_len);
static struct rust *rusts[MAX_CALLERS];

static char *value;
static size_t value_len;
static int callers;
static unsigned keys = 1000;
static const char *operation;

struct caller {
    int number;
    unsigned at;
    char *buf;
    unsigned long done;
};
static struct caller all[MAX_CALLERS];

static size_t key_of(struct caller *caller, char *key)
{
    caller->at = caller->at * 1103515245u + 12345u;
    return (size_t)sprintf(key, "key%u", (caller->at >> 16) % keys);
}

static void get(struct caller *caller)
{
    char key[16];
    size_t key_len = key_of(caller, key), len = 0;
    must(lc_get_into(cache, key, key_len, caller->buf, value_len, &len) == LCACHE_OK && len == value_len, "lc_get_into");
}

static void set(struct caller *caller)
{
    char key[16];
    size_t key_len = key_of(caller, key);
    must(lc_set(cache, key, key_len, value, value_len, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
}

static void many(struct caller *caller)
{
    char texts[BATCH][16];
    lc_bytes batch[BATCH];
    lc_value *values[BATCH];
    for (int i = 0; i < BATCH; i++) {
        batch[i].len = key_of(caller, texts[i]);
        batch[i].data = texts[i];
    }
    size_t hits = 0;
    must(lc_get_many(cache, batch, BATCH, values, &hits) == LCACHE_OK && hits == BATCH, "lc_get_many");
    for (int i = 0; i < BATCH; i++) {
        must(lc_value_size(values[i]) == value_len, "a value of lc_get_many");
        lc_value_free(values[i]);
    }
}

static void one_by_one(struct caller *caller)
{
    for (int i = 0; i < BATCH; i++)
        get(caller);
}

static void take(struct caller *caller, redisReply *reply)
{
    must(reply && reply->type == REDIS_REPLY_STRING && reply->len == value_len, "GET by hiredis");
    memcpy(caller->buf, reply->str, reply->len);
    freeReplyObject(reply);
}

static void their_get(struct caller *caller)
{
    char key[16];
    key_of(caller, key);
    take(caller, redisCommand(connections[caller->number], "GET theirs:%s", key));
}

static void their_set(struct caller *caller)
{
    char key[16];
    key_of(caller, key);
    redisReply *reply = redisCommand(connections[caller->number], "SET theirs:%s %b", key, value, value_len);
    must(reply && reply->type == REDIS_REPLY_STATUS, "SET by hiredis");
    freeReplyObject(reply);
}

static void their_many(struct caller *caller)
{
    char key[16];
    redisContext *connection = connections[caller->number];
    for (int i = 0; i < BATCH; i++) {
        key_of(caller, key);
        redisAppendCommand(connection, "GET theirs:%s", key);
    }
    for (int i = 0; i < BATCH; i++) {
        void *reply = NULL;
        must(redisGetReply(connection, &reply) == REDIS_OK, "redisGetReply");
        take(caller, reply);
    }
}

static size_t their_key_of(struct caller *caller, char *key)
{
    memcpy(key, "theirs:", 7);
    return 7 + key_of(caller, key + 7);
}

static void rust_get(struct caller *caller)
{
    char key[24];
    size_t key_len = their_key_of(caller, key);
    must(rr_get(rusts[caller->number], key, key_len, caller->buf, value_len) == (ptrdiff_t)value_len, "GET by redis-rs");
}

static void rust_set(struct caller *caller)
{
    char key[24];
    size_t key_len = their_key_of(caller, key);
    must(rr_set(rusts[caller->number], key, key_len, value, value_len) == 0, "SET by redis-rs");
}

static void (*call)(struct caller *);
static unsigned long calls;
static atomic_int over;
static pthread_barrier_t barrier;

static void *works(void *arg)
{
    struct caller *caller = arg;
    for (;;) {
        pthread_barrier_wait(&barrier);
        if (!call)
            return NULL;
        for (caller->done = 0; calls ? caller->done < calls : !atomic_load_explicit(&over, memory_order_relaxed);
             caller->done++)
            call(caller);
        pthread_barrier_wait(&barrier);
    }
}

/* Calls per second of all callers together. */
static double throughput(void (*what)(struct caller *))
{
    call = what;
    atomic_store(&over, 0);
    pthread_barrier_wait(&barrier);
    double began = now();
    struct timespec nap = {0, (long)(round_seconds * 1e9)};
    nanosleep(&nap, NULL);
    atomic_store(&over, 1);
    pthread_barrier_wait(&barrier);
    double took = now() - began;
    unsigned long done = 0;
    for (int i = 0; i < callers; i++)
        done += all[i].done;
    return (double)done / took;
}

static redisContext *connect_to(const char *url)
{
    char host[256];
    int port = 0;
    redisContext *connection = sscanf(url, "redis://%255[^:/]:%d", host, &port) == 2
                                   ? redisConnect(host, port)
                                   : redisConnectUnix(strstr(url, "://") + 3);
    must(connection && !connection->err, "connecting hiredis");
    return connection;
}

int main(int argc, char **argv)
{
    must(argc == 6 || (argc == 7 && strcmp(argv[6], "redis-rs") == 0), "reading the arguments");
    const char *url = argv[1];
    operation = argv[2];
    callers = atoi(argv[3]);
    value_len = (size_t)atol(argv[4]);
    int rounds = atoi(argv[5]);
    int only = strncmp(operation, "only-", 5) == 0;
    must(callers > 0 && callers <= MAX_CALLERS && rounds > 0 && (only || rounds < MAX_ROUNDS), "reading the numbers");
    value = malloc(value_len);
    for (size_t i = 0; i < value_len; i++)
        value[i] = (char)('a' + i * 7919 % 26);

    char ours_url[512];
    snprintf(ours_url, sizeof ours_url, "%s?prefix=ours&timeout=10s", url);
    must(lc_open(ours_url, &cache) == LCACHE_OK, "lc_open");
    connections[0] = connect_to(url);
    if (value_len > 65536)
        keys = 20;
    for (unsigned i = 0; i < keys; i++) {
        char key[16];
        size_t key_len = (size_t)sprintf(key, "key%u", i);
        must(lc_set(cache, key, key_len, value, value_len, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
        freeReplyObject(redisCommand(connections[0], "SET theirs:%s %b", key, value, value_len));
    }
    pthread_barrier_init(&barrier, NULL, (unsigned)callers + 1);
    pthread_t threads[MAX_CALLERS];
    for (int i = 0; i < callers; i++) {
        if (i > 0)
            connections[i] = connect_to(url);
        if (argc == 7)
            must((rusts[i] = rr_connect(url)) != NULL, "connecting redis-rs");
        all[i] = (struct caller){.number = i, .at = (unsigned)i, .buf = malloc(value_len)};
        must(pthread_create(&threads[i], NULL, works, &all[i]) == 0, "pthread_create");
    }

    void (*ours)(struct caller *) = get, (*theirs)(struct caller *) = their_get;
    if (strcmp(operation, "set") == 0)
        ours = set, theirs = their_set;
    else if (strcmp(operation, "many") == 0)
        ours = many, theirs = their_many;
    else if (strcmp(operation, "single") == 0)
        ours = many, theirs = one_by_one;
    if (argc == 7)
        theirs = theirs == their_set ? rust_set : rust_get;
    if (only) {
        call = strcmp(operation, "only-ours") == 0 ? ours : theirs;
        calls = (unsigned long)rounds;
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        lc_close(cache);
        return 0;
    }
    static double ratios[MAX_ROUNDS], a[MAX_ROUNDS], b[MAX_ROUNDS];
    for (int round = -3; round < rounds; round++) {
        /* Half of the rounds begin with the one, half with the other. */
        double first = throughput(round & 1 ? ours : theirs), second = throughput(round & 1 ? theirs : ours);
        if (round >= 0) {
            a[round] = round & 1 ? first : second;
            b[round] = round & 1 ? second : first;
            ratios[round] = a[round] / b[round];
        }
    }
    call = NULL;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < callers; i++)
        pthread_join(threads[i], NULL);
    sort(ratios, rounds);
    sort(a, rounds);
    sort(b, rounds);
    printf("{\"op\": \"%s\", \"callers\": %d, \"value\": %zu, \"ratio\": %.4f, \"low\": %.4f, \"high\": %.4f, "
           "\"ours\": %.0f, \"theirs\": %.0f}\n",
           operation, callers, value_len, ratios[rounds / 2], ratios[rounds / 4], ratios[3 * rounds / 4], a[rounds / 2],
           b[rounds / 2]);
    lc_close(cache);
    return 0;
}
