/*
 * lighter_cache for C++17 and later: header only, over the C API (lighter_cache.h) alone.
 *
 *   #include <lighter_cache.hpp>
 *   #include <iostream>
 *   using namespace std::chrono_literals;
 *
 *   int main() {
 *       auto cache = lighter_cache::Cache::open("local:");      // or "redis://host", "hybrid+redis://host"
 *       cache.set("user:1", "Ada", 5min);
 *       if (auto value = cache.get("user:1"))                   // std::optional<Value>
 *           std::cout << value->view() << '\n';                 // the cache's own bytes, not a copy
 *   }
 *
 * Build: c++ -std=c++17 app.cpp $(pkg-config --cflags --libs lighter_cache), or CMake's
 *   find_package(lighter_cache) and lighter_cache::cpp. docs/cpp.md tells more.
 *
 * What goes in: keys and values are Bytes, made from a string literal, std::string, std::string_view, a
 *   vector, array or span of char or byte, a Value, or a pointer and a length. They are copied or only
 *   read during the call. Keys have 1 to LCACHE_KEY_MAX bytes and do not begin with "__lc:".
 * What comes out: a Value pins the cache's bytes. It outlives its entry and its cache.
 * Time: any std::chrono duration is a Ttl; so are ttl::none and ttl::by_default.
 * Errors: open, get, set and the like throw Error, with an lc_status and a message. A miss is no error.
 *   Each has a noexcept form, try_open, try_get, try_set and the like, that returns the lc_status
 *   instead (LCACHE_OK is 0, an outcome such as LCACHE_MISS is positive, an error negative) and writes
 *   its results to the parameters that come last; last_error() has the message. The two forms differ in
 *   nothing else.
 * Without exceptions (-fno-exceptions) the throwing forms are not declared, so that a call of one does
 *   not compile, and the noexcept forms are all there is. -fno-rtti changes nothing.
 * Threads: a Cache may be used by all threads at once, but opened, assigned, moved, closed or destroyed
 *   by one while no other uses it; dup() gives another thread a handle of its own. A Value likewise:
 *   all may read it.
 * Callbacks: a loader, and what for_each_key calls, run on the caller's thread; what they throw comes out of
 *   the call as it was thrown. What hears of events and of the log runs on threads of the library.
 * Cost: a Cache is one integer and a Value three words. Nothing here allocates but str(), the batches,
 *   CacheKey, Options, the tags of SetOptions, and what subscribes to events or the log.
 */
#ifndef LIGHTER_CACHE_HPP
#define LIGHTER_CACHE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <ratio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "lighter_cache.h"

/** 1 where the throwing forms are declared, 0 where exceptions are switched off. */
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define LIGHTER_CACHE_HAS_EXCEPTIONS 1
#else
#define LIGHTER_CACHE_HAS_EXCEPTIONS 0
#endif

/* So that an Error thrown in one shared library is caught in another, however they hide their symbols. */
#if defined(__GNUC__)
#define LIGHTER_CACHE_VISIBLE __attribute__((visibility("default")))
#else
#define LIGHTER_CACHE_VISIBLE
#endif

namespace lighter_cache {

// --- Errors

/** The message of this thread's last failed call, "" if there was none. Valid until its next failed call. */
inline const char* last_error() noexcept { return lc_last_error(); }

/** What a status means, in a few words. Any number will do. */
inline const char* describe(lc_status status) noexcept { return lc_strerror(status); }

/** What the throwing forms throw: a negative lc_status and what() went wrong, without keys, values or secrets. */
class LIGHTER_CACHE_VISIBLE Error : public std::runtime_error {
public:
    Error(lc_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
    /** One of LCACHE_E... */
    lc_status status() const noexcept { return status_; }
    /** The same text as what(). */
    const char* message() const noexcept { return what(); }

private:
    lc_status status_;
};

namespace detail {

#if LIGHTER_CACHE_HAS_EXCEPTIONS
/** Passes 0 and outcomes through, throws errors. */
inline lc_status check(lc_status status) {
    // An array that this header could not allocate is no failed call of the library: it left no message.
    if (status < 0) throw Error(status, status == LCACHE_ENOMEM ? lc_strerror(status) : lc_last_error());
    return status;
}
#endif

}  // namespace detail

// --- Bytes

namespace detail {

/** An element of 1 byte that may stand for raw bytes. */
template <class T>
inline constexpr bool is_byte = std::is_same_v<T, char> || std::is_same_v<T, unsigned char> ||
                                std::is_same_v<T, signed char> || std::is_same_v<T, std::byte>
#if defined(__cpp_char8_t)
                                || std::is_same_v<T, char8_t>
#endif
    ;

/** Character arrays are read as text, up to their NUL; the elements of other arrays are all data. */
template <class T>
inline constexpr bool is_raw_byte = is_byte<T> && !std::is_same_v<T, char>
#if defined(__cpp_char8_t)
                                    && !std::is_same_v<T, char8_t>
#endif
    ;

template <class C, class = void>
inline constexpr bool is_container = false;
template <class C>
inline constexpr bool is_container<C, std::void_t<decltype(*std::declval<const C&>().data()),
                                                  decltype(std::declval<const C&>().size())>> =
    is_byte<std::remove_cv_t<std::remove_reference_t<decltype(*std::declval<const C&>().data())>>>;

}  // namespace detail

/**
 * Bytes of the caller, for the duration of a call: what every key and value parameter is.
 *
 * Text ("user:1", const char*, char[N]) ends at its NUL, as it does for std::string_view; a null pointer is
 * empty. Use std::string_view or Bytes(pointer, length) for text with a NUL inside. Do not keep a Bytes
 * longer than what it was made from.
 */
class Bytes {
public:
    constexpr Bytes() noexcept = default;
    Bytes(const void* data, std::size_t size) noexcept : data_(data), size_(size) {}
    Bytes(const char* text) noexcept : data_(text), size_(text ? std::strlen(text) : 0) {}
#if defined(__cpp_char8_t)
    Bytes(const char8_t* text) noexcept : Bytes(reinterpret_cast<const char*>(text)) {}
#endif
    Bytes(std::nullptr_t) = delete;
    /** Anything with data() and size() of char, unsigned char, signed char, std::byte or char8_t. */
    template <class C, std::enable_if_t<detail::is_container<C>, int> = 0>
    Bytes(const C& container) noexcept : data_(container.data()), size_(container.size()) {}
    /** A C array of raw bytes, whole. */
    template <class T, std::size_t N, std::enable_if_t<detail::is_raw_byte<T>, int> = 0>
    Bytes(const T (&array)[N]) noexcept : data_(array), size_(N) {}

