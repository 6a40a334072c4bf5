/* Rounds of two contenders that alternate within one process, each shorter than a time slice, so that most are not
 * interrupted on a busy machine and both meet the same state of it. What is kept is the ratio of each round's two times;
 * reported are the median of the ratios and their quartiles.
 *
 * Both get the same keys, made just before each half of a round, outside of the measured time. Who comes second in a round
 * has an advantage of a few percent (the processor has learned the sequence of keys), so the order is the other one in the
 * second half of the rounds, and what is reported is the geometric mean of both halves' figures: a contender against itself
 * gives 1. (An order that alternates from round to round would not do: each would run twice in a row, the second time with
 * warm caches, and the ratios would have two peaks.)
 * With two threads, each is bound to a processor of its own, and they begin each half together at a barrier that spins.
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

enum { ROUNDS_MAX = 4001, ROUNDS_MIN = 21, WARM = 10 };
static const double ROUND_NS = 800e3;

/* All threads wait for each other. It spins, so that they go on within a few hundred nanoseconds. */
struct barrier { atomic_int waiting, turn; int threads; };

static void meet(struct barrier *barrier)
{
    int turn = atomic_load(&barrier->turn);
    if (atomic_fetch_add(&barrier->waiting, 1) == barrier->threads - 1) {
        atomic_store(&barrier->waiting, 0);
        atomic_store(&barrier->turn, turn + 1);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&barrier->turn, memory_order_acquire) == turn; spins++)
        if (spins > 20000)
            sched_yield();
}

/* Binds the calling thread to the n-th of the processors that the process may use, if there are as many. */
static void bind_to(int n)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || n >= CPU_COUNT(&allowed))
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && n-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            pthread_setaffinity_np(pthread_self(), sizeof one, &one);
        }
}

struct side { const struct bench_contender *contender; void *self; };

struct measurement {
    const struct options *options;
    struct side sides[2];
    int op, threads, rounds, scaling;
    size_t ops;
    struct barrier barrier;
    double times[THREADS_MAX][2][ROUNDS_MAX];
};

static double timed(struct measurement *m, int side, const struct bench_work *work)
{
    double begun = now_ns();
    size_t good = m->sides[side].contender->run(m->sides[side].self, m->op, work);
    double took = now_ns() - begun;
    must(m->op == BENCH_CHURN || good == work->n, "an operation of the benchmark");
    return took / (double)work->n;
}

struct worker { struct measurement *m; int number; };

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct measurement *m = worker->m;
    size_t bytes = m->options->value;
    struct bench_key *keys = malloc(OPS_MAX * sizeof *keys);
    uint8_t *value = malloc(bytes), *buf = malloc(bytes);
    must(keys && value && buf, "malloc");
    memset(value, 'v', bytes);
    memset(buf, 0, bytes);
    uint64_t state = 0x9e3779b97f4a7c15ull + (uint64_t)worker->number;
    size_t from = random_next(&state) % DRAWS;
    if (m->threads > 1)
        bind_to(worker->number);
    for (int round = -WARM; round < m->rounds; round++) {
        struct bench_work round_work = { keys, m->ops, value, bytes, buf };
        for (int half = 0; half < 2; half++) {
            int side = half ^ (round >= m->rounds / 2);
            double took = 0;
            gather(m->options, keys, m->ops, from, m->op == BENCH_MISS);
            if (m->threads > 1)
                meet(&m->barrier);
            /* For scaling, side 0 is one thread alone, both in turn, and side 1 is all of them. */
            if (!m->scaling)
                took = timed(m, side, &round_work);
            else if (side == 1 || (round & 1) == worker->number)
                took = timed(m, 0, &round_work);
            if (round >= 0)
                m->times[worker->number][side][round] = took;
        }
        from += m->ops;
    }
    free(keys);
    free(value);
    free(buf);
    return NULL;
}

