/* The Local cache through the C API against a bare DashMap behind one-line C functions (benches/bare): 100,000 keys of
 * 16 to 32 bytes asked for by a Zipf law (0.99), values of 100 bytes, 1 and 2 threads. Rounds of both alternate, each
 * shorter than a time slice, so that most are not interrupted on a busy machine. Printed is the median of the rounds' ratios
 * with its quartiles; ratios below 1 are in favour of the library.
 *
 *   local                measures and prints the table
 *   local --count WHO ROW N  runs N operations of one row; WHO is lc or bare: to count instructions
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

#include "lighter_cache.h"

typedef struct Bare Bare;
Bare *bare_new(void);
int bare_get_into(const Bare *, const void *key, size_t key_len, void *buf, size_t cap, size_t *len);
int bare_get(const Bare *, const void *key, size_t key_len, const void **data, size_t *len);
void bare_free(const void *data, size_t len);
void bare_set(const Bare *, const void *key, size_t key_len, const void *value, size_t len);

enum { KEYS = 100000, VALUE = 100, DRAWS = 1 << 20, OPS = 3000, ROUNDS = 1001, THREADS_MAX = 2 };

typedef struct { unsigned char len, bytes[32]; } Key;
static Key keys[KEYS], absent[KEYS];
static unsigned draws[DRAWS];
static unsigned char value[VALUE];
static lc_cache cache;
static Bare *bare;

static unsigned long long state = 0x9e3779b97f4a7c15ull;
static unsigned long long next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void must(int fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "local: %s failed: %s\n", what, lc_last_error());
        exit(1);
    }
}

static void make_keys(Key *into, const char *kind)
{
    for (unsigned i = 0; i < KEYS; i++) {
        int len = snprintf((char *)into[i].bytes, 32, "%s:%08u", kind, i);
        int wanted = 16 + (int)(next() % 17);
        while (len < wanted && len < 32)
            into[i].bytes[len++] = (unsigned char)('a' + next() % 26);
        into[i].len = (unsigned char)len;
    }
}

/* Ranks by a Zipf law, spread over the keys so that the hot ones are no neighbours. */
static void draw(void)
{
    static double sums[KEYS];
    static unsigned order[KEYS];
    double sum = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        sums[i] = sum += 1 / pow(i + 1, 0.99);
        order[i] = i;
    }
    for (unsigned i = KEYS - 1; i > 0; i--) {
        unsigned j = (unsigned)(next() % (i + 1)), other = order[i];
        order[i] = order[j];
        order[j] = other;
    }
    for (unsigned d = 0; d < DRAWS; d++) {
        double at = (double)(next() >> 11) / 9007199254740992.0 * sum;
        unsigned low = 0, high = KEYS - 1;
        while (low < high) {
            unsigned middle = (low + high) / 2;
            if (sums[middle] < at) low = middle + 1; else high = middle;
        }
        draws[d] = order[low];
    }
}

/* Each row runs `n` operations from draw number `from` on, and answers how many went as expected. */
#define ROW(name, body) \
    static size_t name(size_t from, size_t n) \
    { \
        unsigned char buf[VALUE]; \
        size_t good = 0, len = 0; \
        const void *data = NULL; \
        (void)buf, (void)len, (void)data; \
        for (size_t i = from; i < from + n; i++) { \
            const Key *key = &keys[draws[i % DRAWS]], *none = &absent[draws[i % DRAWS]]; \
            (void)key, (void)none; \
            body \
        } \
        return good; \
    }

ROW(lc_row_get_into, good += lc_get_into(cache, key->bytes, key->len, buf, sizeof buf, &len) == LCACHE_OK && len == VALUE;)
ROW(bare_row_get_into, good += bare_get_into(bare, key->bytes, key->len, buf, sizeof buf, &len) == 0 && len == VALUE;)
ROW(lc_row_get, lc_value *pin; good += lc_get(cache, key->bytes, key->len, &pin, &data, &len) == LCACHE_OK && len == VALUE; lc_value_free(pin);)
ROW(bare_row_get, good += bare_get(bare, key->bytes, key->len, &data, &len) == 0 && len == VALUE; bare_free(data, len);)
ROW(lc_row_set, good += lc_set(cache, key->bytes, key->len, value, VALUE, LCACHE_TTL_NONE) == LCACHE_OK;)
ROW(bare_row_set, bare_set(bare, key->bytes, key->len, value, VALUE); good++;)
ROW(lc_row_set_ttl, good += lc_set(cache, key->bytes, key->len, value, VALUE, 3600000) == LCACHE_OK;)
ROW(lc_row_miss, good += lc_get_into(cache, none->bytes, none->len, buf, sizeof buf, &len) == LCACHE_MISS;)
ROW(bare_row_miss, good += bare_get_into(bare, none->bytes, none->len, buf, sizeof buf, &len) == 1;)

typedef size_t (*Run)(size_t from, size_t n);
/* The goals are those of a hit; 0 is none. */
static const struct { const char *name, *what; Run lc, bare; double goal; } rows[] = {
    { "get_into", "lc_get_into, hit", lc_row_get_into, bare_row_get_into, 1.5 },
    { "get", "lc_get + lc_value_free, hit", lc_row_get, bare_row_get, 1.5 },
    { "miss", "lc_get_into, miss", lc_row_miss, bare_row_miss, 0 },
    { "set", "lc_set, overwrite", lc_row_set, bare_row_set, 0 },
    { "set_ttl", "lc_set with a TTL, overwrite", lc_row_set_ttl, bare_row_set, 0 },
    { "get_ttl", "lc_get_into, hit with a TTL", lc_row_get_into, bare_row_get_into, 1.5 },
};
enum { ROWS = sizeof rows / sizeof *rows };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