    const void* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::string_view view() const noexcept { return {static_cast<const char*>(data_), size_}; }

private:
    const void* data_ = nullptr;
    std::size_t size_ = 0;
};

// --- Time to live

namespace detail {

/** No cache takes a TTL this long; the library says so (LCACHE_EINVAL). */
inline constexpr std::uint64_t ttl_too_long = LCACHE_TTL_DEFAULT - 1;

constexpr std::uint64_t saturating_mul(std::uint64_t a, std::uint64_t b) noexcept {
    return a != 0 && b > ttl_too_long / a ? ttl_too_long : a * b;
}

/** Rounded up. Rests below a nanosecond are the noise of 0.1s and the like, and not counted. */
constexpr std::uint64_t real_to_ms(long double ms) noexcept {
    if (!(ms < 1e16L)) return ttl_too_long;  // infinity and NaN as well
    if (!(ms > 0)) return 0;
    const long double least = ms - 1e-6L;
    const auto floor = static_cast<std::uint64_t>(least > 0 ? least : 0);
    return floor + (static_cast<long double>(floor) < least || floor == 0 ? 1 : 0);
}

/** Whole milliseconds, rounded up; 0 for a duration of zero or less. Never overflows. */
template <class Rep, class Period>
constexpr std::uint64_t to_ms(std::chrono::duration<Rep, Period> time) noexcept {
    // One unit is num / den seconds, that is times / parts milliseconds.
    constexpr auto num = static_cast<std::uint64_t>(Period::num), den = static_cast<std::uint64_t>(Period::den);
    constexpr std::uint64_t gcd = std::gcd(std::uint64_t{1000}, den), parts = den / gcd;
    constexpr std::uint64_t times = saturating_mul(num, 1000 / gcd);
    constexpr bool exact = times != ttl_too_long && parts <= ttl_too_long / times;
    if constexpr (exact && std::is_integral_v<Rep> && sizeof(Rep) <= sizeof(std::uint64_t)) {
        if (!(time.count() > Rep{})) return 0;
        const auto count = static_cast<std::uint64_t>(time.count());
        const std::uint64_t whole = saturating_mul(count / parts, times), rest = count % parts * times;
        const std::uint64_t part = rest / parts + (rest % parts != 0 ? 1 : 0);
        return whole >= ttl_too_long - part ? ttl_too_long : whole + part;
    } else if constexpr (exact && std::is_floating_point_v<Rep>) {
        // In the precision of Rep, where 0.1f seconds are 100 milliseconds.
        return real_to_ms(static_cast<long double>(time.count() * static_cast<Rep>(times) / static_cast<Rep>(parts)));
    } else {
        return real_to_ms(static_cast<long double>(time.count()) * static_cast<long double>(num) /
                          static_cast<long double>(den) * 1000);
    }
}

}  // namespace detail

/**
 * How long a value lives: any std::chrono duration, ttl::none or ttl::by_default.
 *
 * A duration is rounded up to whole milliseconds. Zero or less has already expired: nothing is stored and an
 * old value is removed. More than 100 years is LCACHE_EINVAL.
 */
class Ttl {
public:
    /** The cache's default_ttl. */
    constexpr Ttl() noexcept = default;
    template <class Rep, class Period>
    constexpr Ttl(std::chrono::duration<Rep, Period> time) noexcept : ms_(detail::to_ms(time)) {}
    /** From a ttl_ms of the C API. */
    static constexpr Ttl from_c(std::uint64_t ttl_ms) noexcept {
        Ttl ttl;
        ttl.ms_ = ttl_ms;
        return ttl;
    }

    /** The ttl_ms of the C API. */
    constexpr std::uint64_t c_value() const noexcept { return ms_; }
    /** True of ttl::none: it never expires. */
    constexpr bool is_none() const noexcept { return ms_ == LCACHE_TTL_NONE; }
    /** True of ttl::by_default. */
    constexpr bool is_by_default() const noexcept { return ms_ == LCACHE_TTL_DEFAULT; }
    /** The time; milliseconds::max() of ttl::none and ttl::by_default, which have none. */
    constexpr std::chrono::milliseconds duration() const noexcept {
        constexpr auto longest = static_cast<std::uint64_t>(std::chrono::milliseconds::max().count());
        return ms_ > longest ? std::chrono::milliseconds::max()
                             : std::chrono::milliseconds(static_cast<std::chrono::milliseconds::rep>(ms_));
    }
    friend constexpr bool operator==(Ttl a, Ttl b) noexcept { return a.ms_ == b.ms_; }
    friend constexpr bool operator!=(Ttl a, Ttl b) noexcept { return a.ms_ != b.ms_; }

private:
    std::uint64_t ms_ = LCACHE_TTL_DEFAULT;
};

namespace ttl {
/** Never expires. */
inline constexpr Ttl none = Ttl::from_c(LCACHE_TTL_NONE);
/** As the cache's option default_ttl says. */
inline constexpr Ttl by_default = Ttl::from_c(LCACHE_TTL_DEFAULT);
}  // namespace ttl

/** How a value is stored, where a time to live alone does not say it. */
struct SetOptions {
    SetOptions() noexcept = default;
    SetOptions(Ttl time) noexcept : ttl(time) {}
    template <class Rep, class Period>
    SetOptions(std::chrono::duration<Rep, Period> time) noexcept : ttl(time) {}

    /** How long it lives. */
    Ttl ttl{};
    /** How long past that it may be served where a reload fails; ttl::by_default is the cache's stale_ttl. */
    Ttl stale{};
    /** For invalidate_tag; any bytes, none of them empty. */
    std::vector<std::string> tags{};
    /** Bound of the call; zero takes the cache's. */
    std::chrono::milliseconds timeout{0};
};

namespace detail {

static_assert(LCACHE_STALE_DEFAULT == LCACHE_TTL_DEFAULT, "a Ttl stands for a stale window, too");

/** A timeout of the C API. */
inline std::uint32_t timeout_ms(std::chrono::milliseconds timeout) noexcept {
    const std::uint64_t ms = to_ms(timeout);
    return ms > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(ms);
}

/** An array that is empty where there is no memory for it. */
template <class T>
using Array = std::unique_ptr<T[]>;
template <class T>
Array<T> allocate(std::size_t n) noexcept {
    return Array<T>(new (std::nothrow) T[n]);
}

/** SetOptions as the C API takes them. */
class RawOptions {
public:
    explicit RawOptions(const SetOptions& from) noexcept {
        raw_.ttl_ms = from.ttl.c_value();
        raw_.stale_ms = from.stale.c_value();
        raw_.timeout_ms = timeout_ms(from.timeout);
        if (from.tags.empty()) return;
        tags_ = allocate<lc_bytes>(from.tags.size());
        if (!tags_) return;
        for (const std::string& tag : from.tags) tags_[raw_.tag_count++] = {tag.data(), tag.size()};
        raw_.tags = tags_.get();
    }
    /** Whether they say the same as `from`. */
    bool complete(const SetOptions& from) const noexcept { return raw_.tag_count == from.tags.size(); }
    const lc_set_options* get() const noexcept { return &raw_; }

private:
    lc_set_options raw_ = LCACHE_SET_OPTIONS_INIT;
    Array<lc_bytes> tags_;
};

}  // namespace detail

// --- Value

/**
 * The bytes of a value, pinned where the cache keeps them: nothing is copied, and they stay as they were read
 * whatever becomes of the entry, the Cache, or the library after shutdown.
 *
 * Moves only; copy() is explicit. What data(), view(), begin() and end() give is valid as long as this Value.
 */
class Value {
public:
    /** Holds nothing. */
    Value() noexcept = default;
    Value(Value&& other) noexcept { swap(other); }
    Value& operator=(Value&& other) noexcept {
        Value taken(std::move(other));
        swap(taken);
        return *this;
    }
    Value(const Value&) = delete;
    Value& operator=(const Value&) = delete;
    ~Value() {
        if (value_) lc_value_free(value_);
    }

    /** Takes over a reference of the C API; NULL holds nothing. */
    static Value adopt(lc_value* value) noexcept {
        return value ? Value(value, lc_value_data(value), lc_value_size(value)) : Value();
    }
    /** Another Value over the same bytes: one more reference, no copy of the bytes. */
    Value copy() const noexcept { return value_ ? Value(lc_value_ref(value_), data_, size_) : Value(); }

    /** Whether it holds a value; an empty value is one. */
    explicit operator bool() const noexcept { return value_ != nullptr; }
    const std::byte* data() const noexcept { return static_cast<const std::byte*>(data_); }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const std::byte* begin() const noexcept { return data(); }
    const std::byte* end() const noexcept { return data() + size_; }
    std::byte operator[](std::size_t i) const noexcept { return data()[i]; }
    /** The bytes as text, not copied. */
    std::string_view view() const noexcept { return {static_cast<const char*>(data_), size_}; }
    /** A copy of the bytes. */
    std::string str() const { return std::string(view()); }

