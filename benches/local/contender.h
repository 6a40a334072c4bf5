/* What a contender is to the harness: a way to open, and a way to run a number of operations in a row. The loop over
 * the operations is compiled with the contender, in its own language, so that each pays its own calls and nothing else.
 * "lc" (ours.c) is part of the program; all others are shared objects that export bench_find.
 */
#ifndef BENCH_CONTENDER_H
#define BENCH_CONTENDER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum bench_op {
    BENCH_GET_INTO, /* copies the value of a key that is there into buf */
    BENCH_GET,      /* pins the value of a key that is there, looks at its length, gives it back */
    BENCH_SET,      /* stores the value, without a TTL */
    BENCH_SET_TTL,  /* stores the value with a TTL of an hour, where the contender has TTLs */
    BENCH_MISS,     /* looks for a key that is not there */
    BENCH_MIX,      /* 19 BENCH_GET_INTO, one BENCH_SET_TTL, and so on */
    BENCH_CHURN,    /* copies the value into buf, and stores it where it is not there */
    BENCH_OPS
};

struct bench_key {
    uint8_t len, bytes[39];
};

struct bench_work {
    const struct bench_key *keys;
    size_t n;
    const uint8_t *value;
    size_t value_len;
    uint8_t *buf; /* as long as the value */
};

struct bench_setup {
    size_t capacity; /* most entries; 0: no bound */
    size_t keys;     /* entries to be expected */
    int timed;       /* whether entries need a TTL: for contenders that have a way with and one without */
    const char *url; /* "lc": what to open, {capacity} stands for the bound; memcached: its socket */
};

struct bench_contender {
    const char *name;
    /* NULL where the contender can't do that; a line on standard error says why. */
    void *(*open)(const struct bench_setup *);
    /* Any number of threads at once. Answers how many operations went as they should: all, but for BENCH_CHURN, which
     * answers how many keys were there. */
    size_t (*run)(void *self, int op, const struct bench_work *);
    void (*close)(void *self);
};

const struct bench_contender *bench_find(const char *name);

#ifdef __cplusplus
}
#endif
#endif
