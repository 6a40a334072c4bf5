/*
 * lighter_cache: one cache for C, C++, Python and Rust. Three kinds behind one set of functions,
 * chosen by the URL that lc_open is given:
 *
 *   local:                           in this process
 *   redis://host?prefix=app          in Redis or Valkey; also rediss:// (TLS), redis+unix://,
 *                                    redis+cluster://, redis+sentinel://
 *   hybrid+redis://host?prefix=app   this process's memory over Redis or Valkey, kept coherent
 *
 *   lc_cache cache;
 *   if (lc_open("local:", &cache) != LCACHE_OK) {
 *       fprintf(stderr, "%s\n", lc_last_error());
 *       return 1;
 *   }
 *   lc_set(cache, LCACHE_STR("user:1"), LCACHE_STR("Ada"), 60 * 1000);    (for a minute)
 *   lc_value *value;
 *   const void *data;
 *   size_t len;
 *   if (lc_get(cache, LCACHE_STR("user:1"), &value, &data, &len) == LCACHE_OK) {
 *       fwrite(data, 1, len, stdout);
 *       lc_value_free(value);
 *   }
 *   lc_close(cache);
 *
 * Five rules hold for every function:
 *
 * Errors.    A function that can fail returns an lc_status: LCACHE_OK (0), a normal outcome (> 0,
 *            such as LCACHE_MISS) or an error (< 0); after an error lc_last_error() has this
 *            thread's message. Output parameters are written on LCACHE_OK only, except where a
 *            function says otherwise.
 * Ownership. What you pass in stays yours, and is copied where it is kept. What you get is freed by
 *            the function that "Ownership:" names, never by free(). Texts that are returned as
 *            const char * belong to the library and are never NULL.
 * Threads.   Every function may be called on any thread at any time, except where "Threads:" says
 *            otherwise. A handle is a plain number: one that another thread has closed gives
 *            LCACHE_EHANDLE, nothing worse. What "Blocks:" names returns by the timeouts of the
 *            configuration; in a callback on log messages or events it is refused with
 *            LCACHE_EREENTRANT.
 * Lengths.   Keys and values are any bytes, with an explicit length; LCACHE_STR("literal") expands
 *            to both arguments. NULL is LCACHE_EINVAL unless it is said to be allowed. Times are
 *            milliseconds.
 * Fork.      After fork() parent and child both go on with every handle and every value: Local
 *            entries are there in both, connections to a server are made anew in the child.
 *
 * Needs C99 or C++11.
 */


#ifndef LIGHTER_CACHE_H
#define LIGHTER_CACHE_H

/* Made by cbindgen from src/ffi/. To change it, change the comments and functions there and run `make header`. */

#include <stddef.h>
#include <stdint.h>

/// A string literal as two arguments, pointer and length: lc_delete(cache, LCACHE_STR("user:1")).
#define LCACHE_STR(literal) ("" literal ""), (sizeof(literal) - 1)

/// What an lc_get_options begins with.
#define LCACHE_GET_OPTIONS_INIT { 0, 0 }

/// What an lc_set_options begins with: the cache's default TTL and stale window, no tags.
#define LCACHE_SET_OPTIONS_INIT { LCACHE_TTL_DEFAULT, LCACHE_STALE_DEFAULT, NULL, 0, 0, 0 }


/// Done.
#define LCACHE_OK 0

/// The key is absent or has expired.
#define LCACHE_MISS 1

/// The key was there already; nothing was stored.
#define LCACHE_EXISTS 2

/// The value was another than expected; nothing was stored.
#define LCACHE_CONFLICT 3

/// The lock was not obtained in the time given.
#define LCACHE_BUSY 4

/// The lock is no longer held by this holder.
#define LCACHE_LOST 5

/// A NULL where none is allowed, an empty key, a key beginning with "__lc:", a bad number.
#define LCACHE_EINVAL -1

/// The handle was never issued, is already closed, or is of another generation.
#define LCACHE_EHANDLE -2

/// An unknown scheme, an unknown or malformed option, or a contradiction: the message names it and
/// the nearest valid one.
#define LCACHE_ECONFIG -3

/// The server is not reachable: the operation was surely not executed.
#define LCACHE_ECONNECT -4

/// Sent, but no reply by the deadline or the connection broke: it may or may not have been executed.
#define LCACHE_ETIMEOUT -5

/// The server refused the credentials or the permission (NOAUTH, WRONGPASS, NOPERM).
#define LCACHE_EAUTH -6

/// Any other error reply of the server (OOM, READONLY, CROSSSLOT, ...): its text is in the message.
#define LCACHE_ESERVER -7

/// The stored bytes are not a valid envelope, or fail authentication or decompression.
#define LCACHE_ECORRUPT -8

/// The key is longer than LCACHE_KEY_MAX, the value longer than LCACHE_VALUE_MAX or the cache's
/// `max_value_bytes`.
#define LCACHE_ETOOBIG -9

/// The caller's buffer is too small: nothing was copied, *len is the size needed.
#define LCACHE_ERANGE -10

/// The stored value is no integer, or the sum overflows.
#define LCACHE_ETYPE -11

/// This kind of cache, configuration or server can't do it.
#define LCACHE_EUNSUPPORTED -12

/// The loader callback failed.
#define LCACHE_ELOADER -13

/// A call that may block, made from a callback or from one of the library's own threads.
#define LCACHE_EREENTRANT -14

/// The cache was closed, or the library shut down, while the call was waiting.
#define LCACHE_ECLOSED -15

/// No memory for a key or value buffer.
#define LCACHE_ENOMEM -16

/// A snapshot file can't be read or written.
#define LCACHE_EIO -17

/// A bug in the library, caught at the boundary; the process goes on.
#define LCACHE_EPANIC -99

/// Longest key, in bytes.
#define LCACHE_KEY_MAX 65536

/// Largest value, in bytes (511 MiB).
#define LCACHE_VALUE_MAX 535822336

/// A ttl_ms that never ends.
#define LCACHE_TTL_NONE UINT64_MAX

/// A ttl_ms that stands for the cache's `default_ttl`.
#define LCACHE_TTL_DEFAULT (UINT64_MAX - 1)

/// A stale_ms that stands for the cache's `stale_ttl`.
#define LCACHE_STALE_DEFAULT (UINT64_MAX - 1)

