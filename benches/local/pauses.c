/* The longest calls of a Local cache of many entries: while it grows, is read and overwritten, evicts at its bound (where
 * this build has one), and while a sweep frees entries that expire.
 *
 * Each call is timed by the wall clock. That alone can't tell the library's pauses from the machine's: on a busy machine
 * a thread loses its processor for milliseconds, whatever it does. So a call that took more than a millisecond by the
 * wall clock is looked at more closely, with figures of the kernel that are read every 64 calls:
 *   - the call's is the processor time that the thread used, user and system, page faults included, less what the other
 *     calls of the 64 took; time in which it had no processor is not
 *   - where it waited of its own accord (voluntary context switches, so for a lock), also the processor time of the
 *     process's other threads is: the sweeper's work under that lock. Time in which the lock's holder had no processor
 *     either is the machine's. (A thread that slept with a lock held would not be seen; none of the library's does.)
 * What is left in are interrupts, and time that a hypervisor takes without telling; "steal" is what it tells of.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"
#include "lighter_cache.h"

enum { CHUNK = 64 };

struct phase {
    const char *name;
    uint64_t calls, over_1ms, over_5ms;
    double longest_wall, longest; /* ms */
};

/* The kernel's figures about this thread. */
struct kernel { double cpu, others; long waits; };

static struct kernel look(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    double own = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
    return (struct kernel){ own, cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - own, usage.ru_nvcsw };
}

typedef int (*Call)(void *context, uint64_t number);

static void run_phase(struct phase *phase, uint64_t from, uint64_t n, Call call, void *context)
{
    double took[CHUNK];
    for (uint64_t done = 0; done < n; done += CHUNK) {
        double sum = 0, longest = 0;
        struct kernel before = look();
        for (int i = 0; i < CHUNK; i++) {
            double begun = now_ns();
            must(call(context, from + done + (uint64_t)i), phase->name);
            took[i] = now_ns() - begun;
            sum += took[i];
            longest = took[i] > longest ? took[i] : longest;
        }
        phase->calls += CHUNK;
        if (longest / 1e6 > phase->longest_wall)
            phase->longest_wall = longest / 1e6;
        if (longest < 1e6)
            continue;
        struct kernel after = look();
        for (int i = 0; i < CHUNK; i++) {
            if (took[i] < 1e6)
                continue;
            double busy = after.cpu - before.cpu, fast = 0;
            for (int j = 0; j < CHUNK; j++)
                fast += j != i && took[j] < 1e6 ? took[j] : 0;
            busy = busy > fast ? busy - fast : 0;
            busy += after.waits > before.waits ? after.others - before.others : 0;
            double ours_ms = (busy > took[i] ? took[i] : busy) / 1e6;
            phase->over_1ms += ours_ms > 1;
            phase->over_5ms += ours_ms > 5;
            phase->longest = ours_ms > phase->longest ? ours_ms : phase->longest;
        }
    }
}

/* Milliseconds that the hypervisor took, as far as it says. */
static double steal_ms(void)
{
    unsigned long long steal = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (!file)
        return 0;
    if (fscanf(file, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &steal) != 1)
        steal = 0;
    fclose(file);
    return (double)steal * 1000 / (double)sysconf(_SC_CLK_TCK);
}

struct subject { const struct options *options; lc_cache cache; uint8_t *value, *buf; uint64_t ttl_ms; };

static int set(void *context, uint64_t number)
{
    struct subject *s = context;
    struct bench_key key;
    make_key(s->options, &key, number, 0);
    return lc_set(s->cache, key.bytes, key.len, s->value, s->options->value, s->ttl_ms) == LCACHE_OK;
}

static int get(void *context, uint64_t number)
{
    struct subject *s = context;
    struct bench_key key;
    size_t len;
    make_key(s->options, &key, number * 2654435761u % s->options->keys, 0);
    return lc_get_into(s->cache, key.bytes, key.len, s->buf, s->options->value, &len) >= LCACHE_OK;
}

int mode_pauses(const struct options *options)
{
    enum { GROW, READ, OVERWRITE, EVICT, EXPIRE, PHASES };
    struct phase phases[PHASES] = { { .name = "grow" }, { .name = "read" }, { .name = "overwrite" }, { .name = "evict" },
                                    { .name = "expire" } };
    const uint64_t n = options->keys;
    struct subject subject = { options, 0, calloc(1, options->value), calloc(1, options->value), 3600 * 1000 };
    must(subject.value && subject.buf, "calloc");
    subject.cache = (lc_cache)(uintptr_t)open_contender(options, &ours);
    double stolen = steal_ms();
    run_phase(&phases[GROW], 0, n, set, &subject);
    run_phase(&phases[READ], 0, n / 2, get, &subject);
    /* A tenth gets a short time to live. */
    subject.ttl_ms = 2500;
    run_phase(&phases[OVERWRITE], 0, n / 10, set, &subject);
    subject.ttl_ms = 3600 * 1000;
    int bounded = options->capacity_percent && !getenv("BENCH_UNBOUNDED");
    /* Reads while the sweeper frees that tenth. */
    double begun = now_ns();
    while (now_ns() - begun < 5e9)
        run_phase(&phases[EXPIRE], n / 2, 100 * CHUNK, get, &subject);
    /* Past its bound: room for what has expired, and then as many as half of the entries more. */
    if (bounded)
        run_phase(&phases[EVICT], n, (options->capacity_percent > 100 ? 0 : n / 2), set, &subject);
    for (int p = 0; p < PHASES; p++)
        if (phases[p].calls)
            printf("{\"mode\":\"pauses\",\"phase\":\"%s\",\"keys\":%llu,\"calls\":%llu,\"over_1ms\":%llu,\"over_5ms\":%llu,"
                   "\"longest_ms\":%.3f,\"longest_wall_ms\":%.3f,\"bounded\":%s}\n",
                   phases[p].name, (unsigned long long)n, (unsigned long long)phases[p].calls,
                   (unsigned long long)phases[p].over_1ms, (unsigned long long)phases[p].over_5ms, phases[p].longest,
                   phases[p].longest_wall, bounded ? "true" : "false");
    printf("{\"mode\":\"pauses\",\"steal_ms\":%.0f}\n", steal_ms() - stolen);
    return 0;
}
