/* The distribution of the time of single calls: each call is timed by itself, in the 95/5 mix, one thread. The times
 * include the clock's own, which is the same for all contenders. Times are counted in buckets of 1/8 octave.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

enum { PER_OCTAVE = 8, BUCKETS = 40 * PER_OCTAVE, PORTION = 1024 };

int mode_latency(const struct options *options)
{
    static uint64_t buckets[BUCKETS];
    static struct bench_key keys[PORTION];
    const struct bench_contender *contender = contender_of(options, options->ours);
    uint8_t *value = calloc(1, options->value), *buf = calloc(1, options->value);
    must(value && buf, "calloc");
    make_draws(options, DRAWS);
    void *self = open_contender(options, contender);
    fill(options, contender, self, BENCH_SET_TTL);
    uint64_t total = 0;
    double begun = now_ns();
    for (size_t from = 0; now_ns() - begun < options->budget_ms * 1e6; from += PORTION) {
        gather(options, keys, PORTION, from, 0);
        for (size_t i = 0; i < PORTION; i++) {
            struct bench_work work = { &keys[i], 1, value, options->value, buf };
            int op = i % 20 == 19 ? BENCH_SET_TTL : BENCH_GET_INTO;
            double before = now_ns();
            size_t good = contender->run(self, op, &work);
            double took = now_ns() - before;
            must(good == 1, "an operation of the benchmark");
            int bucket = took < 1 ? 0 : (int)(log2(took) * PER_OCTAVE);
            /* The first fifth warms up. */
            if (before - begun > options->budget_ms * 1e6 / 5) {
                buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
                total++;
            }
        }
    }
    must(total > 0, "measuring in so short a time");
    printf("{\"mode\":\"latency\",\"ours\":\"%s\",\"keys\":%zu,\"value\":%zu,\"draw\":\"%s\",\"calls\":%llu,\"buckets\":[",
           contender->name, options->keys, options->value, options->uniform ? "uniform" : "zipf", (unsigned long long)total);
    const char *comma = "";
    for (int b = 0; b < BUCKETS; b++)
        if (buckets[b]) {
            /* The upper end of the bucket, and how many calls were in it. */
            printf("%s[%.1f,%llu]", comma, exp2((b + 1.0) / PER_OCTAVE), (unsigned long long)buckets[b]);
            comma = ",";
        }
    printf("]}\n");
    contender->close(self);
    free(value);
    free(buf);
    return 0;
}