/// The cache lives in this process.
#define LCACHE_LOCAL 1

/// The cache lives in Redis or Valkey.
#define LCACHE_REDIS 2

/// Local (L1) over Redis (L2).
#define LCACHE_HYBRID 3

/// lc_get_result: L1, this process's memory, answered.
#define LCACHE_FROM_L1 1

/// lc_get_result: L2, the server, answered.
#define LCACHE_FROM_L2 2

/// lc_get_result: the value is past its proven freshness.
#define LCACHE_STALE 4

/// Something is broken.
#define LCACHE_LOG_ERROR 1

/// Something is off, and the library goes on.
#define LCACHE_LOG_WARN 2

/// A change of state that an operator wants to see.
#define LCACHE_LOG_INFO 3

/// For those who look for a fault.
#define LCACHE_LOG_DEBUG 4

/// Everything.
#define LCACHE_LOG_TRACE 5

/// Another process's write removed the key from L1.
#define LCACHE_EVENT_INVALIDATED 1

/// A bound pushed the key out.
#define LCACHE_EVENT_EVICTED 2

/// The key's time was over.
#define LCACHE_EVENT_EXPIRED 4

/// The Hybrid lost its server, or the proof that it hears of other processes' writes.
#define LCACHE_EVENT_DEGRADED 8

/// It has both again.
#define LCACHE_EVENT_RECOVERED 16

/// Major version of this header.
#define LCACHE_VERSION_MAJOR 0

/// Minor version of this header.
#define LCACHE_VERSION_MINOR 1

/// Patch level of this header.
#define LCACHE_VERSION_PATCH 0

/// The version of this header as one number: major * 1000000 + minor * 1000 + patch.
#define LCACHE_VERSION_NUMBER 1000

/// A configuration that is being put together. Freed with lc_config_free.
typedef struct lc_config lc_config;

/// A lock that is held. Given back, and freed, with lc_lock_release.
typedef struct lc_lock lc_lock;

/// Where a loader puts the value that it has loaded. Valid while the loader runs, and no longer.
typedef struct lc_sink lc_sink;

/// Pinned, immutable, reference-counted bytes of a value. Freed with lc_value_free.
typedef struct lc_value lc_value;

/// 0 ok, > 0 a normal outcome, < 0 an error. Numbers are never reused.
typedef int32_t lc_status;

/// A handle of an open cache: slot | generation. 0 is never valid. A plain integer: copying it adds no
/// reference, and using it after lc_close gives LCACHE_EHANDLE.
typedef uint64_t lc_cache;

/// Bytes of the caller. `data` may be NULL where `len` is 0.
typedef struct lc_bytes {
    /// The first byte.
    const void *data;
    /// How many there are.
    size_t len;
} lc_bytes;

/// Options of one read. Start from LCACHE_GET_OPTIONS_INIT.
typedef struct lc_get_options {
    /// Bound of the call in milliseconds; 0 takes the cache's.
    uint32_t timeout_ms;
    /// 0.
    uint32_t flags;
} lc_get_options;

/// What one read found.
typedef struct lc_get_result {
    /// The pinned value, to be freed with lc_value_free.
    struct lc_value *value;
    /// Its bytes, valid as long as the value is held.
    const void *data;
    /// How many bytes.
    size_t len;
    /// Time to live in milliseconds; LCACHE_TTL_NONE where it never expires. Of a value past its proven
    /// freshness: how long it may still be served.
    uint64_t ttl_ms;
    /// LCACHE_FROM_L1 or LCACHE_FROM_L2, and LCACHE_STALE.
    uint32_t flags;
    /// 0.
    uint32_t _reserved;
} lc_get_result;

/// Options of one write. Start from LCACHE_SET_OPTIONS_INIT: a zeroed ttl_ms means "already expired".
typedef struct lc_set_options {
    /// Time to live in milliseconds, LCACHE_TTL_NONE or LCACHE_TTL_DEFAULT.
    uint64_t ttl_ms;
    /// How long past its TTL the value may be served when a reload fails, in milliseconds; 0 for not at
    /// all, LCACHE_STALE_DEFAULT for as long as the cache's `stale_ttl` says.
    uint64_t stale_ms;
    /// Tags of the value, 1 to LCACHE_KEY_MAX bytes each, for lc_invalidate_tag; NULL where tag_count is 0.
    const struct lc_bytes *tags;
    /// How many tags.
    size_t tag_count;
    /// Bound of the call in milliseconds; 0 takes the cache's.
    uint32_t timeout_ms;
    /// 0.
    uint32_t flags;
} lc_set_options;

/// Is shown a key, whose bytes are valid during the call only; a result that is not 0 ends the
/// enumeration. Runs on the caller's thread and may call the library; must not throw or longjmp.
typedef int32_t (*lc_visit_fn)(void *ctx, const void *key, size_t key_len);

/// Loads the value of a key into `out`: LCACHE_OK after lc_sink_set, LCACHE_MISS where there is none,
/// anything else has failed. Runs on the caller's thread and may call the library, but not load its own
/// key; must not throw or longjmp.
typedef lc_status (*lc_load_fn)(void *ctx, const void *key, size_t key_len, struct lc_sink *out);

/// The counters of one cache, since it was opened.
typedef struct lc_stats {
    /// Live entries. Redis: UINT64_MAX, unknown without a scan; lc_count asks. Hybrid: of L1.
    uint64_t entries;
    /// Bytes held in this process: keys, values and overhead.
    uint64_t bytes;
    /// Reads that found a value.
    uint64_t hits;
    /// Reads that found none.
    uint64_t misses;
    /// Values stored.
    uint64_t sets;
    /// Values removed by a call: those that were there, also by a TTL of zero, and by a clear (not of a Hybrid).
    uint64_t deletes;
    /// Entries that a bound pushed out.
    uint64_t evictions;
    /// Entries whose time was over.
    uint64_t expirations;
    /// Hybrid: hits that L1 answered.
    uint64_t l1_hits;
    /// Hybrid: hits that L2 answered.
    uint64_t l2_hits;
    /// Hybrid: values of L2 that were stored in L1.
    uint64_t backfills;
    /// Hybrid: entries that another process's write removed from L1.
    uint64_t invalidations;
    /// Loads that were saved because another caller was loading already.
    uint64_t coalesced;
    /// Values served past their proven freshness.
    uint64_t stale_served;
    /// Calls or legs to the server that failed.
    uint64_t errors;
    /// Hybrid: writes that wait for the server.
    uint64_t queued_writes;
    /// Hybrid: queued writes that reached the server later.
    uint64_t replayed_writes;
    /// Hybrid: writes that never reached the server.
    uint64_t dropped_writes;
    /// Hybrid: 1 while L2 is bypassed or the invalidation stream is unproven, else 0.
    uint32_t degraded;
    /// 0.
    uint32_t _reserved;
    /// hits / (hits + misses), 0 where there were none.
    double hit_rate;
} lc_stats;

