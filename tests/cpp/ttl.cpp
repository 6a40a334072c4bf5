// Durations as a TTL: rounding, zero and less, too long, odd units and floating point; and what a cache makes of them.
#include <limits>
#include <thread>

#include "check.hpp"

using namespace std::chrono_literals;
using lighter_cache::Cache;
using lighter_cache::Ttl;
namespace ttl = lighter_cache::ttl;

template <class Rep, class Period = std::ratio<1>>
constexpr std::uint64_t ms(Rep count) {
    return Ttl(std::chrono::duration<Rep, Period>(count)).c_value();
}
constexpr std::uint64_t too_long = LCACHE_TTL_DEFAULT - 1;
constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

// Rounded up to whole milliseconds.
static_assert(Ttl(1ms).c_value() == 1 && Ttl(5min).c_value() == 300'000 && Ttl(24h).c_value() == 86'400'000);
static_assert(Ttl(1ns).c_value() == 1 && Ttl(999'999ns).c_value() == 1 && Ttl(1'000'001ns).c_value() == 2);
static_assert(Ttl(1000us).c_value() == 1 && Ttl(1001us).c_value() == 2);
static_assert(ms<int, std::ratio<1, 30>>(1) == 34 && ms<int, std::ratio<1, 30>>(30) == 1000);
static_assert(ms<int, std::ratio<1001, 30000>>(30) == 1001);
static_assert(ms<std::int64_t, std::atto>(1) == 1 && ms<std::int64_t, std::atto>(most) == 9224);
static_assert(ms<unsigned char>(255) == 255'000);

// Zero or less has already expired.
static_assert(Ttl(0s).c_value() == 0 && Ttl(-1ns).c_value() == 0 && Ttl(std::chrono::hours::min()).c_value() == 0);
static_assert(Ttl(-0.5s).c_value() == 0 && Ttl(0.0s).c_value() == 0);
static_assert(ms<double>(-std::numeric_limits<double>::infinity()) == 0 && ms<int, std::exa>(-1) == 0);

// Nothing overflows, and nothing becomes ttl::none or ttl::by_default by accident.
static_assert(ms<std::int64_t>(most / 1000) == static_cast<std::uint64_t>(most / 1000) * 1000);
static_assert(ms<std::int64_t>(most) == too_long && ms<std::uint64_t>(UINT64_MAX) == too_long);
static_assert(Ttl(std::chrono::hours::max()).c_value() == too_long);
static_assert(ms<std::uint64_t, std::milli>(UINT64_MAX) == too_long);
static_assert(ms<std::uint64_t, std::milli>(LCACHE_TTL_DEFAULT) == too_long);
static_assert(ms<std::uint64_t, std::milli>(too_long) == too_long);
static_assert(ms<int, std::exa>(1) == too_long && ms<int, std::exa>(0) == 0);
static_assert(ms<int, std::ratio<most, most - 1>>(1) == 1001 || ms<int, std::ratio<most, most - 1>>(1) == 1000);
static_assert(ms<double>(1e300) == too_long && ms<double>(std::numeric_limits<double>::infinity()) == too_long);

// Floating point means what it says.
static_assert(Ttl(0.1s).c_value() == 100 && Ttl(0.07s).c_value() == 70 && Ttl(0.3s).c_value() == 300);
static_assert(ms<float>(0.1F) == 100 && ms<double>(0.0001) == 1 && ms<double>(1.0001) == 1001);
static_assert(ms<double>(1e-30) == 1);

static_assert(Ttl() == ttl::by_default && ttl::by_default.is_by_default() && !ttl::by_default.is_none());
static_assert(ttl::none.is_none() && ttl::none != ttl::by_default && Ttl(1s) == Ttl(1000ms));
static_assert(ttl::none.duration() == std::chrono::milliseconds::max() && Ttl(2s).duration() == 2s);
static_assert(!std::is_convertible_v<int, Ttl>);

TEST(what_remains) {
    auto cache = Cache::local();
    cache.set("timed", "v", 1h);
    cache.set("endless", "v", ttl::none);
    CHECK(cache.ttl("endless")->is_none());
    const auto left = cache.ttl("timed")->duration();
    CHECK(left > 59min && left <= 1h);
    CHECK(!cache.ttl("absent"));
    CHECK(cache.expire("endless", *cache.ttl("timed")));  // what one says, the other takes
    CHECK(cache.ttl("endless")->duration() <= 1h);
}

TEST(zero_or_less_removes) {
    auto cache = Cache::local();
    for (const Ttl ttl : {Ttl(0s), Ttl(-5min), Ttl(-0.1s)}) {
        cache.set("k", "old", 1h);
        cache.set("k", "new", ttl);
        CHECK(!cache.exists("k"));
        cache.set("k", "old", 1h);
        CHECK(cache.expire("k", ttl));
        CHECK(!cache.exists("k"));
    }
}

TEST(too_long_is_an_error) {
    auto cache = Cache::local();
    using years = std::chrono::duration<std::int64_t, std::ratio<365 * 24 * 3600>>;
    cache.set("k", "old", years(100));
    const std::chrono::duration<double> huge(1e300), none_at_all(std::numeric_limits<double>::quiet_NaN());
    for (const Ttl ttl : {Ttl(years(100) + 1s), Ttl(std::chrono::hours::max()), Ttl(huge), Ttl(none_at_all)})
        CHECK(check::throws(LCACHE_EINVAL, "100 years", [&] { cache.set("k", "new", ttl); }));
    CHECK_EQ(cache.get("k")->view(), "old");
}

TEST(the_default_is_the_caches) {
    auto cache = Cache::open("local:", {{"default_ttl", "90s"}});
    cache.set("silent", "v");
    cache.set("said", "v", ttl::by_default);
    cache.set("never", "v", ttl::none);
    for (const char* key : {"silent", "said"}) CHECK(cache.ttl(key)->duration() <= 90s && cache.ttl(key)->duration() > 60s);
    CHECK(cache.ttl("never")->is_none());
    auto plain = Cache::local();
    plain.set("silent", "v");
    CHECK(plain.ttl("silent")->is_none());
}

TEST(values_expire) {
    auto cache = Cache::local();
    cache.set("k", "v", 1ns);  // one millisecond
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (cache.exists("k") && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    CHECK(!cache.get("k") && !cache.ttl("k") && !cache.expire("k", 1h));
}

int main() { return check::run_all(); }
