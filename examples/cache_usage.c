/* The three kinds of cache, used alike.
 *
 *     cc examples/cache_usage.c $(pkg-config --cflags --libs lighter_cache) -o cache_usage
 *     ./cache_usage                                        with the Local cache alone
 *     REDIS_URL=redis://localhost:6379 ./cache_usage       also with Redis and the Hybrid of both
 *     ./cache_usage 'hybrid+redis://localhost?prefix=app'  with a cache of your own
 */
#include <lighter_cache.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MINUTE = 60 * 1000 };

/* Ends the program where a call did not have the outcome that it has to have. */
static void expect(lc_status expected, lc_status status) {
    if (status != expected) {
        fprintf(stderr, "%s: %s\n", lc_strerror(status), status < 0 ? lc_last_error() : "unexpected");
        exit(1);
    }
}

static void must(lc_status status) { expect(LCACHE_OK, status); }

/* What a program does with a cache. It is the same for every kind. */
static void tour(const char *title, lc_cache cache) {
    char key[64];
    size_t key_len;
    must(lc_key_user("1", key, sizeof key, &key_len)); /* "user:1" */
    must(lc_set(cache, key, key_len, LCACHE_STR("Ada Lovelace"), 5 * MINUTE));

    /* Without a copy: the value is pinned until it is freed, whatever happens to its key. */
    lc_value *value;
    const void *data;
    size_t len;
    must(lc_get(cache, key, key_len, &value, &data, &len));
    if (len != 12 || memcmp(data, "Ada Lovelace", len) != 0)
        exit(1);
    lc_value_free(value);

    /* Or into a buffer of one's own. */
    char buffer[64];
    must(lc_get_into(cache, key, key_len, buffer, sizeof buffer, &len));

    /* Time to live: asked for, and changed. */
    uint64_t ttl_ms;
    must(lc_ttl(cache, key, key_len, &ttl_ms));
    if (ttl_ms > 5 * MINUTE)
        exit(1);
    must(lc_expire(cache, key, key_len, LCACHE_TTL_NONE));

    must(lc_key_user_permissions("1", key, sizeof key, &key_len)); /* "user:1:permissions" */
    must(lc_set(cache, key, key_len, LCACHE_STR("read,write"), 5 * MINUTE));

    /* A miss is an outcome, no error. */
    must(lc_set(cache, LCACHE_STR("motd:today"), LCACHE_STR("be kind"), LCACHE_TTL_NONE));
    must(lc_exists(cache, LCACHE_STR("motd:today")));
    must(lc_delete(cache, LCACHE_STR("motd:today")));
    expect(LCACHE_MISS, lc_get(cache, LCACHE_STR("motd:today"), &value, &data, &len));

    /* Many keys at once: on a server in one round trip. */
    const lc_bytes keys[] = {{LCACHE_STR("session:0")}, {LCACHE_STR("session:1")}, {LCACHE_STR("session:2")}};
    const lc_bytes names[] = {{LCACHE_STR("Ada")}, {LCACHE_STR("Grace")}, {LCACHE_STR("Barbara")}};
    lc_value *found[3];
    size_t hits, deleted;
    must(lc_set_many(cache, keys, names, 3, MINUTE));
    must(lc_get_many(cache, keys, 3, found, &hits));
    for (int i = 0; i < 3; i++)
        lc_value_free(found[i]); /* NULL for a miss, and that may be freed */
    must(lc_delete_many(cache, keys, 3, &deleted));
    if (hits != 3 || deleted != 3)
        exit(1);

    lc_stats stats;
    must(lc_stats_get(cache, &stats, sizeof stats));
    printf("%-7s %d hits, %d misses, hit rate %.2f\n", title, (int)stats.hits, (int)stats.misses, stats.hit_rate);
    must(lc_clear(cache));
}

/* A loader: reads what the cache does not hold. Here from a table, in a program from a database. */
static lc_status load_name(void *ctx, const void *key, size_t key_len, lc_sink *out) {
    int *loads = ctx;
    *loads += 1;
    if (key_len != 6 || memcmp(key, "user:2", 6) != 0)
        return LCACHE_MISS; /* there is none */
    return lc_sink_set(out, LCACHE_STR("Grace Hopper"));
}

/* More than get and set. In this version a Local cache does all of it. */
static void more(lc_cache cache) {
    /* One load per key, however many threads ask. */
    int loads = 0;
    lc_set_options options = LCACHE_SET_OPTIONS_INIT;
    options.ttl_ms = 5 * MINUTE;
    for (int i = 0; i < 2; i++) {
        lc_value *value;
        must(lc_get_or_load(cache, LCACHE_STR("user:2"), &options, sizeof options, load_name, &loads, &value, NULL,
                            NULL));
        if (lc_value_size(value) != 12 || loads != 1)
            exit(1);
        lc_value_free(value);
    }

    /* Counting, and writes that depend on what is there: each atomic. */
    int64_t visits;
    must(lc_incr(cache, LCACHE_STR("visits"), 1, MINUTE, &visits));
    must(lc_add(cache, LCACHE_STR("leader"), LCACHE_STR("me"), MINUTE));
    expect(LCACHE_EXISTS, lc_add(cache, LCACHE_STR("leader"), LCACHE_STR("you"), MINUTE));

    /* A lock, held for 10 s at most. Its fence grows, so that storage can tell a late holder. */
    lc_lock *lock;
    must(lc_lock_acquire(cache, LCACHE_STR("nightly"), 10 * 1000, 0, &lock));
    printf("visit %d, fence %s\n", (int)visits, lc_lock_fence(lock) > 0 ? "taken" : "missing");
    must(lc_lock_release(lock));
    must(lc_clear(cache));
}

static lc_cache open_url(const char *url) {
    lc_cache cache;
    must(lc_open(url, &cache));
    return cache;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        lc_cache cache = open_url(argv[1]);
        tour("by URL", cache);
        must(lc_close(cache));
        return 0;
    }
    lc_cache local = open_url("local:?shards=16");
    tour("Local", local);
    more(local);

    const char *url = getenv("REDIS_URL");
    if (url) {
        /* Options one by one, where there is no URL to write them into. */
        lc_config *config = lc_config_new(url);
        must(lc_config_set(config, "prefix", "cache_usage"));
        lc_cache redis, hybrid;
        must(lc_config_open(config, &redis));
        lc_config_free(config);
        tour("Redis", redis);
        must(lc_open_hybrid(local, redis, NULL, &hybrid));
        tour("Hybrid", hybrid);
        must(lc_close(hybrid));
        must(lc_close(redis));
        must(lc_open_hybrid(local, 0, NULL, &hybrid));
        tour("L1 only", hybrid);
        must(lc_close(hybrid));
    } else {
        printf("set REDIS_URL to see Redis and Hybrid as well\n");
    }
    must(lc_close(local));
    return 0;
}
