// The worker that uses the C++ wrapper.
#include "worker.h"

#include <lighter_cache.hpp>

static lighter_cache::Cache cache;

static int worker_open(const char* url) {
    try {
        cache = lighter_cache::Cache::open(url);
        return 0;
    } catch (const lighter_cache::Error& error) {
        std::fprintf(stderr, "open: %s\n", error.what());
        return -1;
    }
}

// What `call` says: true for done, false for a miss.
template <class Call>
static outcome outcome_of(const char* name, Call call) {
    try {
        return call() ? OUT_OK : OUT_MISS;
    } catch (const lighter_cache::Error& error) {
        std::fprintf(stderr, "%s gave %d: %s\n", name, static_cast<int>(error.status()), error.what());
        return OUT_FAILED;
    }
}

static outcome worker_get(const char* key, char* value, std::size_t* len) {
    return outcome_of("get", [&] {
        const auto found = cache.get(key);
        if (!found) return false;
        // A longer one is no value of ours, and is judged by the length.
        const std::size_t size = found->size() < *len ? found->size() : *len;
        std::memcpy(value, found->data(), size);
        *len = size;
        return true;
    });
}

static outcome worker_set(const char* key, const char* value, std::size_t len, std::uint32_t ttl_ms) {
    const auto ttl = ttl_ms ? lighter_cache::Ttl(std::chrono::milliseconds(ttl_ms)) : lighter_cache::ttl::none;
    return outcome_of("set", [&] { return cache.set(key, {value, len}, ttl), true; });
}

static outcome worker_delete(const char* key) {
    return outcome_of("remove", [&] { return cache.remove(key); });
}

static outcome worker_clear() {
    return outcome_of("clear", [&] { return cache.clear(), true; });
}

static counters worker_counters() {
    const auto stats = cache.stats();
    return {stats.queued_writes + stats.replayed_writes + stats.dropped_writes, stats.stale_served, stats.errors,
            stats.queued_writes, stats.degraded != 0};
}

int main(int argc, char** argv) { return worker_main(argc, argv); }
