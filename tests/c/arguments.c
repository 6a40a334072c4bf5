/* Arguments of the operations beyond get and set that are refused: before anything is done, on every kind. */
#include "check.h"

static const size_t over_ssize = (size_t)1 << (sizeof(size_t) * 8 - 1);

static int destroyed;

static void destroy(void *ctx) {
    CHECK(strcmp(ctx, "context") == 0);
    destroyed++;
}

static int32_t never_visits(void *ctx, const void *key, size_t key_len) {
    (void)ctx, (void)key, (void)key_len;
    abort();
}

static lc_status never_loads(void *ctx, const void *key, size_t key_len, lc_sink *out) {
    (void)ctx, (void)key, (void)key_len, (void)out;
    abort();
}

static void never_hears(void *ctx, int32_t event, const void *key, size_t key_len) {
    (void)ctx, (void)event, (void)key, (void)key_len;
    abort();
}

static void all_zero(const void *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        CHECK(((const unsigned char *)data)[i] == 0);
}

/* Every operation with a key, a name, a tag or a prefix that can't be one. */
static void names(lc_cache cache, const void *name, size_t len, lc_status expected) {
    int64_t sum = 77;
    size_t n = 77;
    lc_lock *lock = (lc_lock *)1;
    lc_value *value = (lc_value *)1;
    lc_get_result result;
    lc_bytes bytes = {name, len};
    lc_set_options tagged = LCACHE_SET_OPTIONS_INIT;
    tagged.tags = &bytes;
    tagged.tag_count = 1;
    CHECK_STATUS(expected, lc_add(cache, name, len, LCACHE_STR("v"), 1000));
    CHECK_STATUS(expected, lc_replace(cache, name, len, LCACHE_STR("v"), 1000));
    CHECK_STATUS(expected, lc_compare_and_set(cache, name, len, LCACHE_STR("v"), LCACHE_STR("w"), 1000));
    CHECK_STATUS(expected, lc_incr(cache, name, len, 1, 1000, &sum));
    memset(&result, 0xee, sizeof result);
    CHECK_STATUS(expected, lc_get_ex(cache, name, len, NULL, 0, &result, sizeof result));
    all_zero(&result, sizeof result);
    CHECK_STATUS(expected, lc_set_ex(cache, name, len, LCACHE_STR("v"), NULL, 0));
    CHECK_STATUS(expected, lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), &tagged, sizeof tagged));
    CHECK_STATUS(expected, lc_get_or_load(cache, name, len, NULL, 0, never_loads, NULL, &value, NULL, &n));
    CHECK(value == NULL);
    CHECK_STATUS(expected, lc_invalidate_tag(cache, name, len));
    CHECK_STATUS(expected, lc_lock_acquire(cache, name, len, 1000, 0, &lock));
    CHECK_STATUS(expected, lc_warm(cache, &bytes, 1, &n));
    if (len > 0) { /* an empty prefix is one */
        CHECK_STATUS(expected, lc_delete_prefix(cache, name, len, &n));
        CHECK_STATUS(expected, lc_foreach_key(cache, name, len, never_visits, NULL));
        CHECK_STATUS(expected, lc_warm_prefix(cache, name, len, 1, &n));
    }
    CHECK(sum == 77 && n == 77 && lock == (lc_lock *)1 && lc_last_error()[0] != 0);
}

static void values(lc_cache cache, const void *data, size_t len, lc_status expected) {
    CHECK_STATUS(expected, lc_add(cache, LCACHE_STR("k"), data, len, 1000));
    CHECK_STATUS(expected, lc_replace(cache, LCACHE_STR("k"), data, len, 1000));
    CHECK_STATUS(expected, lc_compare_and_set(cache, LCACHE_STR("k"), data, len, LCACHE_STR("v"), 1000));
    CHECK_STATUS(expected, lc_compare_and_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), data, len, 1000));
    CHECK_STATUS(expected, lc_set_ex(cache, LCACHE_STR("k"), data, len, NULL, 0));
}

