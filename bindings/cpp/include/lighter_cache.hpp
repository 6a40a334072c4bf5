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
 * Cost: a Cache is one integer and a Value three words. Nothing here allocates but str(), the batches,
 *   CacheKey, Options and the log callback.
 */
#ifndef LIGHTER_CACHE_HPP
#define LIGHTER_CACHE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

/** An array that is empty where there is no memory for it. */
template <class T>
using Array = std::unique_ptr<T[]>;
template <class T>
Array<T> allocate(std::size_t n) noexcept {
    return Array<T>(new (std::nothrow) T[n]);
}

inline lc_bytes raw(const Bytes& bytes) noexcept { return {bytes.data(), bytes.size()}; }

/** Whether bytes seen through a T that a range makes on the fly outlive it. */
template <class T>
inline constexpr bool is_view = std::is_lvalue_reference_v<T> || std::is_same_v<T, Bytes> ||
                                std::is_same_v<T, std::string_view> || std::is_same_v<T, const char*>;
template <class A, class B>
inline constexpr bool is_view<std::pair<A, B>> = is_view<A> && is_view<B>;

template <class Range>
inline constexpr bool lasts = is_view<decltype(*std::begin(std::declval<const Range&>()))>;

#if LIGHTER_CACHE_HAS_EXCEPTIONS
/** Passes 0 and outcomes through, throws errors. */
inline lc_status check(lc_status status) {
    // An array that this header could not allocate is no failed call of the library: it left no message.
    if (status < 0) throw Error(status, status == LCACHE_ENOMEM ? lc_strerror(status) : lc_last_error());
    return status;
}
#endif

}  // namespace detail

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

#if LIGHTER_CACHE_HAS_EXCEPTIONS
    /** A NUL inside would end the text for the library, and the rest would go unseen. */
    static const char* text(const std::string& text) {
        if (text.find('\0') != std::string::npos) throw Error(LCACHE_EINVAL, "a URL or option has a NUL in it");
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

template <class F>
void log_destroy(void* ctx) noexcept {
    delete static_cast<F*>(ctx);
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
                               &detail::log_destroy<Function>);
}

/** From now on nobody hears it. */
inline void clear_log_callback() noexcept { lc_set_log_callback(LCACHE_LOG_ERROR, nullptr, nullptr, nullptr); }

/**
 * Closes every cache of the process and stops the library's threads, waiting for them no longer than this. The
 * program's to call, never a library's; a program that just exits need not. Opening again is fine.
 */
[[nodiscard]] inline lc_status try_shutdown(std::chrono::milliseconds timeout) noexcept {
    const std::uint64_t ms = detail::to_ms(timeout);
    return lc_shutdown(ms > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(ms));
}

#if LIGHTER_CACHE_HAS_EXCEPTIONS
template <class F>
void set_log_callback(LogLevel max_level, F&& f) {
    using Function = std::decay_t<F>;
    auto state = std::make_unique<Function>(std::forward<F>(f));
    // The library destroys it also where it refuses it.
    detail::check(lc_set_log_callback(static_cast<std::int32_t>(max_level), &detail::log_call<Function>,
                                      state.release(), &detail::log_destroy<Function>));
}

inline void shutdown(std::chrono::milliseconds timeout) { detail::check(try_shutdown(timeout)); }
#endif

/** The version of the library that runs, as "0.1.0". */
inline const char* version() noexcept { return lc_version(); }
/** The same as one number; LCACHE_VERSION_NUMBER is that of the header. */
inline std::uint32_t version_number() noexcept { return lc_version_number(); }

}  // namespace lighter_cache

#endif  // LIGHTER_CACHE_HPP
