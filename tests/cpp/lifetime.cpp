// Who owns what: moving, closing and sharing a Cache and a Value, also between threads and with the C API.
// Servers: LC_TEST_URL_SINGLE
// lc-test-flags: -pedantic -Wshadow -Wconversion
#include <atomic>
#include <thread>

#include "caches.hpp"

using namespace std::chrono_literals;
using lighter_cache::Cache;
using lighter_cache::Value;

static_assert(!std::is_copy_constructible_v<Cache> && !std::is_copy_assignable_v<Cache>);
static_assert(!std::is_copy_constructible_v<Value> && !std::is_copy_assignable_v<Value>);
static_assert(std::is_nothrow_move_constructible_v<Cache> && std::is_nothrow_move_assignable_v<Cache>);
static_assert(std::is_nothrow_move_constructible_v<Value> && std::is_nothrow_move_assignable_v<Value>);
static_assert(sizeof(Cache) == sizeof(lc_cache) && sizeof(Value) == 3 * sizeof(void*));

static bool is_open(lc_cache handle) { return lc_ping(handle) == LCACHE_OK; }

TEST(a_cache_closes_itself) {
    lc_cache handle;
    {
        const auto cache = Cache::local();
        handle = cache.handle();
        CHECK(cache && is_open(handle));
    }
    CHECK(!is_open(handle));
}

TEST(moving_a_cache) {
    auto first = Cache::local();
    const lc_cache handle = first.handle();
    first.set("k", "v");
    Cache second(std::move(first));
    CHECK(!first && second.handle() == handle && second.get("k")->view() == "v");
    CHECK(check::throws(LCACHE_EHANDLE, "handle", [&] { (void)first.get("k"); }));

    auto third = Cache::local();
    const lc_cache replaced = third.handle();
    third = std::move(second);
    CHECK(!second && third.handle() == handle && !is_open(replaced));

    Cache& same = third;
    third = std::move(same);
    CHECK(third.handle() == handle && third.exists("k"));

    std::vector<Cache> many;
    many.push_back(std::move(third));
    many.push_back(Cache::local());
    std::swap(many[0], many[1]);
    CHECK(many[1].exists("k") && !many[0].exists("k"));
}

TEST(closing_a_cache) {
    auto cache = Cache::local();
    const auto other = cache.dup();
    cache.set("k", "v");
    CHECK_EQ(cache.close(), LCACHE_OK);
    CHECK_EQ(cache.close(), LCACHE_OK);  // nothing to close
    CHECK(!cache && other.exists("k"));  // the last handle closes the cache
    CHECK(check::throws(LCACHE_EHANDLE, "handle", [&] { cache.set("k", "v"); }));
    Cache never;
    CHECK(!never && never.close() == LCACHE_OK);
}

TEST(handles_of_the_c_api) {
    lc_cache handle;
    CHECK_EQ(lc_open("local:", &handle), LCACHE_OK);
    auto cache = Cache::adopt(handle);
    cache.set("k", "v");
    lc_value* raw = nullptr;
    CHECK_EQ(lc_get(cache.handle(), LCACHE_STR("k"), &raw, nullptr, nullptr), LCACHE_OK);
    auto value = Value::adopt(raw);
    CHECK(value.view() == "v" && value.c_value() == raw);
    CHECK(!Value::adopt(nullptr));
    CHECK_EQ(cache.release(), handle);
    CHECK(!cache && is_open(handle));
    CHECK_EQ(lc_close(handle), LCACHE_OK);
    CHECK_EQ(value.release(), raw);
    CHECK(!value && value.view().empty());
    lc_value_free(raw);
}

TEST(a_value_outlives_everything) {
    check::each_cache([](Cache& cache) {
        auto own = cache.dup();
        own.set("k", std::string(1000, 'x'));
        own.set("small", "y");
        auto value = own.get("k"), small = own.get("small");
        own.remove("k");
        own.set("small", "z");
        own.clear();
        own.close();
        CHECK(value && value->view() == std::string(1000, 'x') && small->view() == "y");
    });
    Value value;
    {
        auto cache = Cache::local();
        cache.set("k", "v");
        value = std::move(*cache.get("k"));
    }
    CHECK_EQ(value.view(), "v");
    lighter_cache::shutdown(5s);
    CHECK_EQ(value.view(), "v");
    std::thread([moved = std::move(value)] { CHECK_EQ(moved.view(), "v"); }).join();
}

TEST(moving_and_copying_a_value) {
    auto cache = Cache::local();
    cache.set("k", "v");
    auto first = std::move(*cache.get("k"));
    const auto* bytes = first.data();
    Value second(std::move(first));
    CHECK(!first && first.empty() && first.data() == nullptr && second.data() == bytes);
    auto third = second.copy();
    CHECK(third.data() == bytes && second.view() == "v");  // the same bytes, one more reference
    second = Value();
    CHECK(!second && third.view() == "v");
    Value& same = third;
    third = std::move(same);
    CHECK_EQ(third.view(), "v");
    CHECK(!Value().copy());
    cache.set("k", "w");
    third = std::move(*cache.get("k"));
    CHECK_EQ(third.view(), "w");
}

TEST(one_cache_many_threads) {
    check::each_cache([](Cache& cache) {
        std::atomic<int> wrong{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < 200; ++i) {
                    const auto key = "k" + std::to_string(t) + ":" + std::to_string(i);
                    cache.set(key, key, 1min);
                    const auto value = cache.get(key);
                    if (!value || value->view() != key || !cache.remove(key) || cache.exists(key)) ++wrong;
                }
            });
        for (auto& thread : threads) thread.join();
        CHECK_EQ(wrong.load(), 0);
    });
}

TEST(closed_by_another_thread) {
    auto cache = Cache::local();
    const auto handle = cache.dup();
    std::atomic<bool> running{false};
    std::thread reader([&] {
        lc_status status = LCACHE_MISS;
        for (Value value; status == LCACHE_MISS; status = handle.try_get("k", value)) running = true;
        CHECK_EQ(status, LCACHE_EHANDLE);
    });
    while (!running) std::this_thread::yield();
    CHECK_EQ(lc_close(handle.handle()), LCACHE_OK);
    reader.join();
    CHECK(!cache.exists("k"));
}

TEST(shutdown_closes_all) {
    auto cache = Cache::local();
    lighter_cache::shutdown(5s);
    CHECK(check::throws(LCACHE_EHANDLE, "handle", [&] { (void)cache.exists("k"); }));
    auto again = Cache::open(check::server_url());
    again.set("k", "v");
    CHECK(again.remove("k"));
    lighter_cache::shutdown(std::chrono::hours(24 * 365 * 100));  // a bound, not a wait
}

int main() { return check::run_all(); }
