// Locks and subscriptions: who holds them, for how long, and what is refused.
// lc-test-flags: -pedantic -Wshadow -Wconversion -Wsign-conversion
// lc-test-flags: -pedantic -Wshadow -Wconversion -Wsign-conversion -fno-exceptions -fno-rtti
#include <atomic>
#include <thread>

#include "caches.hpp"
#include "check.hpp"

using namespace std::chrono_literals;
using check::each_cache;
using lighter_cache::Cache;
using lighter_cache::Event;
using lighter_cache::Lock;
using lighter_cache::Subscription;

static_assert(!std::is_copy_constructible_v<Lock> && std::is_nothrow_move_assignable_v<Lock>);
static_assert(!std::is_copy_constructible_v<Subscription> && std::is_nothrow_move_assignable_v<Subscription>);
static_assert(sizeof(Lock) == sizeof(void*));

static Cache open_local(const char* url = "local:") {
    Cache cache;
    CHECK_EQ(Cache::try_open(url, cache), LCACHE_OK);
    return cache;
}

TEST(a_lock_is_held_until_it_goes) {
    each_cache([](Cache& cache) {
        std::uint64_t fence = 0;
        {
            Lock lock, other;
            CHECK_EQ(cache.try_lock("job", 1min, 0ms, lock), LCACHE_OK);
            CHECK(lock && lock.fence() > 0);
            fence = lock.fence();
            CHECK_EQ(cache.try_lock("job", 1min, 10ms, other), LCACHE_BUSY);
            CHECK(!other && lock.fence() == fence);
            CHECK_EQ(lock.try_extend(5min), LCACHE_OK);
            CHECK_EQ(lock.try_extend(0s), LCACHE_EINVAL);
            CHECK_EQ(lock.try_extend(-1s), LCACHE_EINVAL);
            Lock moved(std::move(lock));
            CHECK(!lock && moved.fence() == fence);
            CHECK_EQ(cache.try_lock("job", 1min, 0ms, other), LCACHE_BUSY);
            CHECK_EQ(cache.try_lock("job", 0ms, 1min, other), LCACHE_EINVAL);
        }
        Lock again, apart;
        CHECK_EQ(cache.try_lock("job", 1min, 0ms, again), LCACHE_OK);
        CHECK(again.fence() > fence);
        CHECK_EQ(cache.try_lock("apart", 1min, 0ms, apart), LCACHE_OK);
        again = std::move(apart);  // what it held is released
        CHECK_EQ(cache.try_lock("job", 1min, 0ms, apart), LCACHE_OK);
        CHECK_EQ(apart.try_release(), LCACHE_OK);
        CHECK(!apart && again);
        CHECK_EQ(cache.try_lock("job", 20ms, 0ms, apart), LCACHE_OK);
        CHECK_EQ(cache.try_lock("job", 1min, 1min, again), LCACHE_OK);  // when its lease has run out
        CHECK_EQ(apart.try_extend(1min), LCACHE_LOST);
        CHECK_EQ(apart.try_release(), LCACHE_LOST);
        CHECK(!apart);
    });
}

TEST(no_lock) {
    Lock none;
    CHECK(!none && none.fence() == 0);
    CHECK_EQ(none.try_extend(1s), LCACHE_EINVAL);
    CHECK_EQ(none.try_release(), LCACHE_EINVAL);
    CHECK(!Lock::adopt(nullptr));
    Cache closed;
    CHECK_EQ(closed.try_lock("job", 1s, 0s, none), LCACHE_EHANDLE);
}

TEST(the_lock_of_the_c_api) {
    each_cache([](Cache& cache) {
        Lock lock;
        CHECK_EQ(cache.try_lock("job", 1min, 0ms, lock), LCACHE_OK);
        lc_lock* raw = lock.release_to_c();
        CHECK(!lock && raw);
        lock = Lock::adopt(raw);
        CHECK_EQ(lock.fence(), lc_lock_fence(raw));
    });
}