    /** The reference as the C API knows it; stays this Value's. */
    const lc_value* c_value() const noexcept { return value_; }
    /** Gives the reference away, to be freed with lc_value_free. */
    lc_value* release() noexcept {
        data_ = nullptr;
        size_ = 0;
        return std::exchange(value_, nullptr);
    }
    void swap(Value& other) noexcept {
        std::swap(value_, other.value_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

private:
    friend class Cache;
    Value(lc_value* value, const void* data, std::size_t size) noexcept
        : value_(value), data_(data), size_(size) {}

    lc_value* value_ = nullptr;
    const void* data_ = nullptr;
    std::size_t size_ = 0;
};

/** What get_ex found. */
struct Found {
    Value value{};
    /** How long it has still to live, ttl::none where it never expires; of a stale one, how long it may be served. */
    Ttl remaining{};
    /** LCACHE_FROM_L1 or LCACHE_FROM_L2, and LCACHE_STALE. */
    std::uint32_t flags = 0;

    /** Whether this process's memory answered. */
    bool from_l1() const noexcept { return (flags & LCACHE_FROM_L1) != 0; }
    /** Whether the server answered. */
    bool from_l2() const noexcept { return (flags & LCACHE_FROM_L2) != 0; }
    /** Whether it is past its proven freshness. */
    bool stale() const noexcept { return (flags & LCACHE_STALE) != 0; }
};

// --- Names

/**
 * Keys of common things, spelled alike in every language. An id is text or an integer.
 *
 *   cache.set(CacheKey::user(123), bytes, 5min);             // "user:123"
 *   cache.get(CacheKey::user_permissions(123));              // "user:123:permissions"
 *   cache.remove(CacheKey::custom("api", "rate-limit"));     // "api:rate-limit"
 */
class CacheKey {
public:
    /** Text, or an integer in decimal. */
    class Part {
    public:
        Part(std::string_view text) noexcept : text_(text) {}
        Part(const std::string& text) noexcept : text_(text) {}
        Part(const char* text) noexcept : text_(text ? text : "") {}
        template <class T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool> &&
                                                !std::is_same_v<T, char>, int> = 0>
        Part(T number) : digits_(std::to_string(number)), text_(digits_) {}
        Part(const Part&) = delete;
        Part& operator=(const Part&) = delete;
        std::string_view text() const noexcept { return text_; }

    private:
        std::string digits_;
        std::string_view text_;
    };

    static std::string user(const Part& id) { return join("user", id.text()); }
    static std::string token(const Part& id) { return join("token", id.text()); }
    static std::string permission(const Part& id) { return join("permission", id.text()); }
    static std::string role(const Part& id) { return join("role", id.text()); }
    static std::string session(const Part& id) { return join("session", id.text()); }
    static std::string user_permissions(const Part& id) { return join("user", id.text(), ":permissions"); }
    static std::string user_roles(const Part& id) { return join("user", id.text(), ":roles"); }
    static std::string custom(const Part& ns, const Part& id) { return join(ns.text(), id.text()); }

private:
    static std::string join(std::string_view ns, std::string_view id, std::string_view tail = {}) {
        std::string key;
        key.reserve(ns.size() + 1 + id.size() + tail.size());
        return key.append(ns).append(1, ':').append(id).append(tail);
    }
};

// --- Cache

/** The three kinds of cache. */
enum class Kind : std::int32_t { local = LCACHE_LOCAL, redis = LCACHE_REDIS, hybrid = LCACHE_HYBRID };

/** The counters of one cache, field by field as lighter_cache.h tells. */
using Stats = lc_stats;

/** Options by name, as in a URL but without percent-encoding: {{"shards", "16"}, {"default_ttl", "5m"}}. */
using Options = std::map<std::string, std::string>;

/** One option, for the noexcept forms. */
struct Option {
    const char* name;
    const char* value;
};

namespace detail {

inline lc_bytes raw(const Bytes& bytes) noexcept { return {bytes.data(), bytes.size()}; }

/** Whether bytes seen through a T that a range makes on the fly outlive it. */
template <class T>
inline constexpr bool is_view = std::is_lvalue_reference_v<T> || std::is_same_v<T, Bytes> ||
                                std::is_same_v<T, std::string_view> || std::is_same_v<T, const char*>;
template <class A, class B>
inline constexpr bool is_view<std::pair<A, B>> = is_view<A> && is_view<B>;

template <class Range>
inline constexpr bool lasts = is_view<decltype(*std::begin(std::declval<const Range&>()))>;

}  // namespace detail

// --- Loaders and visitors

/** Where a loader puts what it has loaded, while it runs. */
class Sink {
public:
    /** Of the C API; stays the library's. */
    explicit Sink(lc_sink* sink) noexcept : sink_(sink) {}
    Sink(const Sink&) = delete;
    Sink& operator=(const Sink&) = delete;

    /** Gives the value, which is copied. The last call counts. */
    [[nodiscard]] lc_status set(Bytes value) noexcept { return lc_sink_set(sink_, value.data(), value.size()); }
    /** How it is to be stored, where the loader knows better than the caller of get_or_load. */
    [[nodiscard]] lc_status set_options(const SetOptions& options) noexcept {
        const detail::RawOptions raw(options);
        return raw.complete(options) ? lc_sink_set_options(sink_, raw.get(), sizeof *raw.get()) : LCACHE_ENOMEM;
    }

private:
    lc_sink* sink_;
};

namespace detail {

inline std::string_view text(const void* data, std::size_t size) noexcept {
    return {static_cast<const char*>(data), size};
}

inline lc_status give(Bytes loaded, Sink& sink) noexcept { return sink.set(loaded); }
template <class T>
lc_status give(const std::optional<T>& loaded, Sink& sink) noexcept {
    return loaded ? sink.set(*loaded) : LCACHE_MISS;
}

/** Calls a loader, whichever of its three forms it has. */
template <class F>
lc_status load_by(F& load, std::string_view key, Sink& sink) {
    if constexpr (std::is_invocable_r_v<lc_status, F&, std::string_view, Sink&>) {
        return load(key, sink);
    } else if constexpr (std::is_invocable_v<F&, std::string_view>) {
        return give(load(key), sink);
    } else {
        return give(load(), sink);
    }
}

/** Shows a key; what the function returns, if anything, says whether to go on. */
template <class F>
std::int32_t visit_by(F& visit, std::string_view key) {
    if constexpr (std::is_void_v<decltype(visit(key))>) {
        visit(key);
        return 0;
    } else {
        return visit(key) ? 0 : 1;
    }
}

/** A function of the program, for the duration of a call; it need not be an object. */
template <class F>
struct Borrowed {
    F& function;
};

/**
 * What the library calls for the noexcept forms. `Catches` keeps the two versions apart where a program links
 * files that were compiled with and without exceptions.
 */
template <class F, bool Catches = LIGHTER_CACHE_HAS_EXCEPTIONS != 0>
lc_status load_call(void* ctx, const void* key, std::size_t key_len, lc_sink* out) noexcept {
    Sink sink(out);
#if LIGHTER_CACHE_HAS_EXCEPTIONS
    try {
#endif
        return load_by(static_cast<Borrowed<F>*>(ctx)->function, text(key, key_len), sink);
#if LIGHTER_CACHE_HAS_EXCEPTIONS
    } catch (...) {
        return LCACHE_ELOADER;
    }
#endif
}

template <class F>
std::int32_t visit_call(void* ctx, const void* key, std::size_t key_len) noexcept {
    return visit_by(static_cast<Borrowed<F>*>(ctx)->function, text(key, key_len));
}

#if LIGHTER_CACHE_HAS_EXCEPTIONS
/** A borrowed function, and what it threw: kept on this side of the library until the call is over. */
template <class F>
struct Caught {
    F& function;
    std::exception_ptr thrown{};

    static lc_status load(void* ctx, const void* key, std::size_t key_len, lc_sink* out) noexcept {
        auto& self = *static_cast<Caught*>(ctx);
        Sink sink(out);
        try {
            return load_by(self.function, text(key, key_len), sink);
        } catch (...) {
            self.thrown = std::current_exception();
            return LCACHE_ELOADER;
        }
    }
    static std::int32_t visit(void* ctx, const void* key, std::size_t key_len) noexcept {
        auto& self = *static_cast<Caught*>(ctx);
        try {
            return visit_by(self.function, text(key, key_len));
        } catch (...) {
            self.thrown = std::current_exception();
            return 1;
        }
    }
};
#endif

}  // namespace detail

// --- Lock

/**
 * A lock that is held until it is released, destroyed, or its lease runs out. Moves only.
 *
 * A Lock made by default, moved from or released is empty: it is none, and what is asked of it is LCACHE_EINVAL.
 */
class Lock {
public:
    Lock() noexcept = default;
    Lock(Lock&& other) noexcept : lock_(other.release_to_c()) {}
    Lock& operator=(Lock&& other) noexcept {
        if (this != &other) {
            give_back();
            lock_ = other.release_to_c();
        }
        return *this;
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock() { give_back(); }

    /** Takes over a lock of the C API; NULL is none. */
    static Lock adopt(lc_lock* lock) noexcept {
        Lock adopted;
        adopted.lock_ = lock;
        return adopted;
    }
    /** Gives the lock away, to be released with lc_lock_release. */
    lc_lock* release_to_c() noexcept { return std::exchange(lock_, nullptr); }

    /** Whether this holds a lock, as far as this object knows: its lease may have run out. */
    explicit operator bool() const noexcept { return lock_ != nullptr; }
    /** A number that grows with every acquisition of the lock's name; 0 of an empty one. */
    std::uint64_t fence() const noexcept { return lc_lock_fence(lock_); }
    /** Begins a new lease. LCACHE_OK, or LCACHE_LOST where the lease had run out. */
    [[nodiscard]] lc_status try_extend(std::chrono::milliseconds lease) noexcept {
        return lc_lock_extend(lock_, detail::to_ms(lease));
    }
    /** Gives the lock back; this is empty on every outcome. LCACHE_OK, or LCACHE_LOST. */
    [[nodiscard]] lc_status try_release() noexcept { return lc_lock_release(release_to_c()); }

#if LIGHTER_CACHE_HAS_EXCEPTIONS
    /** Begins a new lease; false where the lease had run out. */
    bool extend(std::chrono::milliseconds lease) { return detail::check(try_extend(lease)) == LCACHE_OK; }
    /** Gives the lock back; false where the lease had run out. This is empty on every outcome. */
    bool release() { return detail::check(try_release()) == LCACHE_OK; }
#endif

private:
    void give_back() noexcept {
        if (lock_) (void)try_release();
    }

    lc_lock* lock_ = nullptr;
};

// --- Events

/** What may happen to a cache or to a key without a call. Combine with |. */
enum class Event : std::uint32_t {
    invalidated = LCACHE_EVENT_INVALIDATED,
    evicted = LCACHE_EVENT_EVICTED,
    expired = LCACHE_EVENT_EXPIRED,
    degraded = LCACHE_EVENT_DEGRADED,
    recovered = LCACHE_EVENT_RECOVERED
};
constexpr Event operator|(Event a, Event b) noexcept {
    return static_cast<Event>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}

namespace detail {

/** What the library calls: nothing that the program throws gets back into it. `Catches` as for load_call. */
template <class F, bool Catches = LIGHTER_CACHE_HAS_EXCEPTIONS != 0>
void event_call(void* ctx, std::int32_t event, const void* key, std::size_t key_len) noexcept {
#if LIGHTER_CACHE_HAS_EXCEPTIONS
    try {
#endif
        (*static_cast<F*>(ctx))(static_cast<Event>(event), text(key, key_len));
#if LIGHTER_CACHE_HAS_EXCEPTIONS
    } catch (...) {
        // It has no caller who could be told.
    }
#endif
}

/** What the library calls when it does not need a function any more. */
template <class F>
void destroy_function(void* ctx) noexcept {
    delete static_cast<F*>(ctx);
}

}  // namespace detail

/**
 * A subscription to events, until it is ended or destroyed. Moves only.
 *
 * It has a handle of its own, so that the cache stays open as long as it lasts.
 */
class Subscription {
public:
    Subscription() noexcept = default;
    Subscription(Subscription&& other) noexcept
        : handle_(std::exchange(other.handle_, 0)), id_(std::exchange(other.id_, 0)) {}
    Subscription& operator=(Subscription&& other) noexcept {
        if (this != &other) {
            end();
            handle_ = std::exchange(other.handle_, 0);
            id_ = std::exchange(other.id_, 0);
        }
        return *this;
    }
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;
    ~Subscription() { end(); }

    /** Whether it is one that was not ended. */
    explicit operator bool() const noexcept { return handle_ != 0; }
    /**
     * Ends it now: afterwards its function is not running and is not called again (but goes on to its end where
     * it calls this itself). Nothing happens where it is ended already.
     */
    void end() noexcept {
        if (handle_ == 0) return;
        lc_unsubscribe(handle_, id_);
        lc_close(std::exchange(handle_, 0));
    }

private:
    friend class Cache;
    Subscription(lc_cache handle, std::uint64_t id) noexcept : handle_(handle), id_(id) {}

    lc_cache handle_ = 0;
    std::uint64_t id_ = 0;
};

/** The outcome of a compare_and_set. */
enum class Swap : std::int32_t {
    /** The value was the expected one, and is now the new one. */
    done = LCACHE_OK,
    /** The value is another: nothing was stored. */
    conflict = LCACHE_CONFLICT,
    /** There is none: nothing was stored. */
    absent = LCACHE_MISS
};

// --- The cache

/**
 * An open cache, of whichever kind. Moves only; the destructor closes it.
 *
 * A Cache made by default, moved from or closed is empty: every call on it gives LCACHE_EHANDLE.
 *
 * Which call blocks and for how long is the same as in C: Local never, Redis up to the option timeout, Hybrid
 * up to l2_timeout where it has to ask the server, each for every round trip. So are the statuses.
 */
class Cache {
public:
    Cache() noexcept = default;
    Cache(Cache&& other) noexcept : handle_(other.release()) {}
    Cache& operator=(Cache&& other) noexcept {
        if (this != &other) {
            close();
            handle_ = other.release();
        }
        return *this;
    }
    Cache(const Cache&) = delete;
    Cache& operator=(const Cache&) = delete;
    ~Cache() { close(); }

    /** Takes over a handle of the C API. */
    static Cache adopt(lc_cache handle) noexcept {
        Cache cache;
        cache.handle_ = handle;
        return cache;
    }
    /** The handle as the C API knows it; stays this Cache's. */
    lc_cache handle() const noexcept { return handle_; }
    /** Gives the handle away, to be closed with lc_close. */
    lc_cache release() noexcept { return std::exchange(handle_, 0); }
    /** Whether it is open, as far as this object knows. */
    explicit operator bool() const noexcept { return handle_ != 0; }
    /** Closes now. The last handle of a cache frees its content. Nothing happens where it is empty. */
    lc_status close() noexcept { return handle_ ? lc_close(release()) : LCACHE_OK; }

    // Opening, the noexcept forms. `out` is replaced (what it held is closed) on LCACHE_OK only.

    /** Opens what the URL names; null asks the environment: LIGHTER_CACHE_URL, else REDIS_URL, else "local:". */
    [[nodiscard]] static lc_status try_open(const char* url, Cache& out) noexcept {
        lc_cache handle = 0;
        const lc_status status = lc_open(url, &handle);
        return out.take(status, handle);
    }
    /** With options, which override the URL's. */
    [[nodiscard]] static lc_status try_open(const char* url, const Option* options, std::size_t n,
                                            Cache& out) noexcept {
        const std::unique_ptr<lc_config, void (*)(lc_config*)> config(lc_config_new(url), lc_config_free);
        if (!config) return LCACHE_ENOMEM;
        for (const Option* option = options; option != options + n; ++option) {
            const lc_status status = lc_config_set(config.get(), option->name, option->value);
            if (status != LCACHE_OK) return status;
        }
        lc_cache handle = 0;
        const lc_status status = lc_config_open(config.get(), &handle);
        return out.take(status, handle);
    }
    [[nodiscard]] static lc_status try_open(const char* url, std::initializer_list<Option> options,
                                            Cache& out) noexcept {
        return try_open(url, options.begin(), options.size(), out);
    }
    /** A Local cache without bounds. */
    [[nodiscard]] static lc_status try_local(Cache& out) noexcept { return try_open("local:", out); }
    /** A Hybrid of two open caches, which stay open and the caller's; options: "watchdog=2s&l2_timeout=100ms". */
    [[nodiscard]] static lc_status try_open_hybrid(const Cache& l1, const Cache& l2, const char* options,
                                                   Cache& out) noexcept {
        if (!l2) return lc_ping(l2.handle_);  // an empty Cache is a mistake, and not "without an L2"
        lc_cache handle = 0;
        const lc_status status = lc_open_hybrid(l1.handle_, l2.handle_, options, &handle);
        return out.take(status, handle);
    }
    /** A Hybrid that has no L2 and works on l1 alone. */
    [[nodiscard]] static lc_status try_open_hybrid(const Cache& l1, const char* options, Cache& out) noexcept {
        lc_cache handle = 0;
        const lc_status status = lc_open_hybrid(l1.handle_, 0, options, &handle);
        return out.take(status, handle);
    }
    /** Is the URL valid? Opens nothing. What is wrong with it goes to message, at most cap bytes with the NUL. */
    [[nodiscard]] static lc_status try_check(const char* url, char* message, std::size_t cap) noexcept {
        return lc_check(url, message, cap);
    }
    /** Another handle to the same cache, which lives until its last is closed. */
    [[nodiscard]] lc_status try_dup(Cache& out) const noexcept {
        lc_cache handle = 0;
        const lc_status status = lc_dup(handle_, &handle);
        return out.take(status, handle);
    }

    // Operations, the noexcept forms. Where not said otherwise: LCACHE_OK, or an error.

    /** LCACHE_OK or LCACHE_MISS. On every outcome but LCACHE_OK `value` holds nothing afterwards. */
    [[nodiscard]] lc_status try_get(Bytes key, Value& value) const noexcept {
        Value found;
        const lc_status status =
            lc_get(handle_, key.data(), key.size(), &found.value_, &found.data_, &found.size_);
        value = std::move(found);
        return status;
    }
    /** Copies into a buffer. LCACHE_OK, LCACHE_MISS, or LCACHE_ERANGE: nothing copied, `size` is what it takes. */
    [[nodiscard]] lc_status try_get_into(Bytes key, void* buffer, std::size_t capacity,
                                         std::size_t& size) const noexcept {
        return lc_get_into(handle_, key.data(), key.size(), buffer, capacity, &size);
    }
    [[nodiscard]] lc_status try_set(Bytes key, Bytes value, Ttl ttl = {}) noexcept {
        return lc_set(handle_, key.data(), key.size(), value.data(), value.size(), ttl.c_value());
    }
    /** LCACHE_OK, or LCACHE_MISS where there was none. */
    [[nodiscard]] lc_status try_remove(Bytes key) noexcept { return lc_delete(handle_, key.data(), key.size()); }
    /** LCACHE_OK or LCACHE_MISS. */
    [[nodiscard]] lc_status try_exists(Bytes key) const noexcept {
        return lc_exists(handle_, key.data(), key.size());
    }
    [[nodiscard]] lc_status try_clear() noexcept { return lc_clear(handle_); }
    /** LCACHE_OK or LCACHE_MISS. */
    [[nodiscard]] lc_status try_ttl(Bytes key, Ttl& remaining) const noexcept {
        std::uint64_t ms = 0;
        const lc_status status = lc_ttl(handle_, key.data(), key.size(), &ms);
        if (status == LCACHE_OK) remaining = Ttl::from_c(ms);
        return status;
    }
    /** LCACHE_OK or LCACHE_MISS. */
    [[nodiscard]] lc_status try_expire(Bytes key, Ttl ttl) noexcept {
        return lc_expire(handle_, key.data(), key.size(), ttl.c_value());
    }
    /** `keys`: a sized range of what a Bytes is made from. `values`: as many places; one of a miss holds nothing. */
    template <class Keys>
    [[nodiscard]] lc_status try_get_many(const Keys& keys, Value* values, std::size_t& hits) const noexcept {
        const std::size_t n = std::size(keys);
        const auto names = raw_keys(keys, n);
        const auto found = detail::allocate<lc_value*>(n);
        const lc_status status =
            names && found ? lc_get_many(handle_, names.get(), n, found.get(), &hits) : LCACHE_ENOMEM;
        for (std::size_t i = 0; i < n; ++i) values[i] = Value::adopt(status == LCACHE_OK ? found[i] : nullptr);
        return status;
    }
    /** `items`: a sized range of pairs, such as a std::map, of what a Bytes is made from. */
    template <class Items>
    [[nodiscard]] lc_status try_set_many(const Items& items, Ttl ttl = {}) noexcept {
        static_assert(detail::lasts<Items>, "the range makes its elements on the fly: they end before the call");
        const std::size_t n = std::size(items);
        const auto names = detail::allocate<lc_bytes>(n), values = detail::allocate<lc_bytes>(n);
        if (!names || !values) return LCACHE_ENOMEM;
        std::size_t i = 0;
        for (const auto& item : items) {
            names[i] = detail::raw(item.first);
            values[i++] = detail::raw(item.second);
        }
        return lc_set_many(handle_, names.get(), values.get(), n, ttl.c_value());
    }
    template <class Keys>
    [[nodiscard]] lc_status try_remove_many(const Keys& keys, std::size_t& removed) noexcept {
        const std::size_t n = std::size(keys);
        const auto names = raw_keys(keys, n);
        return names ? lc_delete_many(handle_, names.get(), n, &removed) : LCACHE_ENOMEM;
    }
    /** With a stale window, tags or a deadline. */
    template <class O, std::enable_if_t<std::is_same_v<O, SetOptions>, int> = 0>
    [[nodiscard]] lc_status try_set(Bytes key, Bytes value, const O& options) noexcept {
        const detail::RawOptions raw(options);
        if (!raw.complete(options)) return LCACHE_ENOMEM;
        return lc_set_ex(handle_, key.data(), key.size(), value.data(), value.size(), raw.get(), sizeof *raw.get());
    }
    /** LCACHE_OK or LCACHE_MISS. On every outcome but LCACHE_OK `found` holds nothing afterwards. */
    [[nodiscard]] lc_status try_get_ex(Bytes key, std::chrono::milliseconds timeout, Found& found) const noexcept {
        lc_get_options options = LCACHE_GET_OPTIONS_INIT;
        options.timeout_ms = detail::timeout_ms(timeout);
        lc_get_result result{};
        const lc_status status =
            lc_get_ex(handle_, key.data(), key.size(), &options, sizeof options, &result, sizeof result);
        found.value = Value(result.value, result.data, result.len);
        found.remaining = Ttl::from_c(result.ttl_ms);
        found.flags = result.flags;
        return status;
    }
    [[nodiscard]] lc_status try_get_ex(Bytes key, Found& found) const noexcept {
        return try_get_ex(key, std::chrono::milliseconds(0), found);
    }
    /** LCACHE_OK, or LCACHE_EXISTS where the key was there: nothing stored. */
    [[nodiscard]] lc_status try_add(Bytes key, Bytes value, Ttl ttl = {}) noexcept {
        return lc_add(handle_, key.data(), key.size(), value.data(), value.size(), ttl.c_value());
    }
    /** LCACHE_OK, or LCACHE_MISS where there is none: nothing stored. */
    [[nodiscard]] lc_status try_replace(Bytes key, Bytes value, Ttl ttl = {}) noexcept {
        return lc_replace(handle_, key.data(), key.size(), value.data(), value.size(), ttl.c_value());
    }
    /** LCACHE_OK; LCACHE_CONFLICT where the value is another, LCACHE_MISS where there is none: nothing stored. */
    [[nodiscard]] lc_status try_compare_and_set(Bytes key, Bytes expected, Bytes value, Ttl ttl = {}) noexcept {
        return lc_compare_and_set(handle_, key.data(), key.size(), expected.data(), expected.size(), value.data(),
                                  value.size(), ttl.c_value());
    }
    /** The ttl is for a key that this call creates. */
    [[nodiscard]] lc_status try_incr(Bytes key, std::int64_t delta, Ttl ttl, std::int64_t& sum) noexcept {
        return lc_incr(handle_, key.data(), key.size(), delta, ttl.c_value(), &sum);
    }
    [[nodiscard]] lc_status try_incr(Bytes key, std::int64_t delta, std::int64_t& sum) noexcept {
        return try_incr(key, delta, Ttl(), sum);
    }
    /** INT64_MIN, whose negative is no 64-bit integer, is LCACHE_EINVAL, without a message. */
    [[nodiscard]] lc_status try_decr(Bytes key, std::int64_t delta, Ttl ttl, std::int64_t& sum) noexcept {
        return delta == INT64_MIN ? LCACHE_EINVAL : try_incr(key, -delta, ttl, sum);
    }
    [[nodiscard]] lc_status try_decr(Bytes key, std::int64_t delta, std::int64_t& sum) noexcept {
        return try_decr(key, delta, Ttl(), sum);
    }
    /** LCACHE_OK, also where no value carries the tag. */
    [[nodiscard]] lc_status try_invalidate_tag(Bytes tag) noexcept {
        return lc_invalidate_tag(handle_, tag.data(), tag.size());
    }
    /** An empty prefix means all keys. */
    [[nodiscard]] lc_status try_delete_prefix(Bytes prefix, std::size_t& deleted) noexcept {
        return lc_delete_prefix(handle_, prefix.data(), prefix.size(), &deleted);
    }
    /** As for_each_key; what `visit` throws ends the program. */
    template <class F>
    [[nodiscard]] lc_status try_for_each_key(Bytes prefix, F&& visit) const noexcept {
        using Function = std::remove_reference_t<F>;
        detail::Borrowed<Function> borrowed{visit};
        return lc_foreach_key(handle_, prefix.data(), prefix.size(), &detail::visit_call<Function>, &borrowed);
    }
    /** LCACHE_OK; LCACHE_MISS where there is none; LCACHE_ELOADER where the loader fails or throws. See get_or_load. */
    template <class F>
    [[nodiscard]] lc_status try_get_or_load(Bytes key, const SetOptions& options, F&& loader, Value& value) noexcept {
        using Function = std::remove_reference_t<F>;
        detail::Borrowed<Function> borrowed{loader};
        return load_through(key, options, &detail::load_call<Function>, &borrowed, value);
    }
    template <class F>
    [[nodiscard]] lc_status try_get_or_load(Bytes key, F&& loader, Value& value) noexcept {
        return try_get_or_load(key, SetOptions(), loader, value);
    }
    /** LCACHE_OK, or LCACHE_BUSY where others held it all that time. `lock` is replaced on LCACHE_OK only. */
    [[nodiscard]] lc_status try_lock(Bytes name, std::chrono::milliseconds lease, std::chrono::milliseconds wait,
                                     Lock& lock) noexcept {
        lc_lock* taken = nullptr;
        const lc_status status = lc_lock_acquire(handle_, name.data(), name.size(), detail::to_ms(lease),
                                                 detail::to_ms(wait), &taken);
        if (status == LCACHE_OK) lock = Lock::adopt(taken);
        return status;
    }
    /** `keys`: a sized range of what a Bytes is made from. On a Hybrid only. */
    template <class Keys>
    [[nodiscard]] lc_status try_warm(const Keys& keys, std::size_t& loaded) noexcept {
        const std::size_t n = std::size(keys);
        const auto names = raw_keys(keys, n);
        return names ? lc_warm(handle_, names.get(), n, &loaded) : LCACHE_ENOMEM;
    }
    /** On a Hybrid only. */
    [[nodiscard]] lc_status try_warm_prefix(Bytes prefix, std::size_t limit, std::size_t& loaded) noexcept {
        return lc_warm_prefix(handle_, prefix.data(), prefix.size(), limit, &loaded);
    }
    /** On a Local cache only. */
    [[nodiscard]] lc_status try_save(const char* path, std::size_t& entries) const noexcept {
        return lc_save(handle_, path, &entries);
    }
    /** On a Local cache only. */
    [[nodiscard]] lc_status try_load(const char* path, std::size_t& entries) noexcept {
        return lc_load(handle_, path, &entries);
    }
    /** On every outcome but LCACHE_OK `text` holds nothing afterwards. */
    [[nodiscard]] lc_status try_metrics(Value& text) const noexcept {
        lc_value* found = nullptr;
        const lc_status status = lc_metrics(handle_, &found);
        text = Value::adopt(found);
        return status;
    }
    /** As subscribe. `subscription` is replaced (what it was is ended) on LCACHE_OK only. */
    template <class F>
    [[nodiscard]] lc_status try_subscribe(Event events, F&& f, Subscription& subscription) noexcept {
        using Function = std::decay_t<F>;
        static_assert(std::is_nothrow_constructible_v<Function, F&&>, "moving (std::move) or copying it must not throw");
        auto* const function = new (std::nothrow) Function(std::forward<F>(f));
        return function ? subscribe_through(events, function, subscription) : LCACHE_ENOMEM;
    }
    [[nodiscard]] lc_status try_stats(Stats& stats) const noexcept {
        return lc_stats_get(handle_, &stats, sizeof stats);
    }
    [[nodiscard]] lc_status try_count(std::uint64_t& entries) const noexcept { return lc_count(handle_, &entries); }
    [[nodiscard]] lc_status try_kind(Kind& kind) const noexcept {
        std::int32_t number = 0;
        const lc_status status = lc_kind(handle_, &number);
        if (status == LCACHE_OK) kind = static_cast<Kind>(number);
        return status;
    }
    [[nodiscard]] lc_status try_ping() const noexcept { return lc_ping(handle_); }

#if LIGHTER_CACHE_HAS_EXCEPTIONS
    // Opening

    /** Opens what the URL names; without one, what the environment says (try_open). Options override the URL's. */
    [[nodiscard]] static Cache open(const char* url = nullptr, const Options& options = {}) {
        Cache cache;
        if (options.empty()) {
            detail::check(try_open(url, cache));
            return cache;
        }
        std::vector<Option> list;
        list.reserve(options.size());
        for (const auto& option : options) list.push_back({text(option.first), text(option.second)});
        detail::check(try_open(url, list.data(), list.size(), cache));
        return cache;
    }
    [[nodiscard]] static Cache open(const std::string& url, const Options& options = {}) {
        return open(text(url), options);
    }
    /** A Local cache. */
    [[nodiscard]] static Cache local(const Options& options = {}) { return open("local:", options); }
    /** A Hybrid of two open caches, which stay open and the caller's; options: "watchdog=2s&l2_timeout=100ms". */
    [[nodiscard]] static Cache open_hybrid(const Cache& l1, const Cache& l2, const char* options = nullptr) {
        Cache cache;
        detail::check(try_open_hybrid(l1, l2, options, cache));
        return cache;
    }
    /** A Hybrid that has no L2 and works on l1 alone. */
    [[nodiscard]] static Cache open_hybrid(const Cache& l1, const char* options = nullptr) {
        Cache cache;
        detail::check(try_open_hybrid(l1, options, cache));
        return cache;
    }
    /** Throws the Error that open would throw over this URL, and opens nothing. */
    static void check(const char* url) { detail::check(lc_check(url, nullptr, 0)); }
    static void check(const std::string& url) { check(text(url)); }
    /** Another handle to the same cache, which lives until its last is closed. */
    [[nodiscard]] Cache dup() const {
        Cache cache;
        detail::check(try_dup(cache));
        return cache;
    }

    // Operations

    /** The value, or nothing on a miss. */
    [[nodiscard]] std::optional<Value> get(Bytes key) const {
        Value value;
        if (detail::check(try_get(key, value)) != LCACHE_OK) return std::nullopt;
        return value;
    }
    /** Copies the value into a buffer and returns its size; nothing is copied where that is above the capacity. */
    [[nodiscard]] std::optional<std::size_t> get_into(Bytes key, void* buffer, std::size_t capacity) const {
        std::size_t size = 0;
        const lc_status status = try_get_into(key, buffer, capacity, size);
        if (status == LCACHE_ERANGE || detail::check(status) == LCACHE_OK) return size;
        return std::nullopt;
    }
    /** Stores a value for this long. */
    void set(Bytes key, Bytes value, Ttl ttl = {}) { detail::check(try_set(key, value, ttl)); }
    /** Removes a key; says whether it was there. ("delete" is a word of the language.) */
    bool remove(Bytes key) { return detail::check(try_remove(key)) == LCACHE_OK; }
    /** Whether the key is there. Counts as neither hit nor miss and refreshes nothing. */
    [[nodiscard]] bool exists(Bytes key) const { return detail::check(try_exists(key)) == LCACHE_OK; }
    /** Removes all that is under this cache's prefix, and nothing else. */
    void clear() { detail::check(try_clear()); }
    /** How long the key has still to live, ttl::none where it never expires; nothing where it is absent. */
    [[nodiscard]] std::optional<Ttl> ttl(Bytes key) const {
        Ttl remaining;
        if (detail::check(try_ttl(key, remaining)) != LCACHE_OK) return std::nullopt;
        return remaining;
    }
    /** Gives the key a new time to live and keeps its value; false where it is absent. */
    bool expire(Bytes key, Ttl ttl) { return detail::check(try_expire(key, ttl)) == LCACHE_OK; }

    /** The values of a sized range of keys, in its order: one round trip, not atomic. */
    template <class Keys>
    [[nodiscard]] std::vector<std::optional<Value>> get_many(const Keys& keys) const {
        std::vector<Value> found(std::size(keys));
        std::vector<std::optional<Value>> values(found.size());
        std::size_t hits = 0;
        detail::check(try_get_many(keys, found.data(), hits));
        for (std::size_t i = 0; i < found.size(); ++i)
            if (found[i]) values[i] = std::move(found[i]);
        return values;
    }
    [[nodiscard]] std::vector<std::optional<Value>> get_many(std::initializer_list<Bytes> keys) const {
        return get_many<>(keys);
    }
    /** Stores a sized range of pairs, such as a std::map, with one TTL: one round trip, not atomic. */
    template <class Items>
    void set_many(const Items& items, Ttl ttl = {}) {
        detail::check(try_set_many(items, ttl));
    }
    void set_many(std::initializer_list<std::pair<Bytes, Bytes>> items, Ttl ttl = {}) { set_many<>(items, ttl); }
    /** Removes a sized range of keys, says how many were there: one round trip, not atomic. */
    template <class Keys>
    std::size_t remove_many(const Keys& keys) {
        std::size_t removed = 0;
        detail::check(try_remove_many(keys, removed));
        return removed;
    }
    std::size_t remove_many(std::initializer_list<Bytes> keys) { return remove_many<>(keys); }

    /** Stores a value with a stale window, tags or a deadline. */
    template <class O, std::enable_if_t<std::is_same_v<O, SetOptions>, int> = 0>
    void set(Bytes key, Bytes value, const O& options) {
        detail::check(try_set(key, value, options));
    }
    /** The value, how long it has still to live, which tier answered, and whether it is past its proven freshness. */
    [[nodiscard]] std::optional<Found> get_ex(Bytes key,
                                              std::chrono::milliseconds timeout = std::chrono::milliseconds(0)) const {
        Found found;
        if (detail::check(try_get_ex(key, timeout, found)) != LCACHE_OK) return std::nullopt;
        return found;
    }
    /** Stores a value where the key is absent, and says whether it did. Atomic. */
    bool add(Bytes key, Bytes value, Ttl ttl = {}) { return detail::check(try_add(key, value, ttl)) == LCACHE_OK; }
    /** Stores a value where the key is there, and says whether it did. Atomic. */
    bool replace(Bytes key, Bytes value, Ttl ttl = {}) {
        return detail::check(try_replace(key, value, ttl)) == LCACHE_OK;
    }
    /** Stores a value where the present one is the expected one. Atomic. */
    Swap compare_and_set(Bytes key, Bytes expected, Bytes value, Ttl ttl = {}) {
        return static_cast<Swap>(detail::check(try_compare_and_set(key, expected, value, ttl)));
    }
    /** Adds to a number in decimal digits, and returns the sum; an absent key counts as 0 and is given the ttl. */
    std::int64_t incr(Bytes key, std::int64_t delta = 1, Ttl ttl = {}) {
        std::int64_t sum = 0;
        detail::check(try_incr(key, delta, ttl, sum));
        return sum;
    }
    /** Subtracts, as incr adds. */
    std::int64_t decr(Bytes key, std::int64_t delta = 1, Ttl ttl = {}) {
        if (delta == INT64_MIN) throw Error(LCACHE_EINVAL, "the negative of INT64_MIN is no 64-bit integer");
        return incr(key, -delta, ttl);
    }

    /** Makes all values that carry the tag absent, at a cost that does not grow with their number. */
    void invalidate_tag(Bytes tag) { detail::check(try_invalidate_tag(tag)); }
    /** Removes all keys that begin with the prefix (all keys, where it is empty); says how many there were. */
    std::size_t delete_prefix(Bytes prefix) {
        std::size_t deleted = 0;
        detail::check(try_delete_prefix(prefix, deleted));
        return deleted;
    }
    /**
     * Calls visit(std::string_view key) for the keys that begin with the prefix (all keys, where it is empty), in no
     * order. A visit that returns false ends it, and so does one that throws: the exception comes out of here. It
     * runs on this thread and may use the cache; the key is valid during the call only. Redis may name a key twice.
     */
    template <class F>
    void for_each_key(Bytes prefix, F&& visit) const {
        using Caught = detail::Caught<std::remove_reference_t<F>>;
        Caught caught{visit};
        const lc_status status = lc_foreach_key(handle_, prefix.data(), prefix.size(), &Caught::visit, &caught);
        if (caught.thrown) std::rethrow_exception(caught.thrown);
        detail::check(status);
    }

    /**
     * The value; where there is none, `loader` is called and what it returns is stored. However many ask for one key
     * at a time, one of them loads, and the others wait for what it gets. Nothing where the loader says that there
     * is none.
     *
     *   cache.get_or_load("user:1", 5min, [&] { return read_from_database(1); });
     *
     * It is loader() or loader(std::string_view key), either of which returns bytes (std::string, std::vector, ...)
     * or a std::optional of them, empty for "there is none"; or lc_status loader(std::string_view key, Sink& sink),
     * which calls sink.set and returns LCACHE_OK, or returns LCACHE_MISS. It runs on this thread and may use the
     * cache, but not load its own key. What it throws comes out of here as it was thrown, unless a stale value is
     * served in its place; who waited for it gets an Error with LCACHE_ELOADER.
     */
    template <class F>
    [[nodiscard]] std::optional<Value> get_or_load(Bytes key, const SetOptions& options, F&& loader) {
        using Caught = detail::Caught<std::remove_reference_t<F>>;
        Caught caught{loader};
        Value value;
        const lc_status status = load_through(key, options, &Caught::load, &caught, value);
        if (status < 0 && caught.thrown) std::rethrow_exception(caught.thrown);
        if (detail::check(status) != LCACHE_OK) return std::nullopt;
        return value;
    }
    template <class F>
    [[nodiscard]] std::optional<Value> get_or_load(Bytes key, F&& loader) {
        return get_or_load(key, SetOptions(), loader);
    }

    /**
     * Takes the lock of this name, and waits for it that long; nothing where others held it all the time. It is held
     * until the Lock is released or destroyed, and no longer than the lease.
     */
    [[nodiscard]] std::optional<Lock> lock(Bytes name, std::chrono::milliseconds lease,
                                           std::chrono::milliseconds wait = std::chrono::milliseconds(0)) {
        Lock taken;
        if (detail::check(try_lock(name, lease, wait, taken)) != LCACHE_OK) return std::nullopt;
        return taken;
    }

    /** Reads a sized range of keys from L2 into L1, says how many were there. On a Hybrid only. */
    template <class Keys>
    std::size_t warm(const Keys& keys) {
        std::size_t loaded = 0;
        detail::check(try_warm(keys, loaded));
        return loaded;
    }
    std::size_t warm(std::initializer_list<Bytes> keys) { return warm<>(keys); }
    /** As warm, for up to so many keys that begin with the prefix. */
    std::size_t warm_prefix(Bytes prefix, std::size_t limit = SIZE_MAX) {
        std::size_t loaded = 0;
        detail::check(try_warm_prefix(prefix, limit, loaded));
        return loaded;
    }
    /** Writes all entries to a file, which appears complete or not at all; says how many. On a Local cache only. */
    std::size_t save(const std::string& path) const {
        std::size_t entries = 0;
        detail::check(try_save(text(path), entries));
        return entries;
    }
    /**
     * Stores the entries of a file that save wrote, less the time since; says how many. On a Local cache only. A
     * damaged file loads nothing and is an Error with LCACHE_ECORRUPT.
     */
    std::size_t load(const std::string& path) {
        std::size_t entries = 0;
        detail::check(try_load(text(path), entries));
        return entries;
    }

    /** The counters in the text format of Prometheus. Asks no server. */
    [[nodiscard]] Value metrics() const {
        Value text;
        detail::check(try_metrics(text));
        return text;
    }
    /**
     * Calls f(Event, std::string_view key) for these events from now on, until the Subscription ends.
     *
     * f runs on threads of the library; the key is empty where an event concerns none, and valid during the call
     * only; what f throws is dropped; in it, calls that may block give LCACHE_EREENTRANT. Events that come faster
     * than it hears them are dropped.
     */
    template <class F>
    [[nodiscard]] Subscription subscribe(Event events, F&& f) {
        auto function = std::make_unique<std::decay_t<F>>(std::forward<F>(f));
        Subscription subscription;
        detail::check(subscribe_through(events, function.release(), subscription));
        return subscription;
    }

    /** The counters. Asks no server. */
    [[nodiscard]] Stats stats() const {
        Stats stats;
        detail::check(try_stats(stats));
        return stats;
    }
    /** How many entries there are; on Redis under the prefix, by a scan. */
    [[nodiscard]] std::uint64_t count() const {
        std::uint64_t entries = 0;
        detail::check(try_count(entries));
        return entries;
    }
    [[nodiscard]] Kind kind() const {
        Kind kind{};
        detail::check(try_kind(kind));
        return kind;
    }
    /** Reaches the server; a Local cache has none to reach. */
    void ping() const { detail::check(try_ping()); }
#endif

private:
    lc_status take(lc_status status, lc_cache handle) noexcept {
        if (status == LCACHE_OK) *this = adopt(handle);
        return status;
    }

    template <class Keys>
    static detail::Array<lc_bytes> raw_keys(const Keys& keys, std::size_t n) noexcept {
        static_assert(detail::lasts<Keys>, "the range makes its keys on the fly: they end before the call");
        auto names = detail::allocate<lc_bytes>(n);
        std::size_t i = 0;
        if (names)
            for (const auto& key : keys) names[i++] = detail::raw(key);
        return names;
    }

    lc_status load_through(Bytes key, const SetOptions& options, lc_load_fn loader, void* ctx, Value& value) noexcept {
        Value found;
        const detail::RawOptions raw(options);
        const lc_status status =
            raw.complete(options)
                ? lc_get_or_load(handle_, key.data(), key.size(), raw.get(), sizeof *raw.get(), loader, ctx,
                                 &found.value_, &found.data_, &found.size_)
                : LCACHE_ENOMEM;
        value = std::move(found);
        return status;
    }

    /** Takes `function`, which the library destroys also where it refuses it. */
    template <class F>
    lc_status subscribe_through(Event events, F* function, Subscription& subscription) noexcept {
        lc_cache own = 0;
        std::uint64_t id = 0;
        const lc_status opened = lc_dup(handle_, &own);
        const lc_status status = lc_subscribe(own, static_cast<std::uint32_t>(events), &detail::event_call<F>,
                                              function, &detail::destroy_function<F>, &id);
        if (opened == LCACHE_OK && status != LCACHE_OK) lc_close(own);
        if (status == LCACHE_OK) subscription = Subscription(own, id);
        return opened == LCACHE_OK ? status : opened;
    }

#if LIGHTER_CACHE_HAS_EXCEPTIONS
    /** A NUL inside would end the text for the library, and the rest would go unseen. */
    static const char* text(const std::string& text) {
        if (text.find('\0') != std::string::npos) throw Error(LCACHE_EINVAL, "a URL, option or path has a NUL in it");
        return text.c_str();
    }
#endif

    lc_cache handle_ = 0;
};

// --- The whole process

/** How important a message is. */
enum class LogLevel : std::int32_t {
    error = LCACHE_LOG_ERROR,
    warn = LCACHE_LOG_WARN,
    info = LCACHE_LOG_INFO,
    debug = LCACHE_LOG_DEBUG,
    trace = LCACHE_LOG_TRACE
};

namespace detail {

/**
 * What the library calls: nothing that the program throws gets back into it. `Catches` keeps the two versions
 * apart where a program links files that were compiled with and without exceptions.
 */
template <class F, bool Catches = LIGHTER_CACHE_HAS_EXCEPTIONS != 0>
void log_call(void* ctx, std::int32_t level, const char* target, const char* message) noexcept {
#if LIGHTER_CACHE_HAS_EXCEPTIONS
    try {
#endif
        (*static_cast<F*>(ctx))(static_cast<LogLevel>(level), std::string_view(target), std::string_view(message));
#if LIGHTER_CACHE_HAS_EXCEPTIONS
    } catch (...) {
        // There is nobody to tell: this was the one who is told.
    }
#endif
}

}  // namespace detail

/**
 * Sets who hears what the library has to say: f(LogLevel, std::string_view target, std::string_view message).
 * For the whole process, so the program's to call, never a library's.
 *
 * f is called on any thread, on several at once; what it throws is dropped; in it, calls that may block give
 * LCACHE_EREENTRANT. It is destroyed once it is not called any more.
 */
template <class F>
[[nodiscard]] lc_status try_set_log_callback(LogLevel max_level, F&& f) noexcept {
    using Function = std::decay_t<F>;
    static_assert(std::is_nothrow_constructible_v<Function, F&&>, "moving (std::move) or copying it must not throw");
    auto* const state = new (std::nothrow) Function(std::forward<F>(f));
    if (!state) return LCACHE_ENOMEM;
    return lc_set_log_callback(static_cast<std::int32_t>(max_level), &detail::log_call<Function>, state,
                               &detail::destroy_function<Function>);
}

/** From now on nobody hears it. */
inline void clear_log_callback() noexcept { lc_set_log_callback(LCACHE_LOG_ERROR, nullptr, nullptr, nullptr); }

/**
 * Closes every cache of the process and stops the library's threads, waiting for them no longer than this. The
 * program's to call, never a library's; a program that just exits need not. Opening again is fine.
 */
[[nodiscard]] inline lc_status try_shutdown(std::chrono::milliseconds timeout) noexcept {
    return lc_shutdown(detail::timeout_ms(timeout));
}

#if LIGHTER_CACHE_HAS_EXCEPTIONS
template <class F>
void set_log_callback(LogLevel max_level, F&& f) {
    using Function = std::decay_t<F>;
    auto state = std::make_unique<Function>(std::forward<F>(f));
    // The library destroys it also where it refuses it.
    detail::check(lc_set_log_callback(static_cast<std::int32_t>(max_level), &detail::log_call<Function>,
                                      state.release(), &detail::destroy_function<Function>));
}

inline void shutdown(std::chrono::milliseconds timeout) { detail::check(try_shutdown(timeout)); }
#endif

/** The version of the library that runs, as "0.1.0". */
inline const char* version() noexcept { return lc_version(); }
/** The same as one number; LCACHE_VERSION_NUMBER is that of the header. */
inline std::uint32_t version_number() noexcept { return lc_version_number(); }

}  // namespace lighter_cache

#endif  // LIGHTER_CACHE_HPP