static void outputs(lc_cache cache) {
    size_t n = 77;
    lc_value *value = (lc_value *)1;
    lc_bytes key = {LCACHE_STR("k")};
    CHECK_STATUS(LCACHE_EINVAL, lc_incr(cache, LCACHE_STR("k"), 1, 1000, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, NULL, sizeof(lc_get_result)));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, NULL, 0));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_or_load(cache, LCACHE_STR("k"), NULL, 0, never_loads, NULL, NULL, NULL, &n));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_or_load(cache, LCACHE_STR("k"), NULL, 0, NULL, NULL, &value, NULL, &n));
    CHECK(value == NULL);
    CHECK_STATUS(LCACHE_EINVAL, lc_delete_prefix(cache, LCACHE_STR("k"), NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_foreach_key(cache, LCACHE_STR("k"), NULL, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_lock_acquire(cache, LCACHE_STR("k"), 1000, 0, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_warm(cache, &key, 1, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_warm(cache, NULL, 1, &n));
    CHECK_STATUS(LCACHE_EINVAL, lc_warm(cache, &key, SIZE_MAX, &n));
    CHECK_STATUS(LCACHE_EINVAL, lc_warm_prefix(cache, NULL, 1, 1, &n));
    CHECK_STATUS(LCACHE_EINVAL, lc_warm_prefix(cache, NULL, 0, 1, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_save(cache, "/nowhere/at/all", NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_save(cache, NULL, &n));
    CHECK_STATUS(LCACHE_EINVAL, lc_save(cache, "", &n));
    CHECK_STATUS(LCACHE_EINVAL, lc_load(cache, "/nowhere/at/all", NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_load(cache, NULL, &n));
    CHECK_STATUS(LCACHE_EINVAL, lc_load(cache, "", &n));
    CHECK_STATUS(LCACHE_EINVAL, lc_metrics(cache, NULL));
    CHECK(n == 77);
}

static void numbers(lc_cache cache) {
    lc_lock *lock = (lc_lock *)1;
    const uint64_t century = 100ull * 365 * 24 * 3600 * 1000;
    CHECK_STATUS(LCACHE_EINVAL, lc_lock_acquire(cache, LCACHE_STR("k"), 0, 1000, &lock));
    CHECK_STATUS(LCACHE_EINVAL, lc_lock_acquire(cache, LCACHE_STR("k"), century + 1, 1000, &lock));
    CHECK_STATUS(LCACHE_EINVAL, lc_lock_acquire(cache, LCACHE_STR("k"), UINT64_MAX, 1000, &lock));
    CHECK(lock == (lc_lock *)1);

    lc_set_options options = LCACHE_SET_OPTIONS_INIT;
    options.stale_ms = century + 1;
    CHECK_STATUS(LCACHE_EINVAL, lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), &options, sizeof options));
    options.stale_ms = UINT64_MAX;
    CHECK_STATUS(LCACHE_EINVAL, lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), &options, sizeof options));
}

/* The structures that carry a size. */
static void structures(lc_cache cache) {
    struct {
        lc_set_options options;
        char later[8];
    } longer_set = {LCACHE_SET_OPTIONS_INIT, {0}};
    struct {
        lc_get_options options;
        char later[4096];
    } longer_get = {LCACHE_GET_OPTIONS_INIT, {0}};
    lc_set_options *set = &longer_set.options;
    lc_get_options *get = &longer_get.options;
    lc_get_result result;
    lc_value *value = (lc_value *)1;
    size_t sizes[] = {sizeof longer_set, 4097, over_ssize, SIZE_MAX};

#define REFUSE_SET(size) \
    do { \
        CHECK_STATUS(LCACHE_EINVAL, lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), set, size)); \
        CHECK_STATUS(LCACHE_EINVAL, \
                     lc_get_or_load(cache, LCACHE_STR("k"), set, size, never_loads, NULL, &value, NULL, NULL)); \
        CHECK(value == NULL); \
    } while (0)
#define REFUSE_GET(size) \
    CHECK_STATUS(LCACHE_EINVAL, lc_get_ex(cache, LCACHE_STR("k"), get, size, &result, sizeof result))

    /* Flags are for later versions. */
    for (int bit = 0; bit < 32; bit++) {
        set->flags = get->flags = 1u << bit;
        REFUSE_SET(sizeof *set);
        REFUSE_GET(sizeof *get);
    }
    set->flags = get->flags = 0;
    /* So are fields behind those that this version knows. */
    longer_set.later[7] = 1;
    longer_get.later[4000] = 1;
    REFUSE_GET(sizeof *get + 4001);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        REFUSE_SET(sizes[i]);
    REFUSE_GET(SIZE_MAX);
    /* Tags: none where some are said to be, too many for any memory. */
    set->tag_count = 1;
    REFUSE_SET(sizeof *set);
    set->tags = (const lc_bytes *)&longer_get;
    set->tag_count = SIZE_MAX;
    REFUSE_SET(sizeof *set);
    CHECK_STATUS(LCACHE_EINVAL, lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, &result, 4097));
    CHECK_STATUS(LCACHE_EINVAL, lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, &result, SIZE_MAX));
}