#if LIGHTER_CACHE_HAS_EXCEPTIONS
TEST(the_throwing_forms) {
    each_cache([](Cache& cache) {
        auto lock = cache.lock("job", 1min);
        CHECK(lock && !cache.lock("job", 1min, 10ms));
        CHECK(lock->extend(1min) && lock->release() && cache.lock("job", 1min));
        CHECK(check::throws(LCACHE_EINVAL, "lock is NULL", [&] { (void)lock->release(); }));
        CHECK(check::throws(LCACHE_EINVAL, "lease", [&] { (void)cache.lock("job", 0ms); }));
        lock = cache.lock("job", 20ms);
        auto next = cache.lock("job", 1min, 1min);
        CHECK(next && next->fence() > lock->fence() && !lock->extend(1min) && !lock->release());
    });
}
#endif

namespace {

/** Counts its destruction, but not those of what it was moved from. */
struct Listener {
    std::atomic<int>* events;
    std::atomic<int>* destroyed;

    Listener(std::atomic<int>& e, std::atomic<int>& d) : events(&e), destroyed(&d) {}
    Listener(Listener&& other) noexcept : events(other.events), destroyed(std::exchange(other.destroyed, nullptr)) {}
    Listener(const Listener&) = delete;
    ~Listener() {
        if (destroyed) ++*destroyed;
    }
    void operator()(Event event, std::string_view key) const {
        if (event == Event::expired && key == "short") ++*events;
#if LIGHTER_CACHE_HAS_EXCEPTIONS
        throw 5;  // dropped
#endif
    }
};

/** Waits until the number is that; fails after 30 s. */
void await(const std::atomic<int>& number, int expected) {
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (number != expected && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    CHECK_EQ(number.load(), expected);
}

}  // namespace

TEST(a_subscription_hears_until_it_ends) {
    auto cache = open_local("local:?sweep_interval=10ms");
    std::atomic<int> events{0}, destroyed{0};
    Subscription subscription;
    CHECK_EQ(cache.try_subscribe(Event::expired | Event::evicted, Listener(events, destroyed), subscription), LCACHE_OK);
    CHECK(subscription && destroyed == 0);
    CHECK_EQ(cache.try_set("short", "v", 20ms), LCACHE_OK);
    await(events, 1);
    Subscription moved(std::move(subscription));
    CHECK(!subscription && moved && destroyed == 0);
    // It has a handle of its own.
    CHECK_EQ(cache.close(), LCACHE_OK);
    CHECK_EQ(destroyed.load(), 0);
    moved.end();
    await(destroyed, 1);
    moved.end();
    CHECK(!moved);
    cache = open_local();
    {
        Subscription other;
        CHECK_EQ(cache.try_subscribe(Event::expired, Listener(events, destroyed), other), LCACHE_OK);
        CHECK_EQ(cache.try_subscribe(Event::expired, Listener(events, destroyed), other), LCACHE_OK);
        await(destroyed, 2);  // the one that was replaced
    }
    await(destroyed, 3);
}

TEST(a_subscription_that_does_not_come_about) {
    auto cache = open_local();
    Cache closed;
    std::atomic<int> events{0}, destroyed{0};
    Subscription subscription;
    CHECK_EQ(cache.try_subscribe(Event{0}, Listener(events, destroyed), subscription), LCACHE_EINVAL);
    CHECK_EQ(cache.try_subscribe(Event{64}, Listener(events, destroyed), subscription), LCACHE_EINVAL);
    CHECK_EQ(closed.try_subscribe(Event::expired, Listener(events, destroyed), subscription), LCACHE_EHANDLE);
    CHECK(!subscription && destroyed == 3);
#if LIGHTER_CACHE_HAS_EXCEPTIONS
    CHECK(check::throws(LCACHE_EINVAL, "event_mask", [&] {
        (void)cache.subscribe(Event{64}, Listener(events, destroyed));
    }));
    CHECK(check::throws(LCACHE_EHANDLE, "handle", [&] {
        (void)closed.subscribe(Event::expired, Listener(events, destroyed));
    }));
    CHECK_EQ(destroyed.load(), 5);
#endif
    subscription.end();
}

int main() { return check::run_all(); }
