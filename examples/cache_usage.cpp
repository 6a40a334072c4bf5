// The three kinds of cache, used alike.
//
//     c++ -std=c++17 examples/cache_usage.cpp $(pkg-config --cflags --libs lighter_cache) -o cache_usage
//     ./cache_usage                                        with the Local cache alone
//     REDIS_URL=redis://localhost:6379 ./cache_usage       also with Redis and the Hybrid of both
//     ./cache_usage 'hybrid+redis://localhost?prefix=app'  with a cache of your own
#include <lighter_cache.hpp>

#include <cstdio>
#include <cstdlib>
#include <map>

using namespace std::chrono_literals;
using lighter_cache::Cache;
using lighter_cache::CacheKey;

// Ends the program where something is not as it has to be.
static void expect(bool as_it_has_to_be) {
    if (!as_it_has_to_be) throw std::logic_error("the cache did not do what this program expects");
}

// What a program does with a cache. It is the same for every kind.
static void tour(const char* title, Cache& cache) {
    cache.set(CacheKey::user(1), "Ada Lovelace", 5min);

    // Without a copy: the value is pinned as long as `ada` lives, whatever happens to its key.
    if (const auto ada = cache.get(CacheKey::user(1))) expect(ada->view() == "Ada Lovelace");

    // Or into a buffer of one's own.
    char buffer[64];
    expect(cache.get_into("user:1", buffer, sizeof buffer) == 12u);

    // Time to live: asked for, and changed.
    expect(cache.ttl("user:1")->duration() <= 5min);
    cache.expire("user:1", lighter_cache::ttl::none);

    cache.set(CacheKey::user_permissions(1), "read,write", 5min);

    // A miss is an outcome, no error.
    cache.set(CacheKey::custom("motd", "today"), "be kind", lighter_cache::ttl::none);
    expect(cache.exists("motd:today"));
    expect(cache.remove("motd:today"));
    expect(!cache.get("motd:today"));

    // Many keys at once: on a server in one round trip.
    const std::map<std::string, std::string> names = {{"session:0", "Ada"}, {"session:1", "Grace"}};
    cache.set_many(names, 1min);
    const auto found = cache.get_many({"session:0", "session:1", "session:2"});
    expect(found[0] && found[1]->view() == "Grace" && !found[2]);
    expect(cache.remove_many({"session:0", "session:1"}) == 2);

    const auto stats = cache.stats();
    std::printf("%-7s %d hits, %d misses, hit rate %.2f\n", title, static_cast<int>(stats.hits),
                static_cast<int>(stats.misses), stats.hit_rate);
    cache.clear();
}

// More than get and set. In this version a Local cache does all of it.
static void more(Cache& cache) {
    // One load per key, however many threads ask. What the loader throws comes out of the call.
    int loads = 0;
    for (int i = 0; i < 2; ++i) {
        const auto grace = cache.get_or_load("user:2", 5min, [&] {
            ++loads;  // here a program asks its database
            return std::string("Grace Hopper");
        });
        expect(grace && grace->view() == "Grace Hopper" && loads == 1);
    }

    // Counting, and writes that depend on what is there: each atomic.
    const auto visits = cache.incr("visits", 1, 1min);
    expect(cache.add("leader", "me", 1min) && !cache.add("leader", "you", 1min));

    // A lock, held until it goes out of scope, and for 10 s at most.
    if (const auto lock = cache.lock("nightly", 10s))
        std::printf("visit %d, fence %s\n", static_cast<int>(visits), lock->fence() > 0 ? "taken" : "missing");
    cache.clear();
}

static void run(const char* url) {
    if (url) {
        auto cache = Cache::open(url);
        tour("by URL", cache);
        return;
    }
    auto local = Cache::local({{"shards", "16"}});
    tour("Local", local);
    more(local);

    const char* server = std::getenv("REDIS_URL");
    if (!server) {
        std::puts("set REDIS_URL to see Redis and Hybrid as well");
        return;
    }
    auto redis = Cache::open(server, {{"prefix", "cache_usage"}});
    tour("Redis", redis);
    auto hybrid = Cache::open_hybrid(local, redis);
    tour("Hybrid", hybrid);
    auto alone = Cache::open_hybrid(local);
    tour("L1 only", alone);
}

int main(int argc, char** argv) {
    try {
        run(argc > 1 ? argv[1] : nullptr);
        return 0;
    } catch (const lighter_cache::Error& error) {
        std::fprintf(stderr, "%s: %s\n", lighter_cache::describe(error.status()), error.what());
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    return 1;
}
