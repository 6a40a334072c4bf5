// The caches that tests run on: a Local, a Redis and a Hybrid, each empty and with keys of its own.
#ifndef LIGHTER_CACHE_TESTS_CACHES_HPP
#define LIGHTER_CACHE_TESTS_CACHES_HPP

#include <unistd.h>

#include "check.hpp"

namespace check {

/** The URL of the test server with a prefix that no other test has. */
inline std::string server_url(const char* scheme = "") {
    static int count = 0;
    return scheme + environment("LC_TEST_URL_SINGLE") + "?prefix=cpp-" + std::to_string(getpid()) + "-" +
           std::to_string(++count);
}

/** Calls test(cache) with each kind of cache. */
template <class F>
void each_cache(F test) {
    const std::string urls[] = {"local:", server_url(), server_url("hybrid+")};
    const char* const names[] = {"(Local)", "(Redis)", "(Hybrid)"};
    for (int i = 0; i < 3; ++i) {
        context = names[i];
        lighter_cache::Cache cache;
        // A Hybrid opens without its server as well, so a ping proves that the server is meant.
        if (that(lighter_cache::Cache::try_open(urls[i].c_str(), cache) == LCACHE_OK, "try_open", __FILE__, __LINE__) &&
            that(cache.try_ping() == LCACHE_OK, "try_ping", __FILE__, __LINE__)) {
            test(cache);
            that(cache.try_clear() == LCACHE_OK, "try_clear", __FILE__, __LINE__);
        }
        context = "";
    }
}

}  // namespace check

#endif
