/* What the parts of the harness share: the options, the workload, the clock, the way results are written. */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <time.h>

#include "contender.h"

enum { DRAWS = 1 << 20, OPS_MAX = 8192, THREADS_MAX = 2 };

struct options {
    const char *ours, *peer;       /* names of contenders */
    const char *library;           /* the shared object that has the peer */
    const char *url, *peer_url;
    size_t keys, value;            /* entries, and bytes of a value */
    unsigned key_min, key_max;     /* bytes of a key */
    int uniform;                   /* else a Zipf law with the exponent 0.99 */
    unsigned capacity_percent;     /* the bound, in percent of the keys; 0: none */
    int threads;
    const char *rows;              /* comma-separated operations, see op_names */
    double budget_ms;              /* time of measuring, per row and number of threads */
};

extern const char *const op_names[BENCH_OPS];
extern const struct bench_contender ours;

/* The modes; each writes its results to standard output, one JSON object a line, and answers with the exit status. */
int mode_pair(const struct options *);
int mode_scaling(const struct options *);
int mode_latency(const struct options *);
int mode_flat(const struct options *);
int mode_memory(const struct options *);
int mode_expiry(const struct options *);
int mode_pauses(const struct options *);
int mode_count(const struct options *);

/* Ends the program with a line on standard error where `fine` is 0. */
void must(int fine, const char *what);
/* Ends it with the status that means "can't be measured here". */
_Noreturn void skip(const char *why);

const struct bench_contender *contender_of(const struct options *, const char *name);
/* Opens it with the bound that the options ask for. */
void *open_contender(const struct options *, const struct bench_contender *);
/* Stores all keys once. */
void fill(const struct options *, const struct bench_contender *, void *self, int op);
int wants_row(const struct options *, int op);

/* Workload: keys are made from numbers, so there is no table of them that would compete for the caches. */
uint64_t random_next(uint64_t *state);
void make_key(const struct options *, struct bench_key *, uint64_t number, int absent);
/* Makes n numbers of keys, at most DRAWS, by the law of the options; gathering begins anew after the last. */
void make_draws(const struct options *, size_t n);
/* The keys of n draws from number `from` on. */
void gather(const struct options *, struct bench_key *into, size_t n, size_t from, int absent);

static inline double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline double cpu_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int ascending(const void *a, const void *b);
/* Of a sorted array. */
double quantile(const double *sorted, size_t n, double share);

#endif