static void run_threads(struct measurement *m)
{
    pthread_t ids[THREADS_MAX];
    struct worker workers[THREADS_MAX];
    m->barrier.threads = m->threads;
    for (int t = 0; t < m->threads; t++) {
        workers[t] = (struct worker){ m, t };
        must(pthread_create(&ids[t], NULL, work, &workers[t]) == 0, "pthread_create");
    }
    for (int t = 0; t < m->threads; t++)
        pthread_join(ids[t], NULL);
}

/* Chooses operations per round and rounds, by a few rounds of one thread. */
static void calibrate(struct measurement *m)
{
    int threads = m->threads, scaling = m->scaling;
    double slowest = 0, both = 0;
    m->threads = 1, m->scaling = 0, m->ops = 48, m->rounds = 11;
    run_threads(m);
    for (int side = 0; side < 2; side++) {
        qsort(m->times[0][side], (size_t)m->rounds, sizeof(double), ascending);
        double typical = quantile(m->times[0][side], (size_t)m->rounds, 0.25);
        slowest = typical > slowest ? typical : slowest;
        both += typical;
    }
    m->threads = threads, m->scaling = scaling;
    double ops = ROUND_NS / slowest;
    m->ops = ops > OPS_MAX ? OPS_MAX : ops < 20 ? 20 : (size_t)ops;
    /* Making the keys takes time too. */
    double rounds = m->options->budget_ms * 1e6 / ((both + 80) * (double)m->ops);
    m->rounds = rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds < ROUNDS_MIN ? ROUNDS_MIN : (int)rounds;
}

/* A quantile of each half of the rounds, which differ in the order of the sides: their geometric mean. Sorts both. */
static double balanced(double *values, size_t n, double share)
{
    size_t half = n / 2;
    qsort(values, half, sizeof *values, ascending);
    qsort(values + half, n - half, sizeof *values, ascending);
    return sqrt(quantile(values, half, share) * quantile(values + half, n - half, share));
}

/* Writes one row: medians of both sides' times, median and quartiles of the ratios. */
static void report(struct measurement *m, const char *mode)
{
    static double ratios[ROUNDS_MAX], mean[2][ROUNDS_MAX];
    for (int round = 0; round < m->rounds; round++) {
        for (int side = 0; side < 2; side++) {
            double sum = 0;
            for (int t = 0; t < m->threads; t++)
                sum += m->times[t][side][round];
            mean[side][round] = m->scaling && side == 0 ? sum : sum / m->threads;
        }
        /* For scaling: how many times the throughput of one thread. */
        ratios[round] = m->scaling ? m->threads * mean[0][round] / mean[1][round] : mean[0][round] / mean[1][round];
    }
    size_t n = (size_t)m->rounds;
    printf("{\"mode\":\"%s\",\"op\":\"%s\",\"ours\":\"%s\",\"peer\":\"%s\",\"threads\":%d,\"keys\":%zu,\"value\":%zu,"
           "\"draw\":\"%s\",\"capacity_percent\":%u,\"bounded\":%s,\"rounds\":%d,\"ops\":%zu,"
           "\"first_ns\":%.2f,\"second_ns\":%.2f,\"ratio\":%.4f,\"low\":%.4f,\"high\":%.4f}\n",
           mode, op_names[m->op], m->sides[0].contender->name, m->sides[1].contender->name, m->threads, m->options->keys,
           m->options->value, m->options->uniform ? "uniform" : "zipf", m->options->capacity_percent,
           m->options->capacity_percent && !getenv("BENCH_UNBOUNDED") ? "true" : "false", m->rounds, m->ops,
           balanced(mean[0], n, 0.5), balanced(mean[1], n, 0.5), balanced(ratios, n, 0.5), balanced(ratios, n, 0.25),
           balanced(ratios, n, 0.75));
    fflush(stdout);
}

