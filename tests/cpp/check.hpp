// The few lines that the C++ tests need: TEST registers a function, CHECK and CHECK_EQ count, main() runs all
// and ends with "N passed, N failed". Works with and without exceptions; needs nothing but the header under test.
#ifndef LIGHTER_CACHE_TESTS_CHECK_HPP
#define LIGHTER_CACHE_TESTS_CHECK_HPP

#include <lighter_cache.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace check {

struct Test {
    const char* name;
    void (*body)();
    Test* next;
};

inline Test* first = nullptr;
inline int failed_checks = 0;
inline const char* context = "";  // which cache a test is about

struct Registered : Test {
    Registered(const char* title, void (*function)()) : Test{title, function, nullptr} {
        Test** end = &first;
        while (*end) end = &(*end)->next;
        *end = this;
    }
};

inline bool that(bool ok, const char* what, const char* file, int line) {
    if (!ok) {
        ++failed_checks;
        std::printf("%s:%d: %s %s\n", file, line, what, context);
        std::printf("    last error: %s\n", lighter_cache::last_error());
    }
    return ok;
}

/** A URL of the environment that the test runner makes. Without it the test can't be run: that is a failure. */
inline std::string environment(const char* name) {
    const char* value = std::getenv(name);
    if (!value) {
        std::printf("%s is not set: run tests/run_native.py\n", name);
        std::exit(1);
    }
    return value;
}

inline bool run_one(const Test& test) {
    failed_checks = 0;
#if LIGHTER_CACHE_HAS_EXCEPTIONS
    try {
        test.body();
    } catch (const std::exception& error) {
        ++failed_checks;
        std::printf("thrown: %s %s\n", error.what(), context);
    }
#else
    test.body();
#endif
    std::printf("%s %s\n", failed_checks ? "FAILED" : "ok    ", test.name);
    std::fflush(stdout);
    return failed_checks == 0;
}

inline int run_all() {
    int passed = 0, failed = 0;
    for (const Test* test = first; test; test = test->next) ++(run_one(*test) ? passed : failed);
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}

#if LIGHTER_CACHE_HAS_EXCEPTIONS
/** Whether `call` throws an Error with this status and a message in which `part` stands. */
template <class F>
bool throws(lc_status status, const char* part, F call) {
    try {
        call();
    } catch (const lighter_cache::Error& error) {
        if (error.status() == status && std::string(error.what()).find(part) != std::string::npos) return true;
        std::printf("threw %d: %s\n", error.status(), error.what());
        return false;
    }
    std::printf("threw nothing\n");
    return false;
}
#endif

}  // namespace check

#define CHECK(condition) check::that(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define CHECK_EQ(left, right) check::that((left) == (right), #left " == " #right, __FILE__, __LINE__)
#define TEST(name)                                            \
    static void name();                                       \
    static check::Registered registered_##name(#name, &name); \
    static void name()

#endif
