// Every operation in its noexcept form, on Local, Redis and Hybrid alike: as a program without exceptions uses
// them, and as one with exceptions may.
// Servers: LC_TEST_URL_SINGLE
// lc-test-flags: -pedantic -Wshadow -Wconversion -fno-exceptions -fno-rtti
// lc-test-flags: -pedantic -Wshadow -Wconversion
#include "caches.hpp"

using namespace std::chrono_literals;
using check::each_cache;
using lighter_cache::Bytes;
using lighter_cache::Cache;
using lighter_cache::Kind;
using lighter_cache::Option;
using lighter_cache::SetOptions;
using lighter_cache::Sink;
using lighter_cache::Stats;
using lighter_cache::Ttl;
using lighter_cache::Value;
namespace ttl = lighter_cache::ttl;

// No exception comes out of any of them, and the compiler knows.
static_assert(noexcept(std::declval<Cache&>().try_get("k", std::declval<Value&>())));
static_assert(noexcept(std::declval<Cache&>().try_set("k", std::declval<std::string&>(), std::declval<Ttl>())));
static_assert(noexcept(std::declval<Cache&>().try_remove("k")) && noexcept(std::declval<Cache&>().try_clear()));
static_assert(noexcept(Cache::try_open("local:", std::declval<Cache&>())));
static_assert(noexcept(std::declval<Cache&>().try_set_many(std::declval<std::pair<Bytes, Bytes> (&)[1]>())));
static_assert(noexcept(std::declval<Cache&>().try_for_each_key("", std::declval<bool (&)(std::string_view)>())));
static_assert(noexcept(std::declval<Cache&>().close()) && noexcept(std::declval<Value&>().copy()));

// Without exceptions a throwing form does not compile; with them it is there.
template <class C, class = void>
constexpr bool has_throwing_forms = false;
template <class C>
constexpr bool has_throwing_forms<C, std::void_t<decltype(std::declval<C&>().get("k"))>> = true;
static_assert(has_throwing_forms<Cache> == (LIGHTER_CACHE_HAS_EXCEPTIONS != 0));

TEST(single_keys) {
    each_cache([](Cache& cache) {
        Value value;
        CHECK_EQ(cache.try_get("k", value), LCACHE_MISS);
        CHECK(!value);
        CHECK_EQ(cache.try_set("k", "value", 5min), LCACHE_OK);
        CHECK_EQ(cache.try_get("k", value), LCACHE_OK);
        CHECK(value && value.view() == "value");
        CHECK_EQ(cache.try_exists("k"), LCACHE_OK);
        CHECK_EQ(cache.try_remove("k"), LCACHE_OK);
        CHECK_EQ(cache.try_remove("k"), LCACHE_MISS);
        CHECK_EQ(cache.try_exists("k"), LCACHE_MISS);
        CHECK_EQ(value.view(), "value");
        CHECK_EQ(cache.try_get("k", value), LCACHE_MISS);
        CHECK(!value && value.size() == 0);  // what it held is let go
    });
}

TEST(buffers) {
    each_cache([](Cache& cache) {
        char buffer[4] = {};
        std::size_t size = 77;
        CHECK_EQ(cache.try_get_into("k", buffer, sizeof buffer, size), LCACHE_MISS);
        CHECK_EQ(size, 77u);
        CHECK_EQ(cache.try_set("k", "four"), LCACHE_OK);
        CHECK_EQ(cache.try_get_into("k", buffer, sizeof buffer, size), LCACHE_OK);
        CHECK_EQ(size, 4u);
        CHECK_EQ(cache.try_get_into("k", buffer, 3, size = 0), LCACHE_ERANGE);
        CHECK_EQ(size, 4u);
    });
}

TEST(time_to_live) {
    each_cache([](Cache& cache) {
        Ttl left = 7ms;
        CHECK_EQ(cache.try_ttl("k", left), LCACHE_MISS);
        CHECK_EQ(left, Ttl(7ms));
        CHECK_EQ(cache.try_expire("k", 1h), LCACHE_MISS);
        CHECK_EQ(cache.try_set("k", "v", ttl::none), LCACHE_OK);
        CHECK_EQ(cache.try_ttl("k", left), LCACHE_OK);
        CHECK(left.is_none());
        CHECK_EQ(cache.try_expire("k", 1h), LCACHE_OK);
        CHECK_EQ(cache.try_ttl("k", left), LCACHE_OK);
        CHECK(left.duration() <= 1h && left.duration() > 59min);
    });
}

TEST(many) {
    each_cache([](Cache& cache) {
        const std::pair<Bytes, Bytes> items[] = {{"a", "1"}, {"b", "2"}};
        CHECK_EQ(cache.try_set_many(items, 1h), LCACHE_OK);
        const Bytes keys[] = {"a", "absent", "b"};
        Value values[3];
        std::size_t hits = 0;
        CHECK_EQ(cache.try_get_many(keys, values, hits), LCACHE_OK);
        CHECK(hits == 2 && values[0].view() == "1" && !values[1] && values[2].view() == "2");
        std::size_t removed = 0;
        CHECK_EQ(cache.try_remove_many(keys, removed), LCACHE_OK);
        CHECK_EQ(removed, 2u);
        const Bytes refused[] = {"a", ""};
        CHECK_EQ(cache.try_get_many(refused, values, hits), LCACHE_EINVAL);
        CHECK(!values[0] && !values[1] && values[2]);  // as many places as keys
    });
}