typedef struct {
    int row, threads;
    size_t from;
    pthread_barrier_t *barrier;
    double ours[ROUNDS], theirs[ROUNDS];
} Job;

/* Nanoseconds per operation of one round. All threads begin it together. */
static double round_of(Run run, Job *job)
{
    if (job->threads > 1)
        pthread_barrier_wait(job->barrier);
    double begun = now();
    must(run(job->from, OPS) == OPS, "an operation of the benchmark");
    return (now() - begun) / OPS;
}

static void *work(void *arg)
{
    Job *job = arg;
    for (int round = -20; round < ROUNDS; round++) {
        double ours = round_of(rows[job->row].lc, job), theirs = round_of(rows[job->row].bare, job);
        if (round >= 0) {
            job->ours[round] = ours;
            job->theirs[round] = theirs;
        }
        job->from = (job->from + OPS) % DRAWS;
    }
    return NULL;
}

/* One row with so many threads: each round's time of both, and its ratio. */
static void measure(int row, int threads, double *ours, double *theirs, double *ratios)
{
    static Job jobs[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int t = 0; t < threads; t++) {
        jobs[t] = (Job){ .row = row, .threads = threads, .from = next() % DRAWS, .barrier = &barrier };
        must(pthread_create(&ids[t], NULL, work, &jobs[t]) == 0, "pthread_create");
    }
    for (int t = 0; t < threads; t++)
        pthread_join(ids[t], NULL);
    pthread_barrier_destroy(&barrier);
    for (int round = 0; round < ROUNDS; round++) {
        ours[round] = theirs[round] = 0;
        for (int t = 0; t < threads; t++) {
            ours[round] += jobs[t].ours[round] / threads;
            theirs[round] += jobs[t].theirs[round] / threads;
        }
        ratios[round] = ours[round] / theirs[round];
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void set_up(void)
{
    make_keys(keys, "user");
    make_keys(absent, "none");
    draw();
    memset(value, 'v', sizeof value);
    must(lc_open("local:", &cache) == LCACHE_OK, "lc_open");
    bare = bare_new();
    for (unsigned i = 0; i < KEYS; i++) {
        must(lc_set(cache, keys[i].bytes, keys[i].len, value, VALUE, LCACHE_TTL_NONE) == LCACHE_OK, "lc_set");
        bare_set(bare, keys[i].bytes, keys[i].len, value, VALUE);
    }
}

int main(int argc, char **argv)
{
    set_up();
    if (argc == 5 && strcmp(argv[1], "--count") == 0) {
        size_t n = strtoul(argv[4], NULL, 10);
        for (int row = 0; row < ROWS; row++)
            if (strcmp(rows[row].name, argv[3]) == 0)
                must((strcmp(argv[2], "lc") == 0 ? rows[row].lc : rows[row].bare)(0, n) == n, rows[row].what);
        return 0;
    }
    int missed = 0, done = 0;
    static char table[8192];
    size_t used = 0;
    for (int row = 0; row < ROWS; row++) {
        if (strcmp(rows[row].name, "get_ttl") == 0)
            for (unsigned i = 0; i < KEYS; i++)
                lc_expire(cache, keys[i].bytes, keys[i].len, 3600000);
        for (int threads = 1; threads <= THREADS_MAX; threads++) {
            static double ratios[ROUNDS], ours[ROUNDS], theirs[ROUNDS];
            measure(row, threads, ours, theirs, ratios);
            qsort(ratios, ROUNDS, sizeof *ratios, ascending);
            qsort(ours, ROUNDS, sizeof *ours, ascending);
            qsort(theirs, ROUNDS, sizeof *theirs, ascending);
            double ratio = ratios[ROUNDS / 2];
            char goal[32] = "none | –";
            if (rows[row].goal > 0) {
                missed += ratio > rows[row].goal;
                snprintf(goal, sizeof goal, "%.2f | %s", rows[row].goal, ratio > rows[row].goal ? "no" : "yes");
            }
            used += (size_t)snprintf(table + used, sizeof table - used, "| %-28s | %d | %.2f | %.2f to %.2f | %s |\n",
                rows[row].what, threads, ratio, ratios[ROUNDS / 4], ratios[3 * ROUNDS / 4], goal);
            done++;
            fprintf(stderr, "\rlocal: %d of %d measured%s", done, 2 * ROWS, done == 2 * ROWS ? "\n" : "");
            if (getenv("BENCH_NS"))
                fprintf(stderr, "\n%s, %d threads: %.1f ns, bare %.1f ns\n", rows[row].what, threads,
                        ours[ROUNDS / 2], theirs[ROUNDS / 2]);
        }
    }
    printf("Local cache / bare DashMap, time per operation\n\n"
           "| operation | threads | ratio | quartiles | goal | reached |\n|---|---|---|---|---|---|\n%s", table);
    return missed > 0;
}
