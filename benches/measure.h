/* What the programs that measure against a server share. PROGRAM is the name in their messages. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lighter_cache.h"

static inline void must(int fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, PROGRAM ": %s failed: %s\n", what, lc_last_error());
        exit(1);
    }
}

/* Seconds of the monotonic clock. */
static inline double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static inline int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline void sort(double *figures, int count) { qsort(figures, (size_t)count, sizeof *figures, ascending); }

#endif