int mode_pair(const struct options *options)
{
    static struct measurement m;
    m.options = options;
    make_draws(options, DRAWS);
    for (int side = 0; side < 2; side++) {
        m.sides[side].contender = contender_of(options, side == 0 ? options->ours : options->peer);
        m.sides[side].self = open_contender(options, m.sides[side].contender);
    }
    int with_ttl = -1;
    for (int op = 0; op < BENCH_OPS; op++) {
        if (!wants_row(options, op))
            continue;
        /* All rows but the store without a TTL find entries with one. */
        int wanted = op != BENCH_SET;
        if (wanted != with_ttl)
            for (int side = 0; side < 2; side++)
                fill(options, m.sides[side].contender, m.sides[side].self, wanted ? BENCH_SET_TTL : BENCH_SET);
        with_ttl = wanted;
        for (m.threads = 1; m.threads <= options->threads; m.threads++) {
            m.op = op;
            calibrate(&m);
            run_threads(&m);
            report(&m, "pair");
        }
    }
    return 0;
}

int mode_scaling(const struct options *options)
{
    static struct measurement m;
    m.options = options;
    m.scaling = 1;
    make_draws(options, DRAWS);
    const struct bench_contender *contender = contender_of(options, options->ours);
    m.sides[0] = m.sides[1] = (struct side){ contender, open_contender(options, contender) };
    fill(options, contender, m.sides[0].self, BENCH_SET_TTL);
    for (int op = 0; op < BENCH_OPS; op++) {
        if (!wants_row(options, op))
            continue;
        m.op = op;
        m.threads = THREADS_MAX;
        calibrate(&m);
        run_threads(&m);
        report(&m, "scaling");
    }
    return 0;
}

/* One contender with small values against itself with large ones: how much a value's size costs. */
int mode_flat(const struct options *options)
{
    static const size_t sizes[] = { 4096, 1 << 20 };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        static struct measurement m;
        struct options large = *options, small = *options;
        large.value = sizes[s];
        small.value = 100;
        make_draws(options, DRAWS);
        const struct bench_contender *contender = contender_of(options, options->ours);
        for (int side = 0; side < 2; side++) {
            m.sides[side] = (struct side){ contender, open_contender(options, contender) };
            fill(side == 0 ? &large : &small, contender, m.sides[side].self, BENCH_SET_TTL);
        }
        /* Only BENCH_GET: its check of the length is made with the wanted one, so each side needs its own. */
        m.options = &large;
        m.op = BENCH_GET;
        m.threads = 1;
        m.ops = 2048, m.rounds = 401;
        enum { N = 401 };
        static double ratios[N], times[2][N];
        static struct bench_key keys[OPS_MAX];
        uint8_t *value = calloc(1, large.value);
        must(value != NULL, "calloc");
        for (int round = -WARM; round < N; round++) {
            double took[2];
            for (int side = 0; side < 2; side++) {
                gather(options, keys, m.ops, (size_t)(round + WARM) * m.ops, 0);
                struct bench_work work = { keys, m.ops, value, side == 0 ? large.value : small.value, value };
                took[side] = timed(&m, side, &work);
            }
            if (round >= 0) {
                times[0][round] = took[0], times[1][round] = took[1];
                ratios[round] = took[0] / took[1];
            }
        }
        qsort(ratios, N, sizeof(double), ascending);
        qsort(times[0], N, sizeof(double), ascending);
        qsort(times[1], N, sizeof(double), ascending);
        printf("{\"mode\":\"flat\",\"op\":\"get\",\"ours\":\"%s\",\"value\":%zu,\"keys\":%zu,\"rounds\":%d,\"first_ns\":%.2f,"
               "\"second_ns\":%.2f,\"ratio\":%.4f,\"low\":%.4f,\"high\":%.4f}\n",
               contender->name, large.value, options->keys, N, quantile(times[0], N, 0.5), quantile(times[1], N, 0.5),
               quantile(ratios, N, 0.5), quantile(ratios, N, 0.25), quantile(ratios, N, 0.75));
        free(value);
        for (int side = 0; side < 2; side++)
            contender->close(m.sides[side].self);
    }
    return 0;
}
