// The caches that tests run on: a Local, a Redis and a Hybrid, each empty and with keys of its own.
#ifndef LIGHTER_CACHE_TESTS_CACHES_HPP
#define LIGHTER_CACHE_TESTS_CACHES_HPP

#include <unistd.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "check.hpp"

namespace check {

/** The URL of the test server with a prefix that no other test has, and patience on a busy machine. */
inline std::string server_url(const std::string& scheme = "") {
    static int count = 0;
    const char* bounds = scheme.empty() ? "" : "&l2_timeout=20s&watchdog=20s";
    return scheme + environment("LC_TEST_URL_SINGLE") + "?timeout=20s&connect_timeout=20s" + bounds + "&prefix=cpp-" +
           std::to_string(getpid()) + "-" + std::to_string(++count);
}

/** Calls test(cache) with a cache at each of the URLs, which are of these kinds. */
template <class F>
void with_caches(std::initializer_list<std::pair<const char*, std::string>> caches, F& test) {
    for (const auto& [name, url] : caches) {
        context = name;
        lighter_cache::Cache cache;
        // A Hybrid opens without its server as well, so a ping proves that the server is meant.
        if (that(lighter_cache::Cache::try_open(url.c_str(), cache) == LCACHE_OK, "try_open", __FILE__, __LINE__) &&
            that(cache.try_ping() == LCACHE_OK, "try_ping", __FILE__, __LINE__)) {
            test(cache);
            that(cache.try_clear() == LCACHE_OK, "try_clear", __FILE__, __LINE__);
        }
        context = "";
    }
}

/** Calls test(cache) with each kind of cache. */
template <class F>
void each_cache(F test) {
    with_caches({{"(Local)", "local:"}, {"(Redis)", server_url()}, {"(Hybrid)", server_url("hybrid+")}}, test);
}

}  // namespace check

#endif
