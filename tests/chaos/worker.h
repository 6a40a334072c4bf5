/* What the workers in C and C++ share: values, records, the random choice of operations, and the commands that
   a worker obeys. A worker includes this and defines the operations on its cache; record.py has the same format
   for Python.

   A worker is started as `worker URL ID THREADS KEYS SEED FOLDER`, opens a Hybrid, prints "open" and lets its
   threads work. It obeys lines of standard input and answers each with one line:
     fork ID   a forked child works as ID for a while, with threads of its own
     quiet     the threads end; answers when L2 has been joined again and no write waits for it
     final     reads each key once, as one more thread
   and ends with its standard input. */
#ifndef LC_CHAOS_WORKER_H
#define LC_CHAOS_WORKER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 16
#define MAX_CHILDREN 64
#define VALUE_ROOM 1024
/* How long a forked child works. */
#define CHILD_NS 1500000000u

enum operation { OP_GET = 1, OP_SET = 2, OP_DELETE = 3, OP_CLEAR = 4, OP_FINAL = 5 };
enum outcome { OUT_OK = 0, OUT_MISS = 1, OUT_FAILED = 2, OUT_TORN = 3 };
/* What the cache's counters say of the time around an operation; other threads' operations count, too. */
enum flag { FLAG_UNCONFIRMED = 1, FLAG_STALE = 2, FLAG_ERRORS = 4, FLAG_DEGRADED = 8 };

/* One operation, as it lies in the file: little-endian, no padding. */
struct record {
    uint64_t begin, end; /* CLOCK_MONOTONIC, nanoseconds */
    uint64_t version;    /* written or read; 0 for none */
    uint32_t key, ttl_ms;
    uint16_t operation, outcome;
    uint32_t flags;
};

/* The counters that matter. */
struct counters {
    uint64_t unconfirmed; /* writes that were queued, replayed or dropped, ever */
    uint64_t stale, errors, queued;
    int degraded;
};

/* What a worker defines over its language's API. */
static int worker_open(const char *url);
static enum outcome worker_get(const char *key, char *value, size_t *len);
static enum outcome worker_set(const char *key, const char *value, size_t len, uint32_t ttl_ms);
static enum outcome worker_delete(const char *key);
static enum outcome worker_clear(void);
static struct counters worker_counters(void);

static struct {
    uint32_t id, threads, keys;
    uint64_t seed;
    const char *folder;
    volatile int stop;
    pthread_t running[MAX_THREADS];
    pid_t children[MAX_CHILDREN];
    int child_count;
} worker;

static inline uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline void pause_ns(long ns) {
    struct timespec time = {0, ns};
    nanosleep(&time, NULL);
}

/* xorshift64*: the seed says what is done, not when. */
static inline uint64_t draw(uint64_t *state, uint64_t below) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * 2685821657736338717u >> 33) % below;
}

static inline uint32_t crc32_of(const char *data, size_t len) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

/* "VERSION KEY xxx...CHECKSUM": which write it was, of which key, and whether it is whole. */
static inline size_t value_make(char *out, uint64_t version, uint32_t key) {
    size_t len = (size_t)sprintf(out, "v%016" PRIx64 " k%" PRIu32 " ", version, key);
    size_t padding = version % 199;
    memset(out + len, 'x', padding);
    len += padding;
    return len + (size_t)sprintf(out + len, "%08" PRIx32, crc32_of(out, len));
}

/* The version of a value of `key`; 0 where it is none, or another key's, or damaged. */
static inline uint64_t value_version(const char *value, size_t len, uint32_t key) {
    char text[32], expected[VALUE_ROOM];
    if (len < 18 || len >= VALUE_ROOM) return 0;
    memcpy(text, value + 1, 16);
    text[16] = 0;
    uint64_t version = strtoull(text, NULL, 16);
    return value_make(expected, version, key) == len && memcmp(value, expected, len) == 0 ? version : 0;
}

/* --- one thread's records */

struct log {
    int file;
    size_t used;
    struct counters before;
    struct record records[1024];
};