TEST(seeing_inside) {
    each_cache([](Cache& cache) {
        std::uint64_t entries = 7;
        Stats stats;
        Kind kind{};
        CHECK_EQ(cache.try_set("k", "v"), LCACHE_OK);
        CHECK_EQ(cache.try_count(entries), LCACHE_OK);
        CHECK_EQ(entries, 1u);
        CHECK_EQ(cache.try_stats(stats), LCACHE_OK);
        CHECK_EQ(stats.sets, 1u);
        CHECK_EQ(cache.try_kind(kind), LCACHE_OK);
        CHECK(kind == Kind::local || kind == Kind::redis || kind == Kind::hybrid);
        CHECK_EQ(cache.try_ping(), LCACHE_OK);
        Cache other;
        CHECK_EQ(cache.try_dup(other), LCACHE_OK);
        CHECK_EQ(other.try_exists("k"), LCACHE_OK);
    });
}

TEST(functions_of_the_program) {
    Cache cache;
    Value value;
    CHECK_EQ(Cache::try_local(cache), LCACHE_OK);
    int calls = 0;
    const auto loader = [&calls](std::string_view key, Sink& sink) {
        ++calls;
        SetOptions options(1h);
        options.tags = {"tag"};
        const lc_status status = sink.set_options(options);
        return status == LCACHE_OK && key == "k" ? sink.set("loaded") : LCACHE_MISS;
    };
    CHECK_EQ(cache.try_get_or_load("k", loader, value), LCACHE_OK);
    CHECK_EQ(cache.try_get_or_load("k", SetOptions(5min), loader, value), LCACHE_OK);
    CHECK(calls == 1 && value.view() == "loaded");
    CHECK_EQ(cache.try_get_or_load("other", loader, value), LCACHE_MISS);
    CHECK(!value);
    CHECK_EQ(cache.try_invalidate_tag("tag"), LCACHE_OK);
    CHECK_EQ(cache.try_exists("k"), LCACHE_MISS);

    const std::pair<Bytes, Bytes> items[] = {{"a", "1"}, {"b", "2"}, {"c", "3"}};
    CHECK_EQ(cache.try_set_many(items), LCACHE_OK);
    int seen = 0;
    CHECK_EQ(cache.try_for_each_key("", [&seen](std::string_view) { ++seen; }), LCACHE_OK);
    CHECK_EQ(cache.try_for_each_key("", [&seen](std::string_view) { return ++seen < 5; }), LCACHE_OK);
    CHECK_EQ(seen, 5);
}

TEST(opening) {
    Cache cache, hybrid;
    CHECK_EQ(Cache::try_local(cache), LCACHE_OK);
    CHECK_EQ(cache.try_set("k", "v"), LCACHE_OK);
    CHECK_EQ(Cache::try_open_hybrid(cache, nullptr, hybrid), LCACHE_OK);
    CHECK_EQ(hybrid.try_exists("k"), LCACHE_OK);

    // Nothing is replaced where opening fails.
    CHECK_EQ(Cache::try_open("locale:", cache), LCACHE_ECONFIG);
    CHECK_EQ(Cache::try_open("local:", {{"shards", "many"}}, cache), LCACHE_ECONFIG);
    CHECK_EQ(Cache::try_open_hybrid(hybrid, nullptr, cache), LCACHE_ECONFIG);
    CHECK_EQ(cache.try_exists("k"), LCACHE_OK);

    const Option options[] = {{"shards", "2"}, {"default_ttl", "1h"}};
    CHECK_EQ(Cache::try_open("local:", options, 2, cache), LCACHE_OK);
    CHECK_EQ(cache.try_exists("k"), LCACHE_MISS);
    CHECK_EQ(cache.try_set("k", "v"), LCACHE_OK);
    Ttl left;
    CHECK_EQ(cache.try_ttl("k", left), LCACHE_OK);
    CHECK(left.duration() <= 1h);
    CHECK_EQ(Cache::try_open("local:", nullptr, 0, cache), LCACHE_OK);

    Cache l2, both;
    CHECK_EQ(Cache::try_open(check::server_url().c_str(), l2), LCACHE_OK);
    CHECK_EQ(Cache::try_open_hybrid(cache, l2, "l2_timeout=1s", both), LCACHE_OK);
    CHECK_EQ(both.try_ping(), LCACHE_OK);

    char message[128] = "";
    CHECK_EQ(Cache::try_check("redis://host?prefix=app", message, sizeof message), LCACHE_OK);
    CHECK_EQ(Cache::try_check("redis://host?prefx=app", message, sizeof message), LCACHE_ECONFIG);
    CHECK(std::string(message).find("prefix") != std::string::npos);
}

TEST(the_last_error) {
    Cache cache;
    CHECK_EQ(cache.try_ping(), LCACHE_EHANDLE);
    CHECK(std::string(lighter_cache::last_error()).find("handle") != std::string::npos);
    CHECK_EQ(std::string(lighter_cache::describe(LCACHE_OK)), "ok");
    CHECK_EQ(std::string(lighter_cache::describe(12345)), "unknown status");
}

TEST(log_and_shutdown) {
    CHECK_EQ(lighter_cache::try_set_log_callback(lighter_cache::LogLevel::error,
                                                 [](lighter_cache::LogLevel, std::string_view, std::string_view) {}),
             LCACHE_OK);
    lighter_cache::clear_log_callback();
    Cache cache;
    CHECK_EQ(Cache::try_local(cache), LCACHE_OK);
    CHECK_EQ(lighter_cache::try_shutdown(5s), LCACHE_OK);
    CHECK_EQ(cache.try_exists("k"), LCACHE_EHANDLE);
    CHECK_EQ(Cache::try_local(cache), LCACHE_OK);
    CHECK_EQ(cache.try_exists("k"), LCACHE_MISS);
}

int main() { return check::run_all(); }