/// Hears of an event, one of LCACHE_EVENT_...; `key` is NULL where it concerns no key, and its bytes are
/// valid during the call only. Runs on threads of the library; must not throw or longjmp. Calls that may
/// block return LCACHE_EREENTRANT.
typedef void (*lc_event_fn)(void *ctx, int32_t event, const void *key, size_t key_len);

/// Hears what the library has to say: `level` is LCACHE_LOG_ERROR (1) to LCACHE_LOG_TRACE (5),
/// `target` the part of the library ("redis"), `message` one line without keys, values or secrets. Both
/// texts are valid during the call only.
///
/// Runs on threads of the library and on threads that are inside a call, several at once, and holds no
/// lock of the library. Must not throw or longjmp. Calls that may block return LCACHE_EREENTRANT.
typedef void (*lc_log_fn)(void *ctx, int32_t level, const char *target, const char *message);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// What a status means, in a few words of English.
///
/// status: any integer.
///
/// Returns: a static text, never NULL; "unknown status" for a number that is none.
/// Threads: any.
/// Blocks: never.
/// Ownership: the text belongs to the library and lives as long as the process.
const char *lc_strerror(lc_status status);

/// The message of this thread's last failed call.
///
/// Returns: one line of text, never NULL; "" if no call has failed on this thread. It is kept over
/// calls that succeed or miss, so read it right after a negative status. It never holds a key, a
/// value or a secret. Programs that switch tasks within one thread read it before they switch.
/// Threads: any; each thread has its own.
/// Blocks: never.
/// Ownership: the text belongs to the library and is valid until this thread's next failed call.
const char *lc_last_error(void);

/// Opens a cache. Two opens share nothing, even of the same URL.
///
/// url: "local:", "redis://host?prefix=app", "hybrid+redis://host?prefix=app", ... (all forms and options
/// are in docs/configuration.md); NULL takes LIGHTER_CACHE_URL, else REDIS_URL (as a Hybrid), else
/// "local:" with a warning to the log.
/// out: receives the handle.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_ECONFIG (the message names what is wrong and
/// the nearest valid option); LCACHE_ENOMEM; LCACHE_EPANIC; where a server is needed also LCACHE_ECONNECT
/// (also where it answers but refuses the connection: the message has its answer), LCACHE_ETIMEOUT,
/// LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT. A Hybrid opens without its server,
/// unless require_l2=true.
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to connect_timeout and timeout.
/// Ownership: the caller closes *out once, with lc_close.
lc_status lc_open(const char *url, lc_cache *out);

/// Says whether lc_open would understand a URL. Opens nothing and reaches no server.
///
/// url: as for lc_open.
/// message: receives what is wrong, in one line, NUL-terminated and cut to cap; "" where nothing is. NULL
/// where it is not wanted.
/// cap: bytes of message; 0 where message is NULL.
///
/// Returns: LCACHE_OK; LCACHE_ECONFIG; LCACHE_EINVAL (message is NULL and cap is not 0); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: message stays the caller's.
lc_status lc_check(const char *url, char *message, size_t cap);

/// Makes a Hybrid of two open caches.
///
/// l1: a Local cache.
/// l2_or_0: a Redis cache, or 0: then the Hybrid works on l1 alone, which is no outage.
/// options: the Hybrid's options as a query string, "watchdog=2s&l2_timeout=100ms"; NULL takes the
/// defaults.
/// out: receives the handle.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_ECONFIG (an option, or a cache
/// of the wrong kind); LCACHE_EUNSUPPORTED; LCACHE_ENOMEM; LCACHE_EPANIC; with an l2 also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT. Without its server it
/// goes on with l1, unless require_l2=true.
/// Threads: any.
/// Blocks: up to l2_timeout where there is an l2, and as long again with require_l2=true.
/// Ownership: the Hybrid takes references of its own: l1 and l2 stay the caller's, who may close them
/// at any time. The caller closes *out once, with lc_close.
lc_status lc_open_hybrid(lc_cache l1, lc_cache l2_or_0, const char *options, lc_cache *out);

/// Gives a cache another handle. Each handle is closed once; the cache lives until its last is closed.
///
/// cache: an open handle.
/// out: receives the new handle.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: the caller closes *out once, with lc_close.
lc_status lc_dup(lc_cache cache, lc_cache *out);

/// Closes a handle, at once. The last handle of a cache frees its content now. Calls in flight on other
/// threads finish safely, later ones get LCACHE_EHANDLE; values that were read stay valid.
///
/// cache: an open handle.
///
/// Returns: LCACHE_OK; LCACHE_EHANDLE (also for the second close of one handle); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never for a server; briefly for calls that other threads have in flight on Local caches.
/// Ownership: the handle is given up.
lc_status lc_close(lc_cache cache);

/// Closes every handle and stops the library's threads. The program's to call, never a library's: it
/// ends the caches of all. Calls that wait for a server end with LCACHE_ECLOSED. Opening again is fine.
/// A program that just exits need not call it.
///
/// timeout_ms: how long to wait for the threads, in milliseconds.
///
/// Returns: LCACHE_OK; LCACHE_EREENTRANT; LCACHE_EPANIC.
/// Threads: any, but not a callback's.
/// Blocks: up to timeout_ms.
/// Ownership: all handles are given up; values that were read stay valid.
lc_status lc_shutdown(uint32_t timeout_ms);

/// Which kind of cache this is.
///
/// cache: an open handle.
/// out: receives LCACHE_LOCAL, LCACHE_REDIS or LCACHE_HYBRID.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: none.
lc_status lc_kind(lc_cache cache, int32_t *out);