static inline struct log *log_open(uint32_t thread) {
    char path[512];
    struct log *log = (struct log *)calloc(1, sizeof *log);
    snprintf(path, sizeof path, "%s/%" PRIu32 ".%" PRIu32 ".log", worker.folder, worker.id, thread);
    if (!log || (log->file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0) {
        perror(path);
        _exit(1);
    }
    log->before = worker_counters();
    return log;
}

static inline void log_flush(struct log *log) {
    const char *data = (const char *)log->records;
    size_t left = log->used * sizeof log->records[0];
    while (left > 0) {
        ssize_t written = write(log->file, data, left);
        if (written <= 0) _exit(1);
        data += written;
        left -= (size_t)written;
    }
    log->used = 0;
}

static inline void log_close(struct log *log) {
    log_flush(log);
    close(log->file);
    free(log);
}

static inline void log_add(struct log *log, struct record record) {
    struct counters before = log->before, after = worker_counters();
    /* Of the writes of one key only the last is queued: a further one does not show in the sum. */
    if (after.unconfirmed != before.unconfirmed || before.queued || after.queued) record.flags |= FLAG_UNCONFIRMED;
    if (after.stale != before.stale) record.flags |= FLAG_STALE;
    if (after.errors != before.errors) record.flags |= FLAG_ERRORS;
    if (before.degraded || after.degraded) record.flags |= FLAG_DEGRADED;
    log->before = after;
    log->records[log->used++] = record;
    if (log->used == sizeof log->records / sizeof log->records[0]) log_flush(log);
}

/* --- the work */

static inline void read_one(struct log *log, uint32_t key, enum operation operation) {
    char name[32], value[VALUE_ROOM];
    size_t len = sizeof value;
    struct record record = {0, 0, 0, key, 0, (uint16_t)operation, 0, 0};
    snprintf(name, sizeof name, "k%" PRIu32, key);
    record.begin = now_ns();
    enum outcome outcome = worker_get(name, value, &len);
    record.end = now_ns();
    if (outcome == OUT_OK) {
        record.version = value_version(value, len, key);
        if (record.version == 0) outcome = OUT_TORN;
    }
    record.outcome = (uint16_t)outcome;
    log_add(log, record);
}

static inline void work_once(struct log *log, uint64_t *random, uint64_t version) {
    char name[32], value[VALUE_ROOM];
    /* The first keys are the busiest. */
    uint32_t key = (uint32_t)(draw(random, 1 + draw(random, worker.keys)));
    uint64_t dice = draw(random, 4000);
    if (dice >= 600) {
        read_one(log, key, OP_GET);
        return;
    }
    struct record record = {0, 0, 0, key, 0, 0, 0, 0};
    enum outcome outcome;
    snprintf(name, sizeof name, "k%" PRIu32, key);
    if (dice == 0) {
        record.operation = OP_CLEAR;
        record.begin = now_ns();
        outcome = worker_clear();
    } else if (dice < 150) {
        record.operation = OP_DELETE;
        record.begin = now_ns();
        outcome = worker_delete(name);
    } else {
        size_t len = value_make(value, version, key);
        record.operation = OP_SET;
        record.version = version;
        record.ttl_ms = dice < 250 ? (uint32_t)(50 + draw(random, 1500)) : 0;
        record.begin = now_ns();
        outcome = worker_set(name, value, len, record.ttl_ms);
    }
    record.end = now_ns();
    record.outcome = (uint16_t)outcome;
    log_add(log, record);
}

static void *work(void *number) {
    uint32_t thread = (uint32_t)(uintptr_t)number;
    uint64_t random = (worker.seed ^ ((uint64_t)worker.id << 32 | thread << 16)) * 2862933555777941757u + 1;
    uint64_t version = (uint64_t)worker.id << 40 | (uint64_t)thread << 32;
    struct log *log = log_open(thread);
    while (!worker.stop) {
        for (uint64_t burst = 1 + draw(&random, 12); burst > 0; burst--) work_once(log, &random, ++version);
        pause_ns(1000000 + (long)draw(&random, 4000000));
    }
    log_close(log);
    return NULL;
}

static inline void threads_start(void) {
    worker.stop = 0;
    for (uint32_t thread = 0; thread < worker.threads; thread++)
        if (pthread_create(&worker.running[thread], NULL, work, (void *)(uintptr_t)thread) != 0) _exit(1);
}

static inline void threads_end(void) {
    worker.stop = 1;
    for (uint32_t thread = 0; thread < worker.threads; thread++) pthread_join(worker.running[thread], NULL);
}

/* --- the commands */

static inline const char *do_fork(uint32_t id) {
    if (worker.child_count == MAX_CHILDREN) return "too many children";
    pid_t child = fork();
    if (child < 0) return "fork failed";
    if (child == 0) {
        /* The parent's threads are not here; their logs are the parent's. */
        worker.id = id;
        worker.child_count = 0;
        threads_start();
        for (uint64_t end = now_ns() + CHILD_NS; now_ns() < end;) pause_ns(10000000);
        threads_end();
        _exit(0);
    }
    worker.children[worker.child_count++] = child;
    return "forked";
}

/* A child that does not end is killed by the runner, which waits for the answer to "quiet" only so long. */
static inline const char *do_quiet(void) {
    threads_end();
    for (int i = 0; i < worker.child_count; i++) {
        int status = 0;
        if (waitpid(worker.children[i], &status, 0) < 0 || status != 0) return "a forked child failed";
    }
    struct counters counters = worker_counters();
    for (uint64_t end = now_ns() + 30000000000u; counters.degraded || counters.queued > 0;) {
        if (now_ns() > end) return "L2 was not joined again";
        pause_ns(5000000);
        counters = worker_counters();
    }
    return "quiet";
}

static inline const char *do_final(void) {
    struct log *log = log_open(MAX_THREADS);
    for (uint32_t key = 0; key < worker.keys; key++) read_one(log, key, OP_FINAL);
    log_close(log);
    return "final";
}

static inline int worker_main(int argc, char **argv) {
    char line[64];
    if (argc != 7) return 2;
    worker.id = (uint32_t)atoi(argv[2]);
    worker.threads = (uint32_t)atoi(argv[3]);
    worker.keys = (uint32_t)atoi(argv[4]);
    worker.seed = strtoull(argv[5], NULL, 10);
    worker.folder = argv[6];
    if (worker.threads > MAX_THREADS || worker_open(argv[1]) != 0) return 1;
    threads_start();
    puts("open");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        const char *answer = "no such command";
        if (strncmp(line, "fork ", 5) == 0) answer = do_fork((uint32_t)atoi(line + 5));
        if (strcmp(line, "quiet\n") == 0) answer = do_quiet();
        if (strcmp(line, "final\n") == 0) answer = do_final();
        puts(answer);
        fflush(stdout);
    }
    return 0;
}

#endif
