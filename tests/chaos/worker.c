/* The worker that uses the C API. */
#include "worker.h"

#include <lighter_cache.h>

static lc_cache cache;

static int worker_open(const char *url) {
    if (lc_open(url, &cache) == LCACHE_OK) return 0;
    fprintf(stderr, "lc_open: %s\n", lc_last_error());
    return -1;
}

static enum outcome outcome_of(lc_status status, const char *call) {
    if (status == LCACHE_OK) return OUT_OK;
    if (status == LCACHE_MISS) return OUT_MISS;
    fprintf(stderr, "%s gave %d: %s\n", call, (int)status, lc_last_error());
    return OUT_FAILED;
}

static enum outcome worker_get(const char *key, char *value, size_t *len) {
    lc_value *pinned;
    const void *data;
    size_t size;
    enum outcome outcome = outcome_of(lc_get(cache, key, strlen(key), &pinned, &data, &size), "lc_get");
    if (outcome != OUT_OK) return outcome;
    if (size > *len)
        outcome = OUT_TORN;
    else
        memcpy(value, data, *len = size);
    lc_value_free(pinned);
    return outcome;
}

static enum outcome worker_set(const char *key, const char *value, size_t len, uint32_t ttl_ms) {
    uint64_t ttl = ttl_ms ? ttl_ms : LCACHE_TTL_NONE;
    return outcome_of(lc_set(cache, key, strlen(key), value, len, ttl), "lc_set");
}

static enum outcome worker_delete(const char *key) {
    return outcome_of(lc_delete(cache, key, strlen(key)), "lc_delete");
}

static enum outcome worker_clear(void) { return outcome_of(lc_clear(cache), "lc_clear"); }

static struct counters worker_counters(void) {
    lc_stats stats;
    if (lc_stats_get(cache, &stats, sizeof stats) != LCACHE_OK) _exit(1);
    struct counters counters = {stats.queued_writes + stats.replayed_writes + stats.dropped_writes, stats.stale_served,
                                stats.errors, stats.queued_writes, stats.degraded != 0};
    return counters;
}

int main(int argc, char **argv) { return worker_main(argc, argv); }
