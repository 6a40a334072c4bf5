// Every operation in its throwing form, on Local, Redis and Hybrid alike.
// Servers: LC_TEST_URL_SINGLE
// lc-test-flags: -pedantic -Wshadow -Wconversion
#include <map>

#include "caches.hpp"

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using check::each_cache;
using lighter_cache::Cache;
using lighter_cache::Kind;
namespace ttl = lighter_cache::ttl;

TEST(set_and_get) {
    each_cache([](Cache& cache) {
        CHECK(!cache.get("k"));
        cache.set("k", "one", 5min);
        const auto one = cache.get("k");
        CHECK(one && one->view() == "one" && one->str() == "one" && one->size() == 3);
        cache.set("k", "two");
        CHECK_EQ(cache.get("k")->view(), "two");
        CHECK_EQ(one->view(), "one");  // pinned as it was read
        cache.set("\0\r\n*?[]\\\xff"sv, "\0\x80"sv, ttl::none);
        CHECK_EQ(cache.get("\0\r\n*?[]\\\xff"sv)->view(), "\0\x80"sv);
        const std::string large(1 << 20, 'x');
        cache.set("large", large);
        CHECK(cache.get("large")->view() == large);
    });
}

TEST(get_into_a_buffer) {
    each_cache([](Cache& cache) {
        char buffer[8] = "-------";
        CHECK(!cache.get_into("k", buffer, sizeof buffer));
        cache.set("k", "12345");
        CHECK(cache.get_into("k", buffer, sizeof buffer) == 5u && "12345--"sv == buffer);
        cache.set("k", "123456789");
        CHECK(cache.get_into("k", buffer, sizeof buffer) == 9u && "12345--"sv == buffer);  // too small: as it was
        CHECK(cache.get_into("k", nullptr, 0) == 9u);
    });
}

TEST(exists_and_remove) {
    each_cache([](Cache& cache) {
        CHECK(!cache.exists("k") && !cache.remove("k"));
        cache.set("k", "v");
        CHECK(cache.exists("k") && cache.remove("k"));
        CHECK(!cache.exists("k") && !cache.remove("k") && !cache.get("k"));
    });
}

TEST(clear_and_count) {
    each_cache([](Cache& cache) {
        CHECK_EQ(cache.count(), 0u);
        cache.set("a", "1");
        cache.set("b", "2");
        CHECK_EQ(cache.count(), 2u);
        cache.clear();
        CHECK(cache.count() == 0 && !cache.exists("a") && !cache.exists("b"));
    });
}

TEST(many) {
    each_cache([](Cache& cache) {
        const std::map<std::string, std::string> items = {{"a", "1"}, {"b", "2"}, {"c", ""}};
        cache.set_many(items, 1h);
        cache.set_many({{"d", "4"}});
        CHECK(cache.ttl("a")->duration() <= 1h && cache.ttl("d")->is_none());

        const auto values = cache.get_many({"c", "absent", "a", "d"});
        CHECK_EQ(values.size(), 4u);
        CHECK(values[0] && values[0]->empty() && !values[1] && values[2]->view() == "1" && values[3]->view() == "4");
        CHECK(cache.get_many(std::vector<std::string>()).empty());

        CHECK_EQ(cache.remove_many({"a", "absent", "b"}), 2u);
        CHECK_EQ(cache.remove_many(std::vector<std::string>{"a", "c"}), 1u);
        CHECK_EQ(cache.remove_many(std::vector<std::string>()), 0u);
        CHECK_EQ(cache.count(), 1u);

        cache.set_many({{"d", "5"}, {"e", "6"}}, -1s);  // expired already
        CHECK_EQ(cache.count(), 0u);
    });
}

TEST(time_to_live) {
    each_cache([](Cache& cache) {
        CHECK(!cache.ttl("k") && !cache.expire("k", 1h));
        cache.set("k", "v", 1h);
        CHECK(cache.ttl("k")->duration() > 59min && cache.ttl("k")->duration() <= 1h);
        CHECK(cache.expire("k", 5min) && cache.ttl("k")->duration() <= 5min);
        CHECK(cache.expire("k", ttl::none) && cache.ttl("k")->is_none());
        CHECK_EQ(cache.get("k")->view(), "v");
        CHECK(cache.expire("k", 0s) && !cache.exists("k"));
        cache.set("k", "v", 1h);
        cache.set("k", "v", 0s);
        CHECK(!cache.exists("k"));
    });
}

TEST(stats) {
    each_cache([](Cache& cache) {
        cache.set("k", "v");
        (void)cache.get("k");
        (void)cache.get("k");
        (void)cache.get("absent");
        (void)cache.exists("absent");
        cache.remove("k");
        const auto stats = cache.stats();
        CHECK(stats.hits == 2 && stats.misses == 1 && stats.sets == 1 && stats.deletes == 1 && stats.errors == 0);
        CHECK(stats.hit_rate > 0.66 && stats.hit_rate < 0.67 && !stats.degraded);
        CHECK_EQ(stats.entries, cache.kind() == Kind::redis ? UINT64_MAX : 0);
    });
}

TEST(kind_and_ping) {
    int kinds = 0;
    each_cache([&](Cache& cache) {
        cache.ping();
        kinds = kinds * 10 + static_cast<int>(cache.kind());
    });
    CHECK_EQ(kinds, 123);
}

TEST(duplicates_share_the_cache) {
    each_cache([](Cache& cache) {
        const Cache other = cache.dup();
        cache.set("k", "v");
        CHECK(other.handle() != cache.handle() && other.get("k")->view() == "v");
    });
}

TEST(opening) {
    auto by_options = Cache::open(check::environment("LC_TEST_URL_SINGLE"), {{"prefix", "cpp-open"}, {"timeout", "5s"}});
    CHECK_EQ(by_options.kind(), Kind::redis);
    auto local = Cache::local({{"shards", "2"}});
    auto apart = Cache::open("local:");
    local.set("k", "v");
    CHECK(local.kind() == Kind::local && !apart.exists("k"));  // two opens share nothing

    setenv("LIGHTER_CACHE_URL", "local://?default_ttl=1h", 1);
    auto by_environment = Cache::open();
    by_environment.set("k", "v");
    CHECK(by_environment.ttl("k")->duration() <= 1h);
    unsetenv("LIGHTER_CACHE_URL");

    Cache::check("redis://user:password@host:1234/5?prefix=app");
    Cache::check(std::string("local:"));
}

TEST(composing_a_hybrid) {
    auto l1 = Cache::local();
    auto l2 = Cache::open(check::server_url());
    auto hybrid = Cache::open_hybrid(l1, l2, "watchdog=500ms&l2_timeout=2s");
    CHECK_EQ(hybrid.kind(), Kind::hybrid);
    hybrid.set("k", "v", 1h);
    CHECK_EQ(l2.get("k")->view(), "v");
    l1 = Cache();  // the Hybrid has references of its own
    l2.close();
    CHECK_EQ(hybrid.get("k")->view(), "v");
    hybrid.clear();

    auto alone = Cache::open_hybrid(Cache::local());
    alone.set("k", "v");
    alone.ping();
    CHECK(alone.kind() == Kind::hybrid && alone.get("k")->view() == "v" && !alone.stats().degraded);
}

int main() { return check::run_all(); }
