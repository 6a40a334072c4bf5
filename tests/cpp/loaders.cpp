// Functions of the program that the library calls during a call: loaders and visitors. Their exceptions come out of
// the call as they were thrown, and nothing of them gets into the library.
// Servers: LC_TEST_URL_SINGLE
// lc-test-flags: -pedantic -Wshadow -Wconversion -Wsign-conversion
#include <atomic>
#include <memory>
#include <thread>

#include "caches.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using lighter_cache::Cache;
using lighter_cache::SetOptions;
using lighter_cache::Sink;
using lighter_cache::Value;

namespace {

/** An exception that is no std::exception, can't be copied cheaply, and counts its living. */
struct Oddity {
    std::shared_ptr<int> token;
};

std::string free_function() { return "from a function"; }
void never_called(std::string_view) { std::abort(); }

/** Each loader's calls on one key, with what `get_or_load` gives for it. */
template <class F>
std::string loaded(F&& loader) {
    auto cache = Cache::local();
    const auto value = cache.get_or_load("k", 1h, std::forward<F>(loader));
    return value ? value->str() : "nothing";
}

}  // namespace

static_assert(noexcept(std::declval<Cache&>().try_get_or_load("k", free_function, std::declval<Value&>())));

TEST(every_form_of_a_loader) {
    const std::string text = "captured";
    CHECK_EQ(loaded([&] { return text; }), "captured");
    CHECK_EQ(loaded([&]() -> const std::string& { return text; }), "captured");
    CHECK_EQ(loaded([] { return "literal"; }), "literal");
    CHECK_EQ(loaded([] { return std::vector<unsigned char>{'b', 'y'}; }), "by");
    CHECK_EQ(loaded([](std::string_view key) { return std::string(key) + "!"; }), "k!");
    CHECK_EQ(loaded([] { return std::optional<std::string>("there"); }), "there");
    CHECK_EQ(loaded([](std::string_view) { return std::optional<std::string>(); }), "nothing");
    CHECK_EQ(loaded([](std::string_view key, Sink& sink) { return sink.set(key); }), "k");
    CHECK_EQ(loaded([](std::string_view, Sink&) { return LCACHE_MISS; }), "nothing");
    CHECK_EQ(loaded(free_function), "from a function");
    CHECK_EQ(loaded(&free_function), "from a function");
    CHECK_EQ(loaded([n = 0]() mutable { return std::to_string(++n); }), "1");
    CHECK_EQ(loaded([owner = std::make_unique<int>(7)] { return std::to_string(*owner); }), "7");
    const auto constant = [] { return std::string("const"); };
    CHECK_EQ(loaded(constant), "const");
    CHECK_EQ(loaded([&] { return std::move(*[] { auto c = Cache::local(); c.set("v", "value"); return c.get("v"); }()); }),
             "value");
}

TEST(loads_once_and_stores) {
    auto cache = Cache::local();
    int calls = 0;
    const auto loader = [&] {
        ++calls;
        return "v"s;
    };
    CHECK_EQ(cache.get_or_load("k", 1h, loader)->view(), "v");
    CHECK_EQ(cache.get_or_load("k", loader)->view(), "v");
    CHECK(calls == 1 && cache.ttl("k")->duration() <= 1h);
    CHECK(cache.get_or_load("other", loader)->view() == "v" && cache.ttl("other")->is_none());
    SetOptions tagged(1h);
    tagged.tags = {"t"};
    CHECK_EQ(cache.get_or_load("tagged", tagged, loader)->view(), "v");
    cache.invalidate_tag("t");
    CHECK(!cache.exists("tagged") && cache.exists("k"));
    // The loader knows better.
    const auto knows = [&](std::string_view, Sink& sink) {
        const lc_status status = sink.set_options(tagged);
        return status == LCACHE_OK ? sink.set("w") : status;
    };
    CHECK_EQ(cache.get_or_load("k2", knows)->view(), "w");
    cache.invalidate_tag("t");
    CHECK(!cache.exists("k2"));
    // It may use the cache.
    const auto nested = cache.get_or_load("outer", [&] { return cache.get_or_load("inner", loader)->str() + "+"; });
    CHECK(nested->view() == "v+" && cache.get("inner")->view() == "v");
}

