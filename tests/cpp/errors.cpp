// Errors: which status, and a message that helps and tells no secret.
// Servers: LC_TEST_URL_SINGLE
// lc-test-flags: -pedantic -Wshadow -Wconversion
#include "caches.hpp"

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using check::throws;
using lighter_cache::Cache;
using lighter_cache::Error;

static_assert(std::is_base_of_v<std::runtime_error, Error> && std::is_nothrow_copy_constructible_v<Error>);

TEST(error_is_a_runtime_error) {
    try {
        (void)Cache().get("k");
        CHECK(false && "thrown");
    } catch (const std::runtime_error& error) {
        CHECK(std::string(error.what()).find("handle") != std::string::npos);
        const auto& same = dynamic_cast<const Error&>(error);
        CHECK(same.status() == LCACHE_EHANDLE && same.what() == std::string(same.message()));
    }
}

TEST(refused_keys_and_values) {
    const std::string long_key(LCACHE_KEY_MAX + 1, 'k');
    check::each_cache([&](Cache& cache) {
        CHECK(throws(LCACHE_EINVAL, "empty", [&] { cache.set("", "v"); }));
        CHECK(throws(LCACHE_EINVAL, "__lc:", [&] { (void)cache.get("__lc:x"); }));
        CHECK(throws(LCACHE_ETOOBIG, "65536", [&] { (void)cache.exists(long_key); }));
        CHECK(throws(LCACHE_EINVAL, "NULL", [&] { cache.remove(static_cast<const char*>(nullptr)); }));
        CHECK(throws(LCACHE_EINVAL, "empty", [&] { (void)cache.ttl(""); }));
        CHECK(throws(LCACHE_EINVAL, "empty", [&] { cache.expire("", 1s); }));
        CHECK(throws(LCACHE_EINVAL, "empty", [&] { (void)cache.get_into("", nullptr, 0); }));
        CHECK(throws(LCACHE_EINVAL, "empty", [&] { (void)cache.get_many({"k", ""}); }));
        CHECK(throws(LCACHE_EINVAL, "empty", [&] { cache.set_many({{"k", "v"}, {"", "v"}}); }));
        CHECK(throws(LCACHE_EINVAL, "empty", [&] { cache.remove_many({"k", ""}); }));
        CHECK(!cache.exists("k"));  // a refused batch changes nothing
        const std::string longest(LCACHE_KEY_MAX, 'k');
        cache.set(longest, "v");
        CHECK(cache.remove(longest));
    });
    auto small = Cache::local({{"max_value_bytes", "4"}});
    small.set("k", "four");
    CHECK(throws(LCACHE_ETOOBIG, "4 are allowed", [&] { small.set("k", "five5"); }));
    CHECK(throws(LCACHE_EINVAL, "NULL", [&] { small.set("k", {nullptr, 3}); }));
}

TEST(empty_caches) {
    Cache cache, other = Cache::local();
    const auto refused = [](auto call) { return throws(LCACHE_EHANDLE, "handle", call); };
    CHECK(refused([&] { cache.set("k", "v"); }) && refused([&] { cache.clear(); }));
    CHECK(refused([&] { (void)cache.get_many({"k"}); }) && refused([&] { (void)cache.stats(); }));
    CHECK(refused([&] { (void)cache.count(); }) && refused([&] { (void)cache.kind(); }));
    CHECK(refused([&] { cache.ping(); }) && refused([&] { (void)cache.dup(); }));
    CHECK(refused([&] { (void)Cache::open_hybrid(cache); }));
    CHECK(refused([&] { (void)Cache::open_hybrid(other, cache); }));  // and not a Hybrid without L2
}

TEST(configuration) {
    CHECK(throws(LCACHE_ECONFIG, "local", [] { (void)Cache::open("locale:"); }));
    CHECK(throws(LCACHE_ECONFIG, "default_ttl", [] { (void)Cache::open("local://?default_tll=5m"); }));
    CHECK(throws(LCACHE_ECONFIG, "shards", [] { (void)Cache::local({{"shard", "4"}}); }));
    CHECK(throws(LCACHE_ECONFIG, "shards", [] { (void)Cache::local({{"shards", "4"}, {"shards ", "4"}}); }));
    CHECK(throws(LCACHE_ECONFIG, "default_ttl", [] { Cache::check("local://?default_ttl=5x"); }));
    CHECK(throws(LCACHE_ECONFIG, "ttl_jitter", [] { (void)Cache::open("hybrid+redis://h?ttl_jitter=2"); }));
    CHECK(throws(LCACHE_ECONFIG, "L1", [] {
        auto hybrid = Cache::open_hybrid(Cache::local());
        (void)Cache::open_hybrid(hybrid);
    }));
    CHECK(throws(LCACHE_ECONFIG, "watchdog", [] { (void)Cache::open_hybrid(Cache::local(), "watchdgo=1s"); }));
    // Not what would be left of it as a C text.
    CHECK(throws(LCACHE_EINVAL, "NUL", [] { (void)Cache::open(std::string("local:\0?", 8)); }));
    CHECK(throws(LCACHE_EINVAL, "NUL", [] { Cache::check(std::string("local:\0", 7)); }));
    CHECK(throws(LCACHE_EINVAL, "NUL", [] { (void)Cache::local({{"name", std::string("a\0b", 3)}}); }));
}

TEST(servers) {
    const auto refused = check::environment("LC_TEST_URL_REFUSED");
    CHECK(throws(LCACHE_ECONNECT, "Failed to create Redis connection manager", [&] { (void)Cache::open(refused); }));
    const auto wrong = check::environment("LC_TEST_URL_PASSWORD_WRONG_PASSWORD");
    CHECK(throws(LCACHE_EAUTH, "", [&] { (void)Cache::open(wrong); }));
    CHECK(throws(LCACHE_EAUTH, "", [&] { (void)Cache::open("hybrid+" + wrong); }));
    try {
        (void)Cache::open(wrong);
    } catch (const Error& error) {
        const auto at = wrong.find('@'), colon = wrong.rfind(':', at);
        CHECK(std::string(error.what()).find(wrong.substr(colon + 1, at - colon - 1)) == std::string::npos);
    }
    auto reader = Cache::open(check::environment("LC_TEST_URL_ACL_READONLY"), {{"prefix", "app"}});
    CHECK(!reader.get("cpp-errors"));
    CHECK(throws(LCACHE_EAUTH, "NOPERM", [&] { reader.set("cpp-errors", "v"); }));

    // Away from the beginning, a Hybrid works on its own memory and says so.
    auto hybrid = Cache::open("hybrid+" + refused);
    hybrid.set("k", "v", 1min);
    CHECK(hybrid.get("k")->view() == "v" && hybrid.stats().degraded);
    CHECK(throws(LCACHE_ECONNECT, "", [&] { hybrid.ping(); }));
}

TEST(corrupt_values) {
    const auto url = check::server_url();
    auto raw = Cache::open(url, {{"wire", "raw"}});
    auto cache = Cache::open(url);
    cache.set("k", "value");
    auto bytes = raw.get("k")->str();  // with the header, as it is stored
    CHECK(bytes.size() > 5 && bytes.substr(bytes.size() - 5) == "value");
    raw.set("k", bytes.substr(0, 3) + "\xff\xff");  // the magic, and what no header says
    CHECK(throws(LCACHE_ECORRUPT, "", [&] { (void)cache.get("k"); }));
    CHECK(!cache.get_many({"k"})[0]);  // in a batch it reads as a miss
    cache.clear();
}

int main() { return check::run_all(); }