/// Reaches the server. A Local cache, and a Hybrid without an L2, have none to reach: LCACHE_OK.
///
/// cache: an open handle.
///
/// Returns: LCACHE_OK; LCACHE_EHANDLE; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: none.
lc_status lc_ping(lc_cache cache);

/// Begins a configuration.
///
/// url: as for lc_open; options that are set afterwards override the URL's. It is judged when the cache
/// is opened.
///
/// Returns: the configuration; NULL only without memory.
/// Threads: any.
/// Blocks: never.
/// Ownership: the caller frees it with lc_config_free; url is copied.
struct lc_config *lc_config_new(const char *url);

/// Sets an option.
///
/// config: a configuration; not NULL.
/// name, value: the option and its value, both as in a URL (docs/configuration.md), without
/// percent-encoding: "l1.max_bytes", "64MiB".
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (a NULL); LCACHE_ECONFIG (no cache has such an option, or it can't
/// have such a value: nothing is set); LCACHE_EPANIC.
/// Threads: one at a time for one configuration.
/// Blocks: never.
/// Ownership: name and value are copied.
lc_status lc_config_set(struct lc_config *config, const char *name, const char *value);

/// Opens a cache as configured. One configuration may open many, which share nothing.
///
/// config: a configuration; not NULL.
/// out: receives the handle.
///
/// Returns: as lc_open; LCACHE_EINVAL also where config is NULL.
/// Threads: any, several at once, but not while an option is being set.
/// Blocks: as lc_open.
/// Ownership: the caller closes *out once, with lc_close; config stays the caller's.
lc_status lc_config_open(const struct lc_config *config, lc_cache *out);

/// Frees a configuration. Caches that were opened with it live on.
///
/// config: a configuration; NULL does nothing.
///
/// Threads: any.
/// Blocks: never.
/// Ownership: the configuration is given up.
void lc_config_free(struct lc_config *config);

/// The version of the library that runs, as "0.1.0".
///
/// Returns: a static text, never NULL.
/// Threads: any.
/// Blocks: never.
/// Ownership: the text belongs to the library and lives as long as the process.
const char *lc_version(void);

/// The version of the library that runs, as one number; LCACHE_VERSION_NUMBER is that of the header.
///
/// Returns: major * 1000000 + minor * 1000 + patch.
/// Threads: any.
/// Blocks: never.
/// Ownership: none.
uint32_t lc_version_number(void);

/// Reads a value without copying it: pins it and shows where it is.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value: receives the pinned value; NULL is written on every outcome but LCACHE_OK.
/// data, len: receive the value's bytes and their number; each may be NULL. Valid until lc_value_free.
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG (the key, or a stored
/// value over max_value_bytes); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT,
/// LCACHE_ECORRUPT. A Hybrid whose server is away answers from L1, else LCACHE_MISS.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid on a miss of L1 up to l2_timeout.
/// Ownership: the caller frees *value with lc_value_free; it outlives the cache.
lc_status lc_get(lc_cache cache, const void *key, size_t key_len, struct lc_value **value, const void **data, size_t *len);

/// Reads a value into a buffer of the caller.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// buf, cap: the buffer and its size in bytes; NULL and 0 ask for the length alone.
/// len: receives the value's length; on LCACHE_ERANGE the size needed.
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_ERANGE (cap is too small: nothing copied; counts as a
/// hit); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG (the key, or a stored value over
/// max_value_bytes); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_ECORRUPT. A Hybrid whose server is away answers from L1, else LCACHE_MISS.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid on a miss of L1 up to l2_timeout.
/// Ownership: buf stays the caller's.
lc_status lc_get_into(lc_cache cache, const void *key, size_t key_len, void *buf, size_t cap, size_t *len);

/// Stores a value.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// ttl_ms: time to live in milliseconds, at most 100 years; LCACHE_TTL_NONE never expires,
/// LCACHE_TTL_DEFAULT takes the cache's default_ttl; 0 has already expired: nothing is stored, an old
/// value is removed.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ENOMEM; LCACHE_EPANIC;
/// on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT. A Hybrid whose server is away stores in L1.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: key and value are copied.
lc_status lc_set(lc_cache cache, const void *key, size_t key_len, const void *value, size_t value_len, uint64_t ttl_ms);

/// Removes a key.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
///
/// Returns: LCACHE_OK; LCACHE_MISS (there was none); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: none.
lc_status lc_delete(lc_cache cache, const void *key, size_t key_len);

/// Whether a key is there. Counts as neither hit nor miss and refreshes nothing.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EPANIC; on
/// Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid on a miss of L1 up to l2_timeout.
/// Ownership: none.
lc_status lc_exists(lc_cache cache, const void *key, size_t key_len);

/// Removes everything under this cache's prefix, and nothing else; never FLUSHDB.
///
/// cache: an open handle.
///
/// Returns: LCACHE_OK; LCACHE_EHANDLE; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EUNSUPPORTED (the prefix is empty).
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to timeout or l2_timeout per round trip, of which a large
/// cache takes many.
/// Ownership: none.
lc_status lc_clear(lc_cache cache);

/// The bytes of a value.
///
/// value: a value that is held; NULL is allowed.
///
/// Returns: the first byte, not NULL where the value is not empty; NULL for NULL.
/// Threads: any, several at once.
/// Blocks: never.
/// Ownership: the bytes belong to the value and are valid until its last reference is freed.
const void *lc_value_data(const struct lc_value *value);

/// How many bytes a value has.
///
/// value: a value that is held; NULL is allowed.
///
/// Returns: the number of bytes; 0 for NULL.
/// Threads: any, several at once.
/// Blocks: never.
/// Ownership: none.
size_t lc_value_size(const struct lc_value *value);

/// Takes one more reference to a value.
///
/// value: a value that is held; NULL is allowed.
///
/// Returns: the same pointer.
/// Threads: any, several at once.
/// Blocks: never.
/// Ownership: each reference is freed once, with lc_value_free.
struct lc_value *lc_value_ref(struct lc_value *value);

/// Gives one reference to a value up. Its last one frees it, also after the cache was closed.
///
/// value: a value that is held; NULL does nothing.
///
/// Threads: any.
/// Blocks: never.
/// Ownership: the reference is given up.
void lc_value_free(struct lc_value *value);

/// Reads many values, on a server in one round trip. Not atomic.
///
/// cache: an open handle.
/// keys, n: the keys and their number; NULL where n is 0.
/// values: n places; each receives the pinned value of its key, NULL for a miss or a corrupt value. On an
/// error all are NULL.
/// hits: receives how many are not NULL.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG (a key); LCACHE_ENOMEM;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid for what L1 misses up to l2_timeout (per round trip
/// where a very large batch takes several).
/// Ownership: the caller frees each value that is not NULL with lc_value_free.
lc_status lc_get_many(lc_cache cache, const struct lc_bytes *keys, size_t n, struct lc_value **values, size_t *hits);

/// Stores many values with one TTL, on a server in one round trip. Not atomic: where it fails, some may
/// be stored. A key or value that is refused is refused before anything is stored.
///
/// cache: an open handle.
/// keys, values, n: the keys, their values, and the number of each; NULL where n is 0.
/// ttl_ms: as for lc_set.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ENOMEM; LCACHE_EPANIC;
/// on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout (per round trip where a very large
/// batch takes several).
/// Ownership: keys and values are copied.
lc_status lc_set_many(lc_cache cache, const struct lc_bytes *keys, const struct lc_bytes *values, size_t n, uint64_t ttl_ms);

/// Removes many keys, on a server in one round trip. Not atomic.
///
/// cache: an open handle.
/// keys, n: the keys and their number; NULL where n is 0.
/// deleted: receives how many were there.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ENOMEM; LCACHE_EPANIC;
/// on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout (per round trip where a very large
/// batch takes several).
/// Ownership: none.
lc_status lc_delete_many(lc_cache cache, const struct lc_bytes *keys, size_t n, size_t *deleted);

/// How long a key has still to live. Counts as neither hit nor miss.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// ttl_ms: receives the time in milliseconds, at least 1; LCACHE_TTL_NONE where it never expires.
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EPANIC; on
/// Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis
/// alone LCACHE_ECONNECT, LCACHE_ETIMEOUT. A Hybrid whose server is away answers from L1, else
/// LCACHE_MISS.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: none.
lc_status lc_ttl(lc_cache cache, const void *key, size_t key_len, uint64_t *ttl_ms);

/// Gives a key a new time to live and keeps its value.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// ttl_ms: as for lc_set; 0 removes the key.
///
/// Returns: LCACHE_OK; LCACHE_MISS (there is none); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: none.
lc_status lc_expire(lc_cache cache, const void *key, size_t key_len, uint64_t ttl_ms);

/// Writes the key "user:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
lc_status lc_key_user(const char *id, char *buf, size_t cap, size_t *len);

/// Writes the key "token:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
lc_status lc_key_token(const char *id, char *buf, size_t cap, size_t *len);

/// Writes the key "permission:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
lc_status lc_key_permission(const char *id, char *buf, size_t cap, size_t *len);

/// Writes the key "role:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
lc_status lc_key_role(const char *id, char *buf, size_t cap, size_t *len);

/// Writes the key "session:ID".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
lc_status lc_key_session(const char *id, char *buf, size_t cap, size_t *len);

/// Writes the key "user:ID:permissions".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
lc_status lc_key_user_permissions(const char *id, char *buf, size_t cap, size_t *len);

/// Writes the key "user:ID:roles".
///
/// id: a NUL-terminated text in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL; LCACHE_ETOOBIG
/// (the key would be longer than LCACHE_KEY_MAX); LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
lc_status lc_key_user_roles(const char *id, char *buf, size_t cap, size_t *len);

/// Writes the key "NS:ID".
///
/// ns, id: NUL-terminated texts in UTF-8.
/// buf, cap: the buffer and its size in bytes; receives the key, NUL-terminated. NULL and 0 ask for the
/// length alone.
/// len: receives the key's length without the NUL, also on LCACHE_ERANGE (cap has to be larger than it).
///
/// Returns: LCACHE_OK; LCACHE_ERANGE (nothing is written to buf); LCACHE_EINVAL (also for the namespace
/// "__lc", which is the library's own); LCACHE_ETOOBIG (the key would be longer than LCACHE_KEY_MAX);
/// LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: buf stays the caller's.
lc_status lc_key_custom(const char *ns, const char *id, char *buf, size_t cap, size_t *len);

/// Stores a value where the key is absent. Atomic: of many callers, on Redis in many processes, one stores.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// ttl_ms: as for lc_set; 0 stores nothing, and the outcome is the same.
///
/// Returns: LCACHE_OK (stored); LCACHE_EXISTS (the key was there: nothing stored); LCACHE_EINVAL;
/// LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ENOMEM;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: key and value are copied.
lc_status lc_add(lc_cache cache, const void *key, size_t key_len, const void *value, size_t value_len, uint64_t ttl_ms);

/// Stores a value where the key is there. Atomic.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// ttl_ms: as for lc_set; 0 removes the key, and the outcome is the same.
///
/// Returns: LCACHE_OK (stored); LCACHE_MISS (there is none: nothing stored); LCACHE_EINVAL;
/// LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ENOMEM;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: key and value are copied.
lc_status lc_replace(lc_cache cache, const void *key, size_t key_len, const void *value, size_t value_len, uint64_t ttl_ms);

/// Stores a value where the present one is, byte for byte, the one that is expected. Atomic.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// expected, expected_len: the value that has to be there; NULL and 0 expect an empty value, which is
/// not the same as none (lc_add).
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// ttl_ms: as for lc_set; 0 removes the key, and the outcome is the same.
///
/// Returns: LCACHE_OK (stored); LCACHE_CONFLICT (the value is another: nothing stored); LCACHE_MISS (there
/// is none: nothing stored); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind
/// of cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECORRUPT, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: key and value are copied.
lc_status lc_compare_and_set(lc_cache cache, const void *key, size_t key_len, const void *expected, size_t expected_len, const void *value, size_t value_len, uint64_t ttl_ms);

/// Adds to a number. Its value is the digits of a 64-bit integer in decimal ("42", "-7"), as lc_set
/// may store and lc_get reads them. An absent key counts as 0. Atomic.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// delta: what to add; negative to subtract.
/// ttl_ms: as for lc_set, for a key that this call creates; one that is there keeps its own.
/// out: receives the sum.
///
/// Returns: LCACHE_OK; LCACHE_ETYPE (the value is no such number, or the sum overflows: nothing stored);
/// LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it);
/// LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT, LCACHE_ETIMEOUT (it may have
/// counted), LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: the key is copied.
lc_status lc_incr(lc_cache cache, const void *key, size_t key_len, int64_t delta, uint64_t ttl_ms, int64_t *out);

/// Reads a value, and says besides how long it has still to live, which tier answered and whether it
/// is past its proven freshness.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// options, options_size: what LCACHE_GET_OPTIONS_INIT began, and sizeof(lc_get_options); fields beyond a
/// smaller size count as 0. NULL takes the defaults.
/// result, result_size: the structure and sizeof(lc_get_result). A smaller size gets the first fields only
/// (no value where that one does not fit); what a larger one has behind the fields that the library knows
/// is zeroed. On every outcome but LCACHE_OK all of it is zero, so that its value is NULL.
///
/// Returns: LCACHE_OK; LCACHE_MISS; LCACHE_EINVAL (also flags that are not 0, a larger structure whose
/// unknown fields are not 0, and a size beyond all reason); LCACHE_EHANDLE; LCACHE_ETOOBIG (the key, or a
/// stored value over max_value_bytes); LCACHE_EUNSUPPORTED (this kind of cache can't do it);
/// LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_ECORRUPT. A Hybrid whose
/// server is away answers from L1, else LCACHE_MISS.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid on a miss of L1 up to l2_timeout; a timeout_ms of the
/// options takes their place.
/// Ownership: the caller frees result->value with lc_value_free; it outlives the cache.
lc_status lc_get_ex(lc_cache cache, const void *key, size_t key_len, const struct lc_get_options *options, size_t options_size, struct lc_get_result *result, size_t result_size);

/// Stores a value, with a stale window, tags and a deadline of its own.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 store an empty value.
/// options, options_size: what LCACHE_SET_OPTIONS_INIT began, and sizeof(lc_set_options). Fields beyond a
/// smaller size count as 0, which is no stale window and no tags; a ttl_ms that is 0 has already expired.
/// NULL takes the defaults, as lc_set with LCACHE_TTL_DEFAULT.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (also flags that are not 0, an empty tag, a time of more than 100
/// years, a larger structure whose unknown fields are not 0, and a size beyond all reason);
/// LCACHE_EHANDLE; LCACHE_ETOOBIG (also a tag of more than LCACHE_KEY_MAX bytes); LCACHE_EUNSUPPORTED (this
/// kind of cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH,
/// LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone LCACHE_ECONNECT, LCACHE_ETIMEOUT. A
/// Hybrid whose server is away stores in L1.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout; a timeout_ms of the options takes
/// their place.
/// Ownership: key, value and tags are copied.
lc_status lc_set_ex(lc_cache cache, const void *key, size_t key_len, const void *value, size_t value_len, const struct lc_set_options *options, size_t options_size);

/// Makes all values that carry a tag (lc_set_options) absent, at a cost that does not grow with their
/// number. Values that are stored with it later are not affected.
///
/// cache: an open handle.
/// tag, tag_len: 1 to LCACHE_KEY_MAX bytes, any bytes.
///
/// Returns: LCACHE_OK, also where no value carries it; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG;
/// LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and
/// Hybrid also LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT; on Redis alone
/// LCACHE_ECONNECT, LCACHE_ETIMEOUT.
/// Threads: any.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: the tag is copied.
lc_status lc_invalidate_tag(lc_cache cache, const void *tag, size_t tag_len);

/// Removes all keys that begin with a prefix, and nothing else. Not atomic.
///
/// cache: an open handle.
/// prefix, prefix_len: up to LCACHE_KEY_MAX bytes, any bytes; NULL and 0 remove all keys.
/// deleted: receives how many there were.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of
/// cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to timeout or l2_timeout per round trip, of which a large
/// cache takes many.
/// Ownership: none.
lc_status lc_delete_prefix(lc_cache cache, const void *prefix, size_t prefix_len, size_t *deleted);

/// Shows visit all keys that begin with a prefix, in no order. It runs on the caller's thread, without
/// any lock, and may call the library, for this cache too. Keys that come or go meanwhile may be shown or
/// not; Redis may show a key twice.
///
/// cache: an open handle.
/// prefix, prefix_len: up to LCACHE_KEY_MAX bytes, any bytes; NULL and 0 show all keys.
/// visit: is called with ctx and a key, whose bytes are valid during the call only; a result that is not
/// 0 ends the enumeration. Must not throw or longjmp.
/// ctx: passed to visit; may be NULL.
///
/// Returns: LCACHE_OK, also where visit ended it; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG;
/// LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and
/// Hybrid also LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED,
/// LCACHE_EREENTRANT. After an error visit may have been shown some keys.
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to timeout or l2_timeout per round trip, of which a large
/// cache takes many; and for what visit does.
/// Ownership: ctx stays the caller's.
lc_status lc_foreach_key(lc_cache cache, const void *prefix, size_t prefix_len, lc_visit_fn visit, void *ctx);

/// Reads a value; where there is none, has it loaded and stores it. However many ask for one key at a
/// time, one of them loads, and the others wait for what it gets. A load that fails is not remembered;
/// where a stale value may still be served (stale_ms), that one is the answer instead.
///
/// The loader runs on this thread before the call returns, without any lock. It may call the library, but
/// not load its own key; keys that it loads in turn are loaded without waiting for anybody.
///
/// cache: an open handle.
/// key, key_len: 1 to LCACHE_KEY_MAX bytes, any bytes but a beginning "__lc:".
/// options, options_size: how a loaded value is stored: what LCACHE_SET_OPTIONS_INIT began, and
/// sizeof(lc_set_options); fields beyond a smaller size count as 0. NULL takes the defaults.
/// load: the loader: is called with ctx, the key, and a sink that is valid during that call only.
/// ctx: passed to load; may be NULL.
/// value: receives the pinned value; NULL is written on every outcome but LCACHE_OK.
/// data, len: receive the value's bytes and their number; each may be NULL. Valid until lc_value_free.
///
/// Returns: LCACHE_OK; LCACHE_MISS (the loader says that there is none, or has said so within
/// negative_ttl); LCACHE_ELOADER (the loader returned neither of the two, or LCACHE_OK without a value;
/// the message has the status it returned; also where another thread's loader failed that this one waited
/// for); LCACHE_EREENTRANT (the loader of this key asks for it); LCACHE_EINVAL; LCACHE_EHANDLE;
/// LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_ECLOSED; LCACHE_ENOMEM;
/// LCACHE_EPANIC; on Redis and Hybrid also LCACHE_EAUTH, LCACHE_ESERVER; on Redis alone LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_ECORRUPT. A Hybrid whose server is away loads and stores in L1.
/// Threads: any.
/// Blocks: where it finds no value, as long as its loader runs, or another's for which it waits; and
/// on Redis and Hybrid for their round trips, as lc_get and lc_set.
/// Ownership: the caller frees *value with lc_value_free; ctx stays the caller's.
lc_status lc_get_or_load(lc_cache cache, const void *key, size_t key_len, const struct lc_set_options *options, size_t options_size, lc_load_fn load, void *ctx, struct lc_value **value, const void **data, size_t *len);

/// Gives the value that a loader has loaded. The last call counts.
///
/// sink: what the loader was given, while it runs.
/// value, value_len: up to LCACHE_VALUE_MAX bytes; NULL and 0 are an empty value.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_ETOOBIG; LCACHE_ENOMEM; LCACHE_EPANIC. After an error the sink
/// is as it was before.
/// Threads: one at a time for one sink.
/// Blocks: never.
/// Ownership: the value is copied.
lc_status lc_sink_set(struct lc_sink *sink, const void *value, size_t value_len);

/// Says how the value that a loader has loaded is to be stored, where the loader knows better than the
/// caller of lc_get_or_load. The last call counts.
///
/// sink: what the loader was given, while it runs.
/// options, options_size: as for lc_set_ex; NULL leaves it to the caller's options.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_ETOOBIG (a tag); LCACHE_ENOMEM; LCACHE_EPANIC. After an error
/// the sink is as it was before.
/// Threads: one at a time for one sink.
/// Blocks: never.
/// Ownership: the options and their tags are copied.
lc_status lc_sink_set_options(struct lc_sink *sink, const struct lc_set_options *options, size_t options_size);

/// Takes a lock: on Local among the threads of this process, on Redis and Hybrid among all that share the
/// server and the prefix. Locks are apart from keys: a name may be that of a key.
///
/// A lock is held for its lease and no longer: a holder that is late no longer holds it, and who has it
/// then has a larger fence.
///
/// cache: an open handle.
/// name, name_len: 1 to LCACHE_KEY_MAX bytes, any bytes.
/// lease_ms: how long it is held at most, in milliseconds; at least 1, at most 100 years.
/// wait_ms: how long to wait for it, in milliseconds; 0 tries once.
/// out: receives the lock.
///
/// Returns: LCACHE_OK; LCACHE_BUSY (others held it all that time); LCACHE_EINVAL; LCACHE_EHANDLE;
/// LCACHE_ETOOBIG; LCACHE_EUNSUPPORTED (this kind of cache can't do it); LCACHE_EREENTRANT;
/// LCACHE_ECLOSED; LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid also LCACHE_ECONNECT,
/// LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER.
/// Threads: any.
/// Blocks: up to wait_ms; Redis and Hybrid besides up to timeout or l2_timeout per round trip.
/// Ownership: the caller gives *out back with lc_lock_release; the name is copied.
lc_status lc_lock_acquire(lc_cache cache, const void *name, size_t name_len, uint64_t lease_ms, uint64_t wait_ms, struct lc_lock **out);

/// The fence of a lock: a number that grows with every acquisition of its name. Storage that remembers the
/// largest it has seen can refuse a holder that does not know that it lost the lock.
///
/// lock: a lock that was not released; NULL is allowed.
///
/// Returns: the number; 0 for NULL.
/// Threads: any, several at once, but not while it is being released.
/// Blocks: never.
/// Ownership: none.
uint64_t lc_lock_fence(const struct lc_lock *lock);

/// Begins a new lease, from now on.
///
/// lock: a lock that was not released.
/// lease_ms: how long it is held at most, in milliseconds; at least 1, at most 100 years.
///
/// Returns: LCACHE_OK; LCACHE_LOST (the lease had run out, or the process was forked since: it is not held
/// any more, and still to be released); LCACHE_EINVAL; LCACHE_EPANIC; on Redis and Hybrid also
/// LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any, several at once, but not while it is being released.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: the lock stays the caller's.
lc_status lc_lock_extend(struct lc_lock *lock, uint64_t lease_ms);

/// Gives a lock back, and frees it on every outcome. Also after its cache was closed.
///
/// lock: a lock that was not released.
///
/// Returns: LCACHE_OK; LCACHE_LOST (the lease had run out, or the process was forked since: others may hold
/// it); LCACHE_EINVAL (lock is NULL: nothing happens); LCACHE_EPANIC; on Redis and Hybrid also
/// LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_ECLOSED, LCACHE_EREENTRANT:
/// where the server did not hear of it, the lock is free when its lease runs out.
/// Threads: any, also another than the one that took it; once.
/// Blocks: Local never; Redis up to timeout, Hybrid up to l2_timeout.
/// Ownership: the lock is given up.
lc_status lc_lock_release(struct lc_lock *lock);

/// Reads keys from L2 into L1. Counts as neither hits nor misses.
///
/// cache: an open handle of a Hybrid.
/// keys, n: the keys and their number; NULL where n is 0.
/// loaded: receives how many were there.
///
/// Returns: LCACHE_OK; LCACHE_EUNSUPPORTED (the cache is no Hybrid, or this version can't do it);
/// LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ECONNECT; LCACHE_ETIMEOUT; LCACHE_EAUTH;
/// LCACHE_ESERVER; LCACHE_ECLOSED; LCACHE_EREENTRANT; LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: up to l2_timeout per round trip, of which a very large batch takes several.
/// Ownership: none.
lc_status lc_warm(lc_cache cache, const struct lc_bytes *keys, size_t n, size_t *loaded);

/// Reads keys that begin with a prefix from L2 into L1. Counts as neither hits nor misses.
///
/// cache: an open handle of a Hybrid.
/// prefix, prefix_len: up to LCACHE_KEY_MAX bytes, any bytes; NULL and 0 read any keys.
/// limit: how many at most; SIZE_MAX for all.
/// loaded: receives how many were read.
///
/// Returns: LCACHE_OK; LCACHE_EUNSUPPORTED (the cache is no Hybrid, or this version can't do it);
/// LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ETOOBIG; LCACHE_ECONNECT; LCACHE_ETIMEOUT; LCACHE_EAUTH;
/// LCACHE_ESERVER; LCACHE_ECLOSED; LCACHE_EREENTRANT; LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: up to l2_timeout per round trip, of which a large cache takes many.
/// Ownership: none.
lc_status lc_warm_prefix(lc_cache cache, const void *prefix, size_t prefix_len, size_t limit, size_t *loaded);

/// Writes all live entries of a Local cache to a file. It appears complete or not at all: what had that
/// name is there until the new one takes its place.
///
/// cache: an open handle of a Local cache.
/// path: the file, NUL-terminated, in the bytes of the file system.
/// entries: receives how many were written.
///
/// Returns: LCACHE_OK; LCACHE_EUNSUPPORTED (the cache is no Local); LCACHE_EIO (the message has the
/// system's reason); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid
/// LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: for the file.
/// Ownership: none.
lc_status lc_save(lc_cache cache, const char *path, size_t *entries);

/// Stores the entries of a file that lc_save wrote, beside those that are there. The time that has passed
/// since is deducted from their times to live, by the wall clock, and never added; what has expired is
/// not stored. A damaged file stores nothing.
///
/// cache: an open handle of a Local cache.
/// path: the file, NUL-terminated, in the bytes of the file system.
/// entries: receives how many were stored.
///
/// Returns: LCACHE_OK; LCACHE_EUNSUPPORTED (the cache is no Local); LCACHE_EIO (the message has the
/// system's reason); LCACHE_ECORRUPT (the file is damaged, or no such file; the message says what is
/// wrong); LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_ENOMEM; LCACHE_EPANIC; on Redis and Hybrid
/// LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: for the file.
/// Ownership: none.
lc_status lc_load(lc_cache cache, const char *path, size_t *entries);

/// The counters of a cache. Asks no server.
///
/// cache: an open handle.
/// out, out_size: the structure and sizeof(lc_stats). A smaller size gets the first fields only; what a
/// larger one has behind the fields that the library knows is zeroed.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL, or out_size is beyond all reason); LCACHE_EHANDLE;
/// LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: out stays the caller's.
lc_status lc_stats_get(lc_cache cache, struct lc_stats *out, size_t out_size);

/// How many entries there are; on Redis under the prefix, counted by a scan.
///
/// cache: an open handle.
/// out: receives the number.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_EPANIC; on Redis and Hybrid
/// also LCACHE_ECONNECT, LCACHE_ETIMEOUT, LCACHE_EAUTH, LCACHE_ESERVER, LCACHE_EUNSUPPORTED (the prefix is
/// empty), LCACHE_ECLOSED, LCACHE_EREENTRANT.
/// Threads: any.
/// Blocks: Local never; Redis and Hybrid up to timeout or l2_timeout per round trip, of which a large
/// cache takes many.
/// Ownership: none.
lc_status lc_count(lc_cache cache, uint64_t *out);

/// The counters of a cache in the text format of Prometheus. Asks no server.
///
/// cache: an open handle.
/// out: receives the text, not NUL-terminated; NULL is written on every outcome but LCACHE_OK.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (out is NULL); LCACHE_EHANDLE; LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any.
/// Blocks: never.
/// Ownership: the caller frees *out with lc_value_free; it outlives the cache.
lc_status lc_metrics(lc_cache cache, struct lc_value **out);

/// Subscribes a function to events of one cache, from now on until lc_unsubscribe, or until the last
/// handle of the cache is closed. Events that come faster than the function hears them are dropped.
///
/// cache: an open handle.
/// event_mask: the LCACHE_EVENT_... to hear of, combined with |; at least one.
/// callback: the function. It may be called before this returns. It may call what never blocks; the rest
/// gives LCACHE_EREENTRANT.
/// ctx: passed to callback and destroy; may be NULL.
/// destroy: is called with ctx, once, when callback will not be called any more; at once where this call
/// fails. May be NULL.
/// id: receives the number of the subscription, for lc_unsubscribe.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL; LCACHE_EHANDLE; LCACHE_EUNSUPPORTED (this kind of cache can't do it);
/// LCACHE_ENOMEM; LCACHE_EPANIC.
/// Threads: any, also from within a callback.
/// Blocks: never.
/// Ownership: ctx belongs to the library until destroy.
lc_status lc_subscribe(lc_cache cache, uint32_t event_mask, lc_event_fn callback, void *ctx, void (*destroy)(void *ctx), uint64_t *id);

/// Ends a subscription. Once this has returned, its function is not running and is not called again; where
/// the function itself calls this, it is not called again.
///
/// cache: an open handle of the cache that was subscribed to, not necessarily the same handle.
/// id: the number of the subscription.
///
/// Returns: LCACHE_OK; LCACHE_MISS (there is no such subscription); LCACHE_EHANDLE; LCACHE_EREENTRANT;
/// LCACHE_EUNSUPPORTED (this kind of cache has none); LCACHE_EPANIC.
/// Threads: any, also from within the function.
/// Blocks: for a call of the function that is running on another thread.
/// Ownership: the subscription's ctx is given back by its destroy.
lc_status lc_unsubscribe(lc_cache cache, uint64_t id);

/// Sets the function that hears what the library has to say, for the whole process: the program's to
/// call, never a library's. Without one nothing is said, unless LIGHTER_CACHE_LOG (error, warn, info,
/// debug or trace) in the environment asks for lines on standard error.
///
/// max_level: LCACHE_LOG_ERROR to LCACHE_LOG_TRACE: less important messages are not passed on.
/// callback: the function; NULL for none, then max_level means nothing.
/// ctx: passed to callback and destroy; may be NULL.
/// destroy: is called with ctx once callback will not be called any more: when another function has
/// replaced it and its last call, perhaps on another thread, has returned; at once where this call
/// fails or callback is NULL. May be NULL.
///
/// Returns: LCACHE_OK; LCACHE_EINVAL (max_level); LCACHE_EPANIC.
/// Threads: any, also from within the callback.
/// Blocks: never.
/// Ownership: ctx belongs to the library until destroy.
lc_status lc_set_log_callback(int32_t max_level, lc_log_fn callback, void *ctx, void (*destroy)(void *ctx));

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIGHTER_CACHE_H */