/* The context of a subscription that does not come about is given back. */
static void subscriptions(lc_cache cache, lc_cache closed) {
    uint64_t id = 77;
    int before = destroyed;
    CHECK_STATUS(LCACHE_EINVAL, lc_subscribe(cache, LCACHE_EVENT_EXPIRED, never_hears, "context", destroy, NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_subscribe(cache, LCACHE_EVENT_EXPIRED, NULL, "context", destroy, &id));
    CHECK_STATUS(LCACHE_EINVAL, lc_subscribe(cache, 0, never_hears, "context", destroy, &id));
    CHECK_STATUS(LCACHE_EINVAL, lc_subscribe(cache, 32, never_hears, "context", destroy, &id));
    CHECK_STATUS(LCACHE_EINVAL, lc_subscribe(cache, UINT32_MAX, never_hears, "context", destroy, &id));
    CHECK_STATUS(LCACHE_EHANDLE, lc_subscribe(closed, LCACHE_EVENT_EXPIRED, never_hears, "context", destroy, &id));
    CHECK_STATUS(LCACHE_EHANDLE, lc_subscribe(closed, LCACHE_EVENT_EXPIRED, never_hears, "context", NULL, &id));
    CHECK(destroyed == before + 6 && id == 77);
}

static void handles(lc_cache closed) {
    const lc_cache bad[] = {0, 1, UINT64_MAX, closed};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lc_cache cache = bad[i];
        int64_t sum = 77;
        size_t n = 77;
        lc_lock *lock = (lc_lock *)1;
        lc_value *value = (lc_value *)1;
        lc_get_result result;
        lc_bytes key = {LCACHE_STR("k")};
        lc_set_options options = LCACHE_SET_OPTIONS_INIT;
        CHECK_STATUS(LCACHE_EHANDLE, lc_add(cache, LCACHE_STR("k"), LCACHE_STR("v"), 1000));
        CHECK_STATUS(LCACHE_EHANDLE, lc_replace(cache, LCACHE_STR("k"), LCACHE_STR("v"), 1000));
        CHECK_STATUS(LCACHE_EHANDLE,
                     lc_compare_and_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), LCACHE_STR("v"), 1000));
        CHECK_STATUS(LCACHE_EHANDLE, lc_incr(cache, LCACHE_STR("k"), 1, 1000, &sum));
        memset(&result, 0xee, sizeof result);
        CHECK_STATUS(LCACHE_EHANDLE, lc_get_ex(cache, LCACHE_STR("k"), NULL, 0, &result, sizeof result));
        all_zero(&result, sizeof result);
        CHECK_STATUS(LCACHE_EHANDLE, lc_set_ex(cache, LCACHE_STR("k"), LCACHE_STR("v"), &options, sizeof options));
        CHECK_STATUS(LCACHE_EHANDLE, lc_invalidate_tag(cache, LCACHE_STR("k")));
        CHECK_STATUS(LCACHE_EHANDLE, lc_delete_prefix(cache, LCACHE_STR("k"), &n));
        CHECK_STATUS(LCACHE_EHANDLE, lc_foreach_key(cache, LCACHE_STR("k"), never_visits, NULL));
        CHECK_STATUS(LCACHE_EHANDLE,
                     lc_get_or_load(cache, LCACHE_STR("k"), &options, sizeof options, never_loads, NULL, &value, NULL, &n));
        CHECK(value == NULL);
        CHECK_STATUS(LCACHE_EHANDLE, lc_lock_acquire(cache, LCACHE_STR("k"), 1000, 1000, &lock));
        CHECK_STATUS(LCACHE_EHANDLE, lc_warm(cache, &key, 1, &n));
        CHECK_STATUS(LCACHE_EHANDLE, lc_warm_prefix(cache, LCACHE_STR("k"), 1, &n));
        CHECK_STATUS(LCACHE_EHANDLE, lc_save(cache, "/nowhere/at/all", &n));
        CHECK_STATUS(LCACHE_EHANDLE, lc_load(cache, "/nowhere/at/all", &n));
        value = (lc_value *)1;
        CHECK_STATUS(LCACHE_EHANDLE, lc_metrics(cache, &value));
        CHECK(value == NULL);
        CHECK_STATUS(LCACHE_EHANDLE, lc_unsubscribe(cache, 1));
        CHECK(sum == 77 && n == 77 && lock == (lc_lock *)1);
    }
}