TEST(exceptions_come_out_as_they_were) {
    auto cache = Cache::local();
    CHECK(check::throws(LCACHE_ECONNECT, "mine", [&] {
        (void)cache.get_or_load("k", []() -> std::string { throw lighter_cache::Error(LCACHE_ECONNECT, "mine"); });
    }));
    auto token = std::make_shared<int>(42);
    try {
        (void)cache.get_or_load("k", [&]() -> std::string { throw Oddity{token}; });
        CHECK(!"thrown");
    } catch (const Oddity& oddity) {
        CHECK(oddity.token == token);
    }
    CHECK_EQ(token.use_count(), 1);
    CHECK(!cache.exists("k"));
    // It is not remembered.
    CHECK_EQ(cache.get_or_load("k", [] { return "v"s; })->view(), "v");

    // The loader of one key asks for it itself: an Error like another, which may pass through it.
    CHECK(check::throws(LCACHE_EREENTRANT, "", [&] {
        (void)cache.get_or_load("own", [&]() -> std::string {
            return cache.get_or_load("own", [] { return "v"s; })->str();
        });
    }));
    // A status of its own is no exception.
    CHECK(check::throws(LCACHE_ELOADER, "-7", [&] {
        (void)cache.get_or_load("k2", [](std::string_view, Sink&) -> lc_status { return LCACHE_ESERVER; });
    }));
}

TEST(a_stale_value_is_better_than_an_exception) {
    auto cache = Cache::local();
    SetOptions options(20ms);
    options.stale = 1h;
    cache.set("k", "old", options);
    while (cache.exists("k")) std::this_thread::yield();
    const auto value = cache.get_or_load("k", []() -> std::string { throw std::runtime_error("gone"); });
    CHECK(value && value->view() == "old");
}

TEST(the_noexcept_form) {
    auto cache = Cache::local();
    Value value;
    CHECK_EQ(cache.try_get_or_load("k", 1h, [] { return "v"s; }, value), LCACHE_OK);
    CHECK_EQ(value.view(), "v");
    CHECK_EQ(cache.try_get_or_load("none", [] { return std::optional<std::string>(); }, value), LCACHE_MISS);
    CHECK(!value);
    CHECK_EQ(cache.try_get_or_load("bad", [](std::string_view, Sink&) { return LCACHE_ETIMEOUT; }, value), LCACHE_ELOADER);
    CHECK(std::string(lighter_cache::last_error()).find("-5") != std::string::npos);
    CHECK_EQ(cache.try_get_or_load("bad", []() -> std::string { throw Oddity{}; }, value), LCACHE_ELOADER);
    CHECK_EQ(cache.try_get_or_load("", free_function, value), LCACHE_EINVAL);
}

TEST(many_ask_one_loads) {
    auto cache = Cache::local();
    std::atomic<int> calls{0}, about_to_ask{0}, wrong{0}, thrown{0};
    std::atomic<bool> fails{false};
    const auto ask = [&] {
        ++about_to_ask;
        try {
            const auto value = cache.get_or_load("shared", [&]() -> std::string {
                ++calls;
                while (about_to_ask < 4) std::this_thread::yield();
                if (fails) throw Oddity{};
                return "for all";
            });
            if (fails || value->view() != "for all") ++wrong;
        } catch (const Oddity&) {
            ++thrown;  // who loaded
        } catch (const lighter_cache::Error& error) {
            if (!fails || error.status() != LCACHE_ELOADER) ++wrong;  // who waited
        }
    };
    for (const bool fail : {false, true}) {
        fails = fail;
        about_to_ask = calls = 0;
        cache.clear();
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) threads.emplace_back(ask);
        for (auto& thread : threads) thread.join();
        CHECK(wrong == 0 && (fail ? calls == thrown && calls >= 1 : calls == 1 && thrown == 0));
    }
}

TEST(exceptions_of_a_visitor) {
    auto cache = Cache::local();
    cache.set_many({{"a", ""}, {"b", ""}, {"c", ""}});
    auto token = std::make_shared<int>(42);
    int seen = 0;
    try {
        cache.for_each_key("", [&](std::string_view) {
            if (++seen == 2) throw Oddity{token};
        });
        CHECK(!"thrown");
    } catch (const Oddity& oddity) {
        CHECK(oddity.token == token && seen == 2);
    }
    CHECK_EQ(token.use_count(), 1);
    CHECK(check::throws(LCACHE_EHANDLE, "handle", [] { Cache().for_each_key("", never_called); }));
}

TEST(nothing_is_called_where_the_call_is_refused) {
    Cache closed;
    Value value;
    const auto loader = []() -> std::string { std::abort(); };
    check::each_cache([&](Cache& cache) {
        CHECK_EQ(cache.try_get_or_load("", loader, value), LCACHE_EINVAL);
        CHECK_EQ(cache.try_get_or_load(std::string(LCACHE_KEY_MAX + 1, 'k'), loader, value), LCACHE_ETOOBIG);
        SetOptions options;
        options.tags = {""};
        CHECK_EQ(cache.try_get_or_load("k", options, loader, value), LCACHE_EINVAL);
        CHECK_EQ(cache.try_for_each_key(std::string(LCACHE_KEY_MAX + 1, 'k'), never_called), LCACHE_ETOOBIG);
    });
    CHECK_EQ(closed.try_get_or_load("k", loader, value), LCACHE_EHANDLE);
    CHECK(check::throws(LCACHE_EHANDLE, "handle", [&] { (void)closed.get_or_load("k", 1h, loader); }));
}

int main() { return check::run_all(); }
