// The operations beyond get and set, in both forms, on each kind of cache: the answers, and what the wrapper makes of them.
// lc-test-flags: -pedantic -Wshadow -Wconversion -Wsign-conversion
#include <algorithm>

#include "caches.hpp"
#include "check.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using check::each_cache;
using lighter_cache::Cache;
using lighter_cache::Found;
using lighter_cache::SetOptions;
using lighter_cache::Swap;
using lighter_cache::Ttl;
using lighter_cache::Value;
namespace ttl = lighter_cache::ttl;

static_assert(std::is_convertible_v<std::chrono::hours, SetOptions> && std::is_convertible_v<Ttl, SetOptions>);
static_assert(noexcept(std::declval<Cache&>().try_add("k", "v", Ttl())));
static_assert(noexcept(std::declval<Cache&>().try_set("k", "v", std::declval<const SetOptions&>())));
static_assert(noexcept(std::declval<Cache&>().try_incr("k", 1, std::declval<std::int64_t&>())));

TEST(add_and_replace) {
    each_cache([](Cache& cache) {
        CHECK(!cache.replace("k", "early") && cache.add("k", "first", 1h) && !cache.add("k", "second"));
        CHECK(cache.get("k")->view() == "first" && cache.ttl("k")->duration() <= 1h);
        CHECK(cache.replace("k", "third", ttl::none) && cache.get("k")->view() == "third" && cache.ttl("k")->is_none());
        CHECK_EQ(cache.try_add("k", "v"), LCACHE_EXISTS);
        CHECK_EQ(cache.try_replace("k", "fourth", 1h), LCACHE_OK);
        CHECK_EQ(cache.try_replace("absent", "v"), LCACHE_MISS);
        CHECK(check::throws(LCACHE_EINVAL, "key is empty", [&] { cache.add("", "v"); }));
    });
}

TEST(compare_and_set) {
    each_cache([](Cache& cache) {
        CHECK(cache.compare_and_set("k", "", "v") == Swap::absent);
        cache.set("k", "a\0b"sv);
        CHECK(cache.compare_and_set("k", "a", "v") == Swap::conflict && cache.get("k")->view() == "a\0b"sv);
        CHECK(cache.compare_and_set("k", "a\0b"sv, "", 1h) == Swap::done && cache.get("k")->empty());
        CHECK(cache.ttl("k")->duration() <= 1h);
        CHECK_EQ(cache.try_compare_and_set("k", "no", "v"), LCACHE_CONFLICT);
        CHECK_EQ(cache.try_compare_and_set("absent", "no", "v"), LCACHE_MISS);
        CHECK_EQ(cache.try_compare_and_set("k", "", "v"), LCACHE_OK);
    });
}

TEST(counting) {
    each_cache([](Cache& cache) {
        CHECK(cache.incr("n") == 1 && cache.incr("n", 41, 1h) == 42 && cache.ttl("n")->is_none());
        CHECK(cache.decr("n") == 41 && cache.decr("n", -9) == 50 && cache.get("n")->view() == "50");
        CHECK(cache.incr("hour", -5, 1h) == -5 && cache.ttl("hour")->duration() <= 1h);
        std::int64_t sum = 7;
        CHECK_EQ(cache.try_incr("n", 1, sum), LCACHE_OK);
        CHECK_EQ(sum, 51);
        CHECK_EQ(cache.try_decr("n", 1, sum), LCACHE_OK);
        CHECK_EQ(sum, 50);
        CHECK_EQ(cache.try_decr("n", INT64_MIN, sum), LCACHE_EINVAL);
        cache.set("text", "x");
        CHECK_EQ(cache.try_incr("text", 1, 1h, sum), LCACHE_ETYPE);
        CHECK_EQ(sum, 50);
        CHECK(check::throws(LCACHE_ETYPE, "", [&] { cache.incr("text"); }));
        CHECK(check::throws(LCACHE_EINVAL, "INT64_MIN", [&] { cache.decr("n", INT64_MIN); }));
        CHECK(cache.decr("most", INT64_MAX) == -INT64_MAX && cache.decr("most") == INT64_MIN);
        CHECK(check::throws(LCACHE_ETYPE, "", [&] { cache.decr("most"); }));
    });
}

TEST(get_with_details) {
    each_cache([](Cache& cache) {
        CHECK(!cache.get_ex("k"));
        cache.set("k", "v", 1h);
        const auto found = cache.get_ex("k", 5s);
        CHECK(found && found->value.view() == "v" && found->remaining.duration() > 59min && !found->stale());
        const bool is_redis = cache.kind() == lighter_cache::Kind::redis;
        CHECK(found->from_l1() == !is_redis && found->from_l2() == is_redis);
        Found other;
        CHECK_EQ(cache.try_get_ex("k", other), LCACHE_OK);
        CHECK_EQ(other.value.view(), "v");
        CHECK_EQ(cache.try_get_ex("absent", 5s, other), LCACHE_MISS);
        CHECK(!other.value && other.value.size() == 0 && other.flags == 0);
        cache.set("k", "v", ttl::none);
        CHECK(cache.get_ex("k")->remaining.is_none());
    });
}

