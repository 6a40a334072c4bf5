// A server that stops to answer, dies and comes back, as a C++ program sees it: statuses, and no exception where
// a Hybrid goes on.
// lc-test-flags: -pedantic -Wshadow -Wconversion
#include <thread>

#include "check.hpp"
#include "server.hpp"

using namespace std::chrono_literals;
using check::throws;
using lighter_cache::Cache;

/** Waits until `call` is true; it has half a minute, which is no measure of how long it takes. */
template <class F>
static bool in_time(F call) {
    for (const auto end = std::chrono::steady_clock::now() + 30s; std::chrono::steady_clock::now() < end;) {
        if (call()) return true;
        std::this_thread::sleep_for(10ms);
    }
    return false;
}

TEST(redis) {
    check::Server server("single");
    auto cache = Cache::open(server.url(), {{"timeout", "200ms"}, {"connect_timeout", "200ms"}});
    cache.set("k", "v");
    const auto value = cache.get("k");

    server.perform("pause");
    CHECK(throws(LCACHE_ETIMEOUT, "", [&] { cache.set("k", "w"); }));
    const lc_status while_paused = cache.try_set("k", "w");
    CHECK(while_paused == LCACHE_ETIMEOUT || while_paused == LCACHE_ECONNECT);
    server.perform("resume");
    CHECK(in_time([&] { return cache.try_set("k", "again") == LCACHE_OK; }));
    CHECK_EQ(cache.get("k")->view(), "again");

    server.perform("kill");
    CHECK(in_time([&] { return cache.try_exists("k") == LCACHE_ECONNECT; }));
    CHECK(throws(LCACHE_ECONNECT, "", [&] { cache.set("k", "w"); }));
    CHECK(throws(LCACHE_ECONNECT, "", [&] { cache.ping(); }));
    CHECK_EQ(value->view(), "v");  // what was read stays
    server.perform("restart");
    CHECK(in_time([&] { return cache.try_set("k", "back") == LCACHE_OK; }));
    CHECK_EQ(cache.get("k")->view(), "back");
}

TEST(hybrid) {
    check::Server server("single");
    auto cache = Cache::open("hybrid+" + server.url(), {{"prefix", "app"}});
    cache.set("k", "v", 1h);

    server.perform("kill");
    CHECK(in_time([&] { return cache.stats().degraded == 1; }));
    CHECK_EQ(cache.get("k")->view(), "v");  // from its own memory
    cache.set("k", "w", 1h);
    CHECK_EQ(cache.get("k")->view(), "w");
    CHECK(cache.exists("k") && cache.ttl("k")->duration() <= 1h && !cache.get("other"));
    CHECK(throws(LCACHE_ECONNECT, "", [&] { (void)cache.count(); }));

    server.perform("restart");
    CHECK(in_time([&] { return cache.stats().degraded == 0; }));  // by itself
    cache.set("k", "x", 1h);
    auto redis = Cache::open(server.url(), {{"prefix", "app"}});
    CHECK_EQ(redis.get("k")->view(), "x");
    redis.set("k", "by another", 1h);
    CHECK(in_time([&] { return cache.get("k")->view() == "by another"; }));
}

int main() { return check::run_all(); }
