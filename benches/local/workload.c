/* The keys, the order in which they are asked for, and the opening and filling of contenders. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

static uint32_t draws[DRAWS];
static size_t made;

uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

void make_key(const struct options *options, struct bench_key *key, uint64_t number, int absent)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    uint64_t mixed = (number + 1) * 0x9e3779b97f4a7c15ull;
    mixed ^= mixed >> 32;
    memcpy(key->bytes, absent ? "none:" : "user:", 5);
    for (int i = 15; i >= 5; i--, number >>= 4)
        key->bytes[i] = (uint8_t)digits[number & 15];
    key->len = (uint8_t)(options->key_min + mixed % (options->key_max - options->key_min + 1));
    for (int i = 16; i < key->len; i++, mixed = mixed >> 5 | mixed << 59)
        key->bytes[i] = (uint8_t)digits[mixed & 31];
}

/* A rank by a Zipf law, by rejection-inversion (Hörmann and Derflinger, 1996): no table, whatever the number of keys. */
static const double EXPONENT = 0.99;
static double h(double x) { return pow(x, -EXPONENT); }
static double h_integral(double x) { return (pow(x, 1 - EXPONENT) - 1) / (1 - EXPONENT); }
static double h_inverse(double y) { return pow(1 + y * (1 - EXPONENT), 1 / (1 - EXPONENT)); }

static uint64_t zipf(uint64_t n, uint64_t *state)
{
    const double first = h_integral(1.5) - 1, last = h_integral((double)n + 0.5);
    const double shortcut = 2 - h_inverse(h_integral(2.5) - h(2));
    for (;;) {
        double u = last + (double)(random_next(state) >> 11) / 9007199254740992.0 * (first - last);
        double x = h_inverse(u), k = floor(x + 0.5);
        k = k < 1 ? 1 : k > (double)n ? (double)n : k;
        if (k - x <= shortcut || u >= h_integral(k + 0.5) - h(k))
            return (uint64_t)k - 1;
    }
}

void make_draws(const struct options *options, size_t n)
{
    uint64_t state = 0x2545f4914f6cdd1dull;
    made = n < DRAWS ? n : DRAWS;
    for (size_t d = 0; d < made; d++) {
        uint64_t rank = options->uniform ? random_next(&state) % options->keys : zipf(options->keys, &state);
        /* A prime spreads the hot ones over the order of insertion, so that they are no neighbours in memory. */
        draws[d] = (uint32_t)(rank * 2654435761u % options->keys);
    }
}

void gather(const struct options *options, struct bench_key *into, size_t n, size_t from, int absent)
{
    for (size_t i = 0; i < n; i++)
        make_key(options, &into[i], draws[(from + i) % made], absent);
}

void *open_contender(const struct options *options, const struct bench_contender *contender)
{
    struct bench_setup setup = {
        .capacity = options->keys * options->capacity_percent / 100,
        .keys = options->keys,
        .timed = 0,
        .url = contender == &ours || strcmp(contender->name, "other") == 0 ? options->url : options->peer_url,
    };
    void *self = contender->open(&setup);
    if (!self)
        skip("a contender could not be opened as asked");
    return self;
}

void fill(const struct options *options, const struct bench_contender *contender, void *self, int op)
{
    enum { PORTION = 512 };
    static struct bench_key keys[PORTION];
    uint8_t *value = malloc(options->value);
    must(value != NULL, "malloc");
    memset(value, 'v', options->value);
    for (size_t done = 0; done < options->keys;) {
        size_t n = options->keys - done < PORTION ? options->keys - done : PORTION;
        for (size_t i = 0; i < n; i++)
            make_key(options, &keys[i], done + i, 0);
        struct bench_work work = { keys, n, value, options->value, NULL };
        must(contender->run(self, op, &work) == n, "storing");
        done += n;
    }
    free(value);
}