TEST(set_with_options) {
    each_cache([](Cache& cache) {
        SetOptions options(1h);
        options.tags = {"red", "b\0e"s};
        options.stale = 5min;
        options.timeout = 10s;
        cache.set("tagged", "v", options);
        cache.set("plain", "v", SetOptions(1h));
        CHECK_EQ(cache.try_set("both", "v", options), LCACHE_OK);
        CHECK(cache.ttl("tagged")->duration() <= 1h);
        cache.invalidate_tag("blue");
        CHECK(cache.exists("tagged") && cache.exists("both"));
        CHECK_EQ(cache.try_invalidate_tag("b\0e"sv), LCACHE_OK);
        CHECK(!cache.exists("tagged") && !cache.exists("both") && cache.exists("plain"));
        options.tags = {"fine", ""};
        CHECK_EQ(cache.try_set("k", "v", options), LCACHE_EINVAL);
        CHECK(check::throws(LCACHE_EINVAL, "tag is empty", [&] { cache.set("k", "v", options); }));
        options.tags.clear();
        options.stale = ttl::none;
        CHECK(check::throws(LCACHE_EINVAL, "100 years", [&] { cache.set("k", "v", options); }));
        cache.set("gone", "v", 1h);
        cache.set("gone", "v", SetOptions(-1s));
        CHECK(!cache.exists("gone"));
        cache.set("braces", "v", {});  // still a time to live, that of the cache
        CHECK(cache.ttl("braces")->is_none());
    });
}

TEST(prefixes) {
    each_cache([](Cache& cache) {
        for (const char* key : {"a:1", "a:2", "a:3", "b:1"}) cache.set(key, "v");
        std::vector<std::string> keys;
        cache.for_each_key("a:", [&](std::string_view key) { keys.emplace_back(key); });
        std::sort(keys.begin(), keys.end());
        CHECK(keys == (std::vector<std::string>{"a:1", "a:2", "a:3"}));
        int seen = 0;
        const auto once = [&](std::string_view) { return ++seen < 2; };
        cache.for_each_key("", once);
        CHECK_EQ(seen, 2);
        CHECK_EQ(cache.try_for_each_key("b", [&](std::string_view key) { seen = key == "b:1" ? 10 : 20; }), LCACHE_OK);
        CHECK_EQ(seen, 10);
        cache.for_each_key("a:", [&](std::string_view key) { cache.remove(key); });
        CHECK(cache.count() == 1 && cache.delete_prefix("b:") == 1 && cache.delete_prefix("b:") == 0);
        cache.set_many({{"x", "1"}, {"y", "2"}});
        std::size_t deleted = 7;
        CHECK_EQ(cache.try_delete_prefix("", deleted), LCACHE_OK);
        CHECK_EQ(deleted, 2u);
        Cache none;
        CHECK(check::throws(LCACHE_EHANDLE, "handle", [&] { none.for_each_key("", once); }));
    });
}

TEST(snapshots) {
    auto cache = Cache::local(), other = Cache::local();
    const auto path = check::environment("LC_TEST_DIR") + "/snapshot";
    cache.set("k", "v", 1h);
    CHECK(cache.save(path) == 1 && other.load(path) == 1 && other.get("k")->view() == "v");
    CHECK(other.ttl("k")->duration() <= 1h);
    std::size_t entries = 7;
    CHECK_EQ(cache.try_save((path + "2").c_str(), entries), LCACHE_OK);
    CHECK_EQ(other.try_load((path + "2").c_str(), entries = 7), LCACHE_OK);
    CHECK_EQ(entries, 1u);
    CHECK(check::throws(LCACHE_EIO, "", [&] { other.load(path + "3"); }));
    CHECK(check::throws(LCACHE_EINVAL, "NUL", [&] { (void)cache.save("a\0b"s); }));
}

TEST(metrics) {
    auto cache = Cache::local();
    cache.set("k", "v");
    const auto text = cache.metrics();
    CHECK(text.view().find("cache_size_entries") != std::string_view::npos && text.view().back() == '\n');
    Value again;
    CHECK_EQ(cache.try_metrics(again), LCACHE_OK);
    CHECK(again.view().find("# TYPE cache_hits_total counter") != std::string_view::npos);
}

int main() { return check::run_all(); }
