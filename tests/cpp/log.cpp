// The log callback: what it hears, that nothing it throws gets out, and when it is destroyed.
// Servers: LC_TEST_URL_SINGLE
// lc-test-flags: -pedantic -Wshadow -Wconversion
#include <atomic>
#include <memory>

#include "caches.hpp"

using lighter_cache::Cache;
using lighter_cache::LogLevel;
using lighter_cache::set_log_callback;

namespace {

struct Heard {
    std::atomic<int> messages{0}, destroyed{0};
    std::atomic<lc_status> reentrant{LCACHE_OK};
};

Heard heard;

/** Counts its destruction, but not those of what it was moved from. */
struct Listener {
    Heard* to;
    bool throws;

    explicit Listener(Heard* h, bool t = false) : to(h), throws(t) {}
    Listener(Listener&& other) noexcept : to(std::exchange(other.to, nullptr)), throws(other.throws) {}
    Listener(const Listener&) = delete;
    ~Listener() {
        if (to) ++to->destroyed;
    }
    void operator()(LogLevel level, std::string_view target, std::string_view message) {
        CHECK(level >= LogLevel::error && level <= LogLevel::trace);
        CHECK(!target.empty() && !message.empty());
        Cache cache;
        to->reentrant = Cache::try_open(check::environment("LC_TEST_URL_SINGLE").c_str(), cache);
        ++to->messages;
        if (throws) throw std::runtime_error("from the callback");
    }
};

/** Something worth a warning: a Hybrid that opens without its server. */
void provoke() { (void)Cache::open("hybrid+" + check::environment("LC_TEST_URL_REFUSED")); }

}  // namespace

TEST(hears_and_is_destroyed) {
    set_log_callback(LogLevel::trace, Listener(&heard));
    provoke();
    CHECK(heard.messages > 0 && heard.destroyed == 0);
    CHECK_EQ(heard.reentrant.load(), LCACHE_EREENTRANT);
    lighter_cache::clear_log_callback();
    lighter_cache::shutdown(std::chrono::seconds(5));  // nobody is still inside
    CHECK_EQ(heard.destroyed.load(), 1);
    const int before = heard.messages;
    provoke();
    CHECK_EQ(heard.messages.load(), before);
}

TEST(what_it_throws_is_dropped) {
    Heard thrown;
    set_log_callback(LogLevel::trace, Listener(&thrown, true));
    provoke();
    CHECK(thrown.messages > 0);
    lighter_cache::clear_log_callback();
    lighter_cache::shutdown(std::chrono::seconds(5));
    CHECK_EQ(thrown.destroyed.load(), 1);
}

TEST(another_replaces_it) {
    Heard first, second;
    set_log_callback(LogLevel::trace, Listener(&first));
    set_log_callback(LogLevel::trace, Listener(&second));
    CHECK(first.destroyed == 1 && second.destroyed == 0);
    CHECK_EQ(lighter_cache::try_set_log_callback(LogLevel::error, Listener(&first)), LCACHE_OK);
    CHECK_EQ(second.destroyed.load(), 1);
    CHECK(check::throws(LCACHE_EINVAL, "max_level", [&] { set_log_callback(LogLevel{9}, Listener(&second)); }));
    CHECK_EQ(second.destroyed.load(), 2);  // refused, and destroyed all the same
    lighter_cache::clear_log_callback();
    CHECK_EQ(first.destroyed.load(), 2);
}

TEST(any_callable) {
    auto lines = std::make_shared<std::string>();
    set_log_callback(LogLevel::warn, [lines](LogLevel, std::string_view, std::string_view) { *lines = "heard"; });
    unsetenv("LIGHTER_CACHE_URL");
    unsetenv("REDIS_URL");
    (void)Cache::open();  // "neither is set": once per process
    CHECK_EQ(*lines, "heard");
    lighter_cache::clear_log_callback();
    CHECK_EQ(lines.use_count(), 1);
}

int main() { return check::run_all(); }