static void refuses(const char *url, lc_cache closed) {
    lc_cache cache = open_cache(url);
    uint64_t count = 77;
    char *long_name = calloc(1, LCACHE_KEY_MAX + 1);
    names(cache, NULL, 3, LCACHE_EINVAL);
    names(cache, NULL, 0, LCACHE_EINVAL);
    names(cache, "", 0, LCACHE_EINVAL);
    names(cache, long_name, LCACHE_KEY_MAX + 1, LCACHE_ETOOBIG);
    names(cache, "k", over_ssize, LCACHE_ETOOBIG);
    names(cache, NULL, SIZE_MAX, LCACHE_ETOOBIG);
    free(long_name);
    values(cache, NULL, 1, LCACHE_EINVAL);
    values(cache, "v", (size_t)LCACHE_VALUE_MAX + 1, LCACHE_ETOOBIG);
    values(cache, NULL, SIZE_MAX, LCACHE_ETOOBIG);
    outputs(cache);
    numbers(cache);
    structures(cache);
    subscriptions(cache, closed);
    CHECK_OK(lc_count(cache, &count));
    CHECK(count == 0);
    CHECK_OK(lc_close(cache));
}

int main(void) {
    lc_cache closed = open_cache("local:");
    CHECK_OK(lc_close(closed));
    refuses("local:", closed);
    refuses(redis_url(from_env("LC_TEST_URL_SINGLE"), "c:arguments"), closed);
    refuses(hybrid_url(from_env("LC_TEST_URL_SINGLE"), "c:arguments"), closed);
    handles(closed);

    /* No lock, no sink. */
    lc_set_options options = LCACHE_SET_OPTIONS_INIT;
    CHECK(lc_lock_fence(NULL) == 0);
    CHECK_STATUS(LCACHE_EINVAL, lc_lock_extend(NULL, 1000));
    CHECK_STATUS(LCACHE_EINVAL, lc_lock_release(NULL));
    CHECK_STATUS(LCACHE_EINVAL, lc_sink_set(NULL, LCACHE_STR("v")));
    CHECK_STATUS(LCACHE_EINVAL, lc_sink_set_options(NULL, &options, sizeof options));
    return 0;
}
