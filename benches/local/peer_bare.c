/* The contender "bare": a DashMap behind one-line C functions (benches/bare), called as the library is. */
#include <string.h>

#include "contender.h"

typedef struct Bare Bare;
Bare *bare_new(void);
int bare_get_into(const Bare *, const void *key, size_t key_len, void *buf, size_t cap, size_t *len);
int bare_get(const Bare *, const void *key, size_t key_len, const void **data, size_t *len);
void bare_free(const void *data, size_t len);
void bare_set(const Bare *, const void *key, size_t key_len, const void *value, size_t len);
void bare_drop(Bare *);

static void *open_map(const struct bench_setup *setup)
{
    (void)setup;
    return bare_new();
}

static size_t run(void *self, int op, const struct bench_work *work)
{
    Bare *bare = self;
    const size_t wanted = work->value_len;
    size_t good = 0, len = 0;
#define EACH(body) \
    for (const struct bench_key *key = work->keys, *end = key + work->n; key < end; key++) { body }
#define GET_INTO (bare_get_into(bare, key->bytes, key->len, work->buf, wanted, &len) == 0 && len == wanted)
#define SET bare_set(bare, key->bytes, key->len, work->value, wanted)
    switch (op) {
    case BENCH_GET_INTO:
        EACH(good += GET_INTO;)
        break;
    case BENCH_GET:
        EACH(const void *data; good += bare_get(bare, key->bytes, key->len, &data, &len) == 0 && len == wanted;
             bare_free(data, len);)
        break;
    case BENCH_SET:
    case BENCH_SET_TTL:
        EACH(SET; good++;)
        break;
    case BENCH_MISS:
        EACH(good += bare_get_into(bare, key->bytes, key->len, work->buf, wanted, &len) == 1;)
        break;
    case BENCH_MIX: {
        unsigned turn = 0;
        EACH(if (++turn % 20) good += GET_INTO; else { SET; good++; })
        break;
    }
    case BENCH_CHURN:
        EACH(if (GET_INTO) good++; else SET;)
        break;
    }
    return good;
}

static void close_map(void *self)
{
    bare_drop(self);
}

static const struct bench_contender bare = { "bare", open_map, run, close_map };
const struct bench_contender *bench_find(const char *name)
{
    return strcmp(name, bare.name) == 0 ? &bare : NULL;
}
