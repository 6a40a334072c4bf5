// What may be a key or a value, and what comes back: every source of bytes, without and with a NUL inside.
// lc-test-flags: -pedantic -Wshadow -Wconversion
// lc-test-flags: -pedantic -Wshadow -Wconversion -std=c++20
#include <array>
#include <list>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

#include "check.hpp"

using namespace std::string_view_literals;
using lighter_cache::Bytes;
using lighter_cache::Cache;
using lighter_cache::CacheKey;
using lighter_cache::Value;

static_assert(!std::is_convertible_v<int, Bytes> && !std::is_convertible_v<std::vector<int>, Bytes>);
static_assert(!std::is_convertible_v<std::nullptr_t, Bytes> && !std::is_convertible_v<std::wstring, Bytes>);
static_assert(!std::is_convertible_v<std::optional<Value>, Bytes>);

TEST(text) {
    const std::string string = "user:1";
    char buffer[32] = "user:1";
    const char* pointer = buffer;
    for (const Bytes& bytes : {Bytes("user:1"), Bytes(string), Bytes("user:1"sv), Bytes(buffer), Bytes(pointer)})
        CHECK_EQ(bytes.view(), "user:1");
    CHECK_EQ(Bytes("").size(), 0u);
    CHECK_EQ(Bytes(static_cast<const char*>(nullptr)).size(), 0u);
    CHECK_EQ(Bytes("a\0b").view(), "a"sv);        // as std::string_view reads it
    CHECK_EQ(Bytes("a\0b"sv).view(), "a\0b"sv);
    CHECK_EQ(Bytes(std::string("a\0b", 3)).size(), 3u);
    CHECK_EQ(Bytes("abc", 2).view(), "ab");
}

TEST(containers) {
    const std::byte raw[] = {std::byte{1}, std::byte{0}, std::byte{255}};
    const unsigned char octets[] = {1, 0, 255};
    const signed char small[] = {1, 0, -1};
    const std::vector<std::byte> bytes(raw, raw + 3);
    const std::vector<std::uint8_t> numbers(octets, octets + 3);
    const std::vector<char> characters = {'\1', '\0', '\xff'};
    const std::array<std::uint8_t, 3> array = {1, 0, 255};
    const std::array<char, 3> text = {'\1', '\0', '\xff'};
    const auto expected = "\1\0\xff"sv;
    for (const Bytes& made : {Bytes(raw), Bytes(octets), Bytes(small), Bytes(bytes), Bytes(numbers), Bytes(characters),
                              Bytes(array), Bytes(text), Bytes(raw, 3), Bytes(Bytes(raw))})
        CHECK_EQ(made.view(), expected);
    CHECK_EQ(Bytes(std::vector<std::byte>()).size(), 0u);
    CHECK_EQ((Bytes(std::array<char, 0>()).size()), 0u);
#if __cplusplus >= 202002L
    CHECK_EQ(Bytes(std::span(bytes)).view(), expected);
    CHECK_EQ(Bytes(std::as_bytes(std::span(numbers))).view(), expected);
    CHECK_EQ((Bytes(std::span<const std::uint8_t, 3>(array)).view()), expected);
    CHECK_EQ(Bytes(u8"ä").size(), 2u);
    CHECK_EQ(Bytes(std::u8string(u8"ä")).size(), 2u);
#endif
}

TEST(as_keys_and_values) {
    auto cache = Cache::local();
    const std::vector<std::byte> value = {std::byte{0}, std::byte{7}, std::byte{255}};
    cache.set({"\0\r\n\xff", 4}, value);
    const auto read = cache.get(std::string("\0\r\n\xff", 4));
    if (!CHECK(read)) return;
    CHECK_EQ(read->size(), 3u);
    CHECK_EQ((*read)[1], std::byte{7});
    CHECK(std::equal(read->begin(), read->end(), value.begin(), value.end()));
    CHECK_EQ(read->str(), "\0\x07\xff"sv);

    cache.set("copy", *read);  // a Value is bytes as well
    CHECK_EQ(cache.get("copy")->view(), read->view());
    cache.set(*read, "by value");
    CHECK_EQ(cache.get(value)->view(), "by value");
#if __cplusplus >= 202002L
    const std::span<const std::byte> span(*read);
    CHECK_EQ(span.size(), 3u);
    CHECK_EQ(span.data(), read->data());
#endif
}

TEST(empty_values) {
    auto cache = Cache::local();
    cache.set("empty", "");
    cache.set("default", Bytes());
    cache.set("vector", std::vector<char>());
    for (const char* key : {"empty", "default", "vector"}) {
        const auto value = cache.get(key);
        CHECK(value && *value && value->empty() && value->view().empty() && value->str().empty());
        CHECK(value && value->begin() == value->end());
    }
}

TEST(ranges_of_keys) {
    auto cache = Cache::local();
    cache.set_many({{"a", "1"}, {"b", "2"}});
    const char* const array[] = {"a", "x"};
    CHECK(cache.get_many(array)[0]);
    CHECK(cache.get_many(std::list<std::string>{"x", "b"})[1]);
    CHECK(cache.get_many(std::array<std::string_view, 1>{"a"})[0]);
    CHECK(cache.get_many(std::vector<std::vector<std::byte>>{{std::byte{'a'}}})[0]);
    CHECK(cache.get_many({"x", "b"})[1]);
    std::vector<Value> values(2);
    CHECK_EQ(cache.try_set("1", "found"), LCACHE_OK);
    std::size_t hits = 0;
    CHECK_EQ(cache.try_get_many(array, values.data(), hits), LCACHE_OK);
    CHECK_EQ(cache.try_get_many(std::array<Bytes, 1>{values[0]}, values.data(), hits), LCACHE_OK);
    CHECK(hits == 1 && values[0].view() == "found");  // the key lay in the place of the value
}

/** Each as the C API spells it. */
TEST(key_names) {
    const auto c_name = [](auto function, const char* id) {
        char name[64];
        std::size_t size = 0;
        CHECK_EQ(function(id, name, sizeof name, &size), LCACHE_OK);
        return std::string(name, size);
    };
    CHECK_EQ(CacheKey::user(123), c_name(lc_key_user, "123"));
    CHECK_EQ(CacheKey::token("t"), c_name(lc_key_token, "t"));
    CHECK_EQ(CacheKey::permission("p"), c_name(lc_key_permission, "p"));
    CHECK_EQ(CacheKey::role("r"), c_name(lc_key_role, "r"));
    CHECK_EQ(CacheKey::session("s"), c_name(lc_key_session, "s"));
    CHECK_EQ(CacheKey::user_permissions(123), c_name(lc_key_user_permissions, "123"));
    CHECK_EQ(CacheKey::user_roles(123), c_name(lc_key_user_roles, "123"));
    char name[64];
    std::size_t size = 0;
    CHECK_EQ(lc_key_custom("api", "rate-limit", name, sizeof name, &size), LCACHE_OK);
    CHECK_EQ(CacheKey::custom("api", "rate-limit"), std::string(name, size));

    CHECK_EQ(CacheKey::user(std::string("ann")), "user:ann");
    CHECK_EQ(CacheKey::user("a\0b"sv), "user:a\0b"sv);
    CHECK_EQ(CacheKey::user(std::int64_t{-5}), "user:-5");
    CHECK_EQ(CacheKey::user(std::uint8_t{200}), "user:200");
    CHECK_EQ(CacheKey::user(0), "user:0");
    CHECK_EQ(CacheKey::user(UINT64_MAX), "user:18446744073709551615");
    CHECK_EQ(CacheKey::custom("tenant", 7), "tenant:7");
}

int main() { return check::run_all(); }
