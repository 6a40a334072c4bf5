/* The harness of the Local benchmarks: `make bench` and `make bench-quick` call it, and so can you.
 *
 *   local MODE [--ours lc] [--peer bare] [--library FILE] [--keys N] [--value BYTES] [--draw zipf|uniform]
 *              [--capacity PERCENT] [--threads N] [--rows get_into,set,...] [--budget MS] [--url URL] [--peer-url URL]
 *
 *   pair      the time per operation of `ours` over that of `peer`, in rounds that alternate   rounds.c
 *   scaling   the throughput of two threads over that of one                                   rounds.c
 *   flat      pinning large values over pinning small ones                                     rounds.c
 *   latency   the distribution of the time of single calls                                     latency.c
 *   memory    bytes per entry over the payload                                                 memory.c
 *   expiry    how soon, and at which cost, expired entries are freed                           memory.c
 *   pauses    the longest calls of a cache that grows, evicts and expires                      pauses.c
 *   count     runs one row once over --budget thousand operations, for callgrind               main.c
 *
 * Results are lines of JSON on standard output. Exit status 77: this can't be measured here, and standard error says why.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

const char *const op_names[BENCH_OPS] = { "get_into", "get", "set", "set_ttl", "miss", "mix", "churn" };

void must(int fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "local: %s failed\n", what);
        exit(1);
    }
}

_Noreturn void skip(const char *why)
{
    fprintf(stderr, "skipped: %s\n", why);
    exit(77);
}

int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double quantile(const double *sorted, size_t n, double share)
{
    size_t at = (size_t)(share * (double)n);
    return sorted[at < n ? at : n - 1];
}

const struct bench_contender *contender_of(const struct options *options, const char *name)
{
    if (strcmp(name, ours.name) == 0)
        return &ours;
    void *library = dlopen(options->library, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        skip(dlerror());
    const struct bench_contender *(*find)(const char *) = NULL;
    *(void **)&find = dlsym(library, "bench_find");
    const struct bench_contender *found = find ? find(name) : NULL;
    if (!found)
        skip("the library has no contender of that name");
    return found;
}

int wants_row(const struct options *options, int op)
{
    size_t len = strlen(op_names[op]);
    for (const char *at = options->rows; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, op_names[op], len) == 0 && (at[len] == ',' || at[len] == 0))
            return 1;
    }
    return 0;
}

/* The operations whose instructions are counted: callgrind collects inside of this function only. */
__attribute__((noinline)) void counted(const struct bench_contender *contender, void *self, int op, const struct bench_work *work)
{
    must(contender->run(self, op, work) == work->n, "an operation of the benchmark");
}

int mode_count(const struct options *options)
{
    const struct bench_contender *contender = contender_of(options, options->ours);
    size_t n = (size_t)options->budget_ms * 1000;
    struct bench_key *keys = malloc(n * sizeof *keys);
    uint8_t *value = calloc(1, options->value), *buf = calloc(1, options->value);
    must(keys && value && buf, "malloc");
    make_draws(options, n);
    void *self = open_contender(options, contender);
    for (int op = 0; op < BENCH_OPS; op++) {
        if (!wants_row(options, op))
            continue;
        fill(options, contender, self, op == BENCH_SET ? BENCH_SET : BENCH_SET_TTL);
        gather(options, keys, n, 0, op == BENCH_MISS);
        struct bench_work work = { keys, n, value, options->value, buf };
        counted(contender, self, op, &work);
    }
    contender->close(self);
    free(keys);
    free(value);
    free(buf);
    return 0;
}

static const struct { const char *name; int (*run)(const struct options *); } modes[] = {
    { "pair", mode_pair },       { "scaling", mode_scaling }, { "flat", mode_flat },     { "latency", mode_latency },
    { "memory", mode_memory },   { "expiry", mode_expiry },   { "pauses", mode_pauses }, { "count", mode_count },
};

int main(int argc, char **argv)
{
    struct options options = {
        .ours = "lc", .peer = "bare", .library = "", .url = "local:?max_entries={capacity}", .peer_url = "", .keys = 100000,
        .value = 100, .key_min = 16, .key_max = 32, .capacity_percent = 200, .threads = THREADS_MAX,
        .rows = "get_into,get,set,set_ttl,miss,mix", .budget_ms = 400,
    };
    const char *mode = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i += 2) {
        const char *name = argv[i], *given = argv[i + 1];
        must(given != NULL, name);
#define IS(text) (strcmp(name, text) == 0)
        if (IS("--ours")) options.ours = given;
        else if (IS("--peer")) options.peer = given;
        else if (IS("--library")) options.library = given;
        else if (IS("--url")) options.url = given;
        else if (IS("--peer-url")) options.peer_url = given;
        else if (IS("--rows")) options.rows = given;
        else if (IS("--draw")) options.uniform = strcmp(given, "uniform") == 0;
        else if (IS("--keys")) options.keys = strtoul(given, NULL, 10);
        else if (IS("--value")) options.value = strtoul(given, NULL, 10);
        else if (IS("--capacity")) options.capacity_percent = (unsigned)strtoul(given, NULL, 10);
        else if (IS("--threads")) options.threads = (int)strtol(given, NULL, 10);
        else if (IS("--budget")) options.budget_ms = strtod(given, NULL);
        else must(0, name);
    }
    must(options.keys > 0 && options.keys <= UINT32_MAX && options.value > 0, "an option");
    must(options.threads >= 1 && options.threads <= THREADS_MAX, "--threads");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(mode, modes[i].name) == 0)
            return modes[i].run(&options);
    fprintf(stderr, "usage: local pair|scaling|flat|latency|memory|expiry|pauses|count [options]\n");
    return 2;
}
