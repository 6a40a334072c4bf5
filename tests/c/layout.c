/* The structures have the layout that programs were compiled with. The twin of these lines is in
   src/ffi/types.rs. */
#include "check.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#define AT(type, field, bytes) _Static_assert(offsetof(type, field) == (bytes), #type "." #field)

#if UINTPTR_MAX == UINT64_MAX
SIZE(lc_status, 4);
SIZE(lc_cache, 8);
SIZE(lc_bytes, 16);
AT(lc_bytes, len, 8);
SIZE(lc_get_options, 8);
AT(lc_get_options, flags, 4);
SIZE(lc_get_result, 40);
AT(lc_get_result, data, 8);
AT(lc_get_result, len, 16);
AT(lc_get_result, ttl_ms, 24);
AT(lc_get_result, flags, 32);
SIZE(lc_set_options, 40);
AT(lc_set_options, stale_ms, 8);
AT(lc_set_options, tags, 16);
AT(lc_set_options, tag_count, 24);
AT(lc_set_options, timeout_ms, 32);
AT(lc_set_options, flags, 36);
SIZE(lc_stats, 160);
AT(lc_stats, expirations, 56);
AT(lc_stats, dropped_writes, 136);
AT(lc_stats, degraded, 144);
AT(lc_stats, hit_rate, 152);
#endif

_Static_assert((lc_status)-1 < 0, "lc_status is signed");
_Static_assert(LCACHE_TTL_NONE == UINT64_MAX && LCACHE_TTL_DEFAULT == UINT64_MAX - 1, "TTL marks");
_Static_assert(LCACHE_KEY_MAX == 65536 && LCACHE_VALUE_MAX == 511 * 1024 * 1024, "limits");

/* The numbers of the statuses never change. */
_Static_assert(LCACHE_OK == 0 && LCACHE_MISS == 1 && LCACHE_EXISTS == 2 && LCACHE_CONFLICT == 3, "outcomes");
_Static_assert(LCACHE_BUSY == 4 && LCACHE_LOST == 5, "outcomes");
_Static_assert(LCACHE_EINVAL == -1 && LCACHE_EHANDLE == -2 && LCACHE_ECONFIG == -3, "errors");
_Static_assert(LCACHE_ECONNECT == -4 && LCACHE_ETIMEOUT == -5 && LCACHE_EAUTH == -6, "errors");
_Static_assert(LCACHE_ESERVER == -7 && LCACHE_ECORRUPT == -8 && LCACHE_ETOOBIG == -9, "errors");
_Static_assert(LCACHE_ERANGE == -10 && LCACHE_ETYPE == -11 && LCACHE_EUNSUPPORTED == -12, "errors");
_Static_assert(LCACHE_ELOADER == -13 && LCACHE_EREENTRANT == -14 && LCACHE_ECLOSED == -15, "errors");
_Static_assert(LCACHE_ENOMEM == -16 && LCACHE_EIO == -17 && LCACHE_EPANIC == -99, "errors");
_Static_assert(LCACHE_LOG_ERROR == 1 && LCACHE_LOG_TRACE == 5, "log levels");
_Static_assert((LCACHE_EVENT_INVALIDATED | LCACHE_EVENT_EVICTED | LCACHE_EVENT_EXPIRED | LCACHE_EVENT_DEGRADED
                | LCACHE_EVENT_RECOVERED) == 31, "events are bits");
_Static_assert((LCACHE_FROM_L1 | LCACHE_FROM_L2 | LCACHE_STALE) == 7, "flags are bits");

/* The types of the callbacks, and what structures of options begin with. */
static int32_t visit(void *ctx, const void *key, size_t key_len) {
    (void)ctx, (void)key, (void)key_len;
    return 0;
}
static lc_status load(void *ctx, const void *key, size_t key_len, lc_sink *out) {
    (void)ctx, (void)key, (void)key_len, (void)out;
    return LCACHE_MISS;
}
static void event(void *ctx, int32_t event, const void *key, size_t key_len) {
    (void)ctx, (void)event, (void)key, (void)key_len;
}

int main(void) {
    lc_visit_fn visitor = visit;
    lc_load_fn loader = load;
    lc_event_fn listener = event;
    lc_lock *lock = NULL;
    lc_set_options set = LCACHE_SET_OPTIONS_INIT;
    lc_get_options get = LCACHE_GET_OPTIONS_INIT;
    CHECK(visitor && loader && listener && !lock);
    CHECK(set.ttl_ms == LCACHE_TTL_DEFAULT && set.stale_ms == LCACHE_STALE_DEFAULT && !set.tags && !set.tag_count);
    CHECK(!set.timeout_ms && !set.flags && !get.timeout_ms && !get.flags);
    return 0;
}
