/* Memory: bytes per entry over the payload, and when and at which cost the memory of expired entries comes back.
 *
 * Bytes per entry is the growth of the resident set of a fresh process (so one contender per process), less key and
 * value, for keys of 16 and values of 32 bytes with a TTL.
 *
 * Expiry is watched from outside, by the allocator's count of bytes in use, since asking the cache might make it sweep.
 * Its cost is the processor time of all other threads of the process: the harness's own thread is taken off.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "lighter_cache.h"

static double resident(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    must(file && fscanf(file, "%*u %lu", &pages) == 1, "/proc/self/statm");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

int mode_memory(const struct options *given)
{
    struct options options = *given;
    options.key_min = options.key_max = 16;
    options.value = 32;
    const struct bench_contender *contender = contender_of(&options, options.ours);
    struct bench_setup setup = { options.keys * options.capacity_percent / 100, options.keys, 1, options.url };
    /* What is made once per process, be it by the allocator, does not count. */
    struct options small = options;
    small.keys = 1000;
    void *warm = contender->open(&setup);
    if (!warm)
        skip("a contender could not be opened as asked");
    fill(&small, contender, warm, BENCH_SET_TTL);
    contender->close(warm);
    double before = resident();
    void *self = contender->open(&setup);
    must(self != NULL, "opening");
    fill(&options, contender, self, BENCH_SET_TTL);
    double per_entry = (resident() - before) / (double)options.keys;
    printf("{\"mode\":\"memory\",\"ours\":\"%s\",\"keys\":%zu,\"payload\":48,\"bounded\":%s,\"overhead\":%.1f}\n",
           contender->name, options.keys, setup.capacity && !getenv("BENCH_UNBOUNDED") ? "true" : "false", per_entry - 48);
    return 0;
}

/* Processor time of all threads but this one. */
static double others_cpu(void)
{
    return cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns(CLOCK_THREAD_CPUTIME_ID);
}

static double in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)info.uordblks + (double)info.hblkhd;
}

static void store(lc_cache cache, const struct options *options, uint64_t from, uint64_t n, size_t size, uint64_t ttl_ms)
{
    void *value = calloc(1, size);
    must(value != NULL, "calloc");
    for (uint64_t i = from; i < from + n; i++) {
        struct bench_key key;
        make_key(options, &key, i, 0);
        must(lc_set(cache, key.bytes, key.len, value, size, ttl_ms) == LCACHE_OK, "lc_set");
    }
    free(value);
}

static void pause_ms(double ms)
{
    struct timespec time = { (time_t)(ms / 1000), (long)((ms - (double)(time_t)(ms / 1000) * 1000) * 1e6) };
    nanosleep(&time, NULL);
}

/* So many live entries, and 50,000 that expire together. Their values are larger, so that what remains of them, the room
 * that the tables have grown by, is small beside them. */
static void expire_among(const struct options *options, uint64_t live)
{
    enum { EXPIRING = 50000, EXPIRING_SIZE = 1000, SWEEP_MS = 200, TTL_MS = 1500 };
    lc_cache cache;
    must(lc_open("local:?sweep_interval=200ms", &cache) == LCACHE_OK, "lc_open");
    store(cache, options, 0, live, options->value, 3600 * 1000);
    /* The cost of sweeps that find nothing. */
    double before = others_cpu();
    pause_ms(10 * SWEEP_MS);
    double idle_us = (others_cpu() - before) / 1e3 / 10;
    double base = in_use();
    store(cache, options, (uint64_t)1 << 40, EXPIRING, EXPIRING_SIZE, TTL_MS);
    double stored = now_ns(), used = in_use(), cpu = others_cpu(), freed = 0;
    must(used > base, "counting the memory in use");
    while (now_ns() - stored < (TTL_MS + 50 * SWEEP_MS) * 1e6) {
        if (in_use() < base + 0.15 * (used - base)) {
            freed = now_ns();
            break;
        }
        pause_ms(5);
    }
    double each_ns = (others_cpu() - cpu) / EXPIRING;
    /* From the last entry's expiry on. */
    printf("{\"mode\":\"expiry\",\"live\":%llu,\"expired\":%d,\"sweep_interval_ms\":%d,\"freed\":%s,\"freed_after_intervals\":%.2f,"
           "\"cpu_ns_per_expired\":%.1f,\"cpu_us_per_idle_sweep\":%.1f}\n",
           (unsigned long long)live, EXPIRING, SWEEP_MS, freed > 0 ? "true" : "false",
           ((freed > 0 ? freed : now_ns()) - stored - TTL_MS * 1e6) / 1e6 / SWEEP_MS, each_ns, idle_us);
    fflush(stdout);
    lc_close(cache);
}

int mode_expiry(const struct options *options)
{
    expire_among(options, 10000);
    expire_among(options, 100000);
    expire_among(options, options->keys);
    return 0;
}
