// Two Hybrids on one server, as two processes have them: what only the server decides, tags and loads reach the
// other; and while the server is away what it decides fails at once.
// lc-test-flags: -pedantic -Wshadow -Wconversion -Wsign-conversion
// Servers: LC_TEST_URL_SINGLE
#include <thread>

#include "caches.hpp"
#include "check.hpp"
#include "server.hpp"

using namespace std::chrono_literals;
using check::throws;
using lighter_cache::Cache;
using lighter_cache::SetOptions;
using lighter_cache::Swap;

/** Waits until `call` is true; it has half a minute, which is no measure of how long it takes. */
template <class F>
static bool in_time(F call) {
    for (const auto end = std::chrono::steady_clock::now() + 30s; std::chrono::steady_clock::now() < end;) {
        if (call()) return true;
        std::this_thread::sleep_for(2ms);
    }
    return false;
}

static bool holds(Cache& cache, std::string_view key, std::string_view expected) {
    const auto value = cache.get(key);
    return value && value->view() == expected;
}

TEST(what_reaches_the_other) {
    const auto url = check::server_url("hybrid+") + "&negative_ttl=1h";
    auto one = Cache::open(url), two = Cache::open(url);
    CHECK(one.add("k", "a", 1h) && !two.add("k", "b", 1h) && holds(one, "k", "a") && holds(two, "k", "a"));
    CHECK(two.replace("k", "b", 1h) && holds(two, "k", "b") && in_time([&] { return holds(one, "k", "b"); }));
    CHECK(one.compare_and_set("k", "b", "c") == Swap::done && two.compare_and_set("k", "b", "d") == Swap::conflict);
    CHECK(in_time([&] { return holds(two, "k", "c"); }));
    CHECK(one.incr("n", 4) == 4 && two.decr("n") == 3 && in_time([&] { return holds(one, "n", "3"); }));
    {
        const auto lock = one.lock("job", 1h, 0s);
        CHECK(lock && !two.lock("job", 1h, 0s));
    }
    CHECK(two.lock("job", 1h, 10s));
    CHECK(two.delete_prefix("n") == 1 && in_time([&] { return !one.exists("n"); }));
    one.set_many({{"w:1", "1"}, {"w:2", "2"}});
    CHECK(two.warm({"w:1", "absent"}) == 1 && two.warm_prefix("w:", 10) == 2);

    SetOptions tagged(1h);
    tagged.tags = {"t"};
    one.set("tagged", "v", tagged);
    CHECK(holds(one, "tagged", "v") && holds(two, "tagged", "v"));
    two.invalidate_tag("t");
    CHECK(!two.exists("tagged") && in_time([&] { return !one.exists("tagged"); }));
    int loads = 0;
    const auto load = [&] {
        loads++;
        return std::string("loaded");
    };
    CHECK_EQ(one.get_or_load("tagged", tagged, load)->view(), "loaded");
    CHECK_EQ(two.get_or_load("tagged", tagged, load)->view(), "loaded");
    CHECK_EQ(loads, 1);
    one.clear();
}

TEST(without_its_server) {
    check::Server server("single");
    auto cache = Cache::open("hybrid+" + server.url(), {{"prefix", "app"}, {"watchdog", "200ms"}});
    SetOptions tagged(1h);
    tagged.tags = {"t"};
    cache.set("k", "v", 1h);
    cache.set("tagged", "v", tagged);
    CHECK(holds(cache, "tagged", "v"));
    server.perform("kill");
    CHECK(in_time([&] { return cache.stats().degraded == 1 && cache.try_ping() == LCACHE_ECONNECT; }));
    for (int i = 0; i < 100; i++) {
        std::int64_t sum = 0;
        CHECK_EQ(cache.try_add("new", "v", 1h), LCACHE_ECONNECT);
        CHECK_EQ(cache.try_replace("k", "w", 1h), LCACHE_ECONNECT);
        CHECK_EQ(cache.try_compare_and_set("k", "v", "w"), LCACHE_ECONNECT);
        CHECK_EQ(cache.try_incr("n", 1, sum), LCACHE_ECONNECT);
    }
    CHECK(throws(LCACHE_ECONNECT, "", [&] { (void)cache.lock("job", 1h, 1h); }));
    CHECK(throws(LCACHE_ECONNECT, "", [&] { (void)cache.delete_prefix("k"); }));
    CHECK(throws(LCACHE_ECONNECT, "", [&] { cache.for_each_key("k", [](std::string_view) {}); }));
    CHECK(throws(LCACHE_ECONNECT, "", [&] { (void)cache.warm({"k"}); }));
    CHECK(throws(LCACHE_ECONNECT, "", [&] { (void)cache.warm_prefix("k", 1); }));
    CHECK(holds(cache, "k", "v") && !cache.exists("new"));
    cache.invalidate_tag("t");
    CHECK(!cache.exists("tagged"));
    CHECK_EQ(cache.get_or_load("loaded", 1h, [] { return std::string("here"); })->view(), "here");
    server.perform("restart");
    CHECK(in_time([&] { return cache.stats().degraded == 0 && cache.stats().queued_writes == 0; }));
    CHECK(holds(cache, "loaded", "here") && !cache.exists("tagged"));
}

int main() { return check::run_all(); }
