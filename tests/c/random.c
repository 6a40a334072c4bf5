/* Functions in random order on handles that are open, closed, used again and made up, with keys and lengths that
   are good and bad: each call has exactly the status that its arguments deserve. Replay with `random SEED`. */
#include "check.h"

enum { HANDLES = 16, KEYS = 8, STEPS = 200000 };

/* What the test knows: which handles are open, on which of the caches, and what each cache holds. */
static struct {
    lc_cache handle;
    int cache; /* -1: closed */
} handles[HANDLES];
static struct {
    int references;
    int lengths[KEYS]; /* -1: absent */
} caches[HANDLES];

static uint64_t state;
static unsigned draw(unsigned below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 20) % below;
}

static char bytes[300];
static const char *const names[KEYS] = {"a", "bb", "ccc", "user:1", "x\n", "*", "__lc", "_"};

static void open_one(int i) {
    int cache = 0;
    while (caches[cache].references)
        cache++;
    handles[i].handle = open_cache("local:?shards=2");
    handles[i].cache = cache;
    caches[cache].references = 1;
    for (int key = 0; key < KEYS; key++)
        caches[cache].lengths[key] = -1;
}

static void step(void) {
    int i = (int)draw(HANDLES), key = (int)draw(KEYS), cache = handles[i].cache;
    lc_cache handle = handles[i].handle;
    if (draw(50) == 0) {
        handle = state, cache = -1;
        for (int j = 0; j < HANDLES; j++)
            if (handles[j].handle == handle)
                return;
    }
    /* The handle is judged after the arguments; so where one is bad the other does not matter. */
    const char *name = names[key];
    size_t name_len = key == 4 ? 2 : strlen(name);
    lc_status bad = LCACHE_OK;
    switch (draw(40)) {
    case 0: name = NULL, bad = LCACHE_EINVAL; break;
    case 1: name_len = 0, bad = LCACHE_EINVAL; break;
    case 2: name_len = SIZE_MAX - draw(9), bad = LCACHE_ETOOBIG; break;
    case 3: name_len = LCACHE_KEY_MAX + 1 + draw(9), bad = LCACHE_ETOOBIG; break;
    }
    int *length = cache < 0 ? NULL : &caches[cache].lengths[key];
    lc_status wanted = bad ? bad : !length ? LCACHE_EHANDLE : *length < 0 ? LCACHE_MISS : LCACHE_OK;
    lc_status done = bad ? bad : !length ? LCACHE_EHANDLE : LCACHE_OK;
    size_t len = 4711;
    lc_value *value = (lc_value *)1;
    uint64_t number;
    char buf[300];
    switch (draw(12)) {
    case 0:
    case 1: {
        unsigned size = draw(sizeof bytes);
        CHECK_STATUS(done, lc_set(handle, name, name_len, bytes, size, LCACHE_TTL_NONE));
        if (done == LCACHE_OK)
            *length = (int)size;
        break;
    }
    case 2:
    case 3:
        CHECK_STATUS(wanted, lc_get(handle, name, name_len, &value, NULL, &len));
        CHECK((value != NULL) == (wanted == LCACHE_OK) && (value ? len == (size_t)*length : len == 4711));
        lc_value_free(value);
        break;
    case 4: {
        size_t cap = draw(sizeof buf);
        lc_status status = wanted == LCACHE_OK && (size_t)*length > cap ? LCACHE_ERANGE : wanted;
        CHECK_STATUS(status, lc_get_into(handle, name, name_len, buf, cap, &len));
        CHECK(wanted == LCACHE_OK ? len == (size_t)*length : len == 4711);
        break;
    }
    case 5:
        CHECK_STATUS(wanted, lc_delete(handle, name, name_len));
        if (wanted == LCACHE_OK)
            *length = -1;
        break;
    case 6:
        CHECK_STATUS(wanted, lc_exists(handle, name, name_len));
        break;
    case 7:
        CHECK_STATUS(wanted, lc_ttl(handle, name, name_len, &number));
        break;
    case 8:
        CHECK_STATUS(wanted, lc_expire(handle, name, name_len, draw(2) ? LCACHE_TTL_NONE : 1000000));
        break;
    case 9: /* Another handle of the cache takes the place of a closed one. */
        for (int j = 0; j < HANDLES; j++)
            if (handles[j].cache < 0) {
                lc_cache copy = 4711;
                CHECK_STATUS(cache < 0 ? LCACHE_EHANDLE : LCACHE_OK, lc_dup(handle, &copy));
                if (cache >= 0) {
                    handles[j].handle = copy;
                    handles[j].cache = cache;
                    caches[cache].references++;
                }
                break;
            }
        break;
    case 10:
        CHECK_STATUS(cache < 0 ? LCACHE_EHANDLE : LCACHE_OK, lc_close(handle));
        if (cache >= 0) {
            handles[i].cache = -1;
            caches[cache].references--;
        }
        break;
    default:
        if (handles[i].cache < 0)
            open_one(i);
    }
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)clock();
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    state = seed | 1;
    for (int i = 0; i < 10; i++)
        draw(2);
    for (int i = 0; i < HANDLES; i++)
        open_one(i);
    for (int i = 0; i < STEPS; i++)
        step();
    for (int i = 0; i < HANDLES; i++)
        if (handles[i].cache >= 0)
            CHECK_OK(lc_close(handles[i].handle));
    return 0;
}
