/* The contender "memcached": what a C program has today for a cache with a bound and TTLs, libmemcached with a memcached
 * on the same machine, on a unix socket. Each thread has a connection of its own. Keys have no spaces, as its protocol
 * wants it.
 */
#define _GNU_SOURCE
#include <libmemcached/memcached.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contender.h"

enum { HOUR = 3600 };

static _Thread_local memcached_st *connection;

static void *open_client(const struct bench_setup *setup)
{
    return strdup(setup->url);
}

static memcached_st *connected(const char *socket)
{
    if (!connection) {
        connection = memcached_create(NULL);
        memcached_behavior_set(connection, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 1);
        if (memcached_server_add_unix_socket(connection, socket) != MEMCACHED_SUCCESS) {
            fprintf(stderr, "memcached: %s\n", memcached_last_error_message(connection));
            exit(1);
        }
    }
    return connection;
}

static int get(memcached_st *server, const struct bench_key *key, const struct bench_work *work, int copy)
{
    size_t len = 0;
    uint32_t flags;
    memcached_return_t status;
    char *value = memcached_get(server, (const char *)key->bytes, key->len, &len, &flags, &status);
    int found = value != NULL && len == work->value_len;
    if (found && copy)
        memcpy(work->buf, value, len);
    free(value);
    return found;
}

static int set(memcached_st *server, const struct bench_key *key, const struct bench_work *work, time_t ttl)
{
    return memcached_set(server, (const char *)key->bytes, key->len, (const char *)work->value, work->value_len, ttl, 0)
        == MEMCACHED_SUCCESS;
}

static size_t run(void *self, int op, const struct bench_work *work)
{
    memcached_st *server = connected(self);
    size_t good = 0;
    unsigned turn = 0;
    for (const struct bench_key *key = work->keys, *end = key + work->n; key < end; key++) {
        switch (op) {
        case BENCH_GET_INTO: good += get(server, key, work, 1); break;
        case BENCH_GET: good += get(server, key, work, 0); break;
        case BENCH_SET: good += set(server, key, work, 0); break;
        case BENCH_SET_TTL: good += set(server, key, work, HOUR); break;
        case BENCH_MISS: good += !get(server, key, work, 1); break;
        case BENCH_MIX: good += ++turn % 20 ? get(server, key, work, 1) : set(server, key, work, HOUR); break;
        case BENCH_CHURN:
            if (get(server, key, work, 1)) good++;
            else set(server, key, work, HOUR);
            break;
        }
    }
    return good;
}

static void close_client(void *self)
{
    free(self);
}

static const struct bench_contender contender = { "memcached", open_client, run, close_client };
const struct bench_contender *bench_find(const char *name)
{
    return strcmp(name, contender.name) == 0 ? &contender : NULL;
}
