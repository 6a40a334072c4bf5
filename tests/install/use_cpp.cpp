// The program that the install test builds in C++: it only needs what `make install` put there.
#include <lighter_cache.hpp>

#include <chrono>
#include <cstdio>

int main()
{
    using namespace std::chrono_literals;
    auto cache = lighter_cache::Cache::open("local:");
    cache.set("greeting", "hello", 5min);
    auto value = cache.get("greeting");
    if (!value || value->view() != "hello")
        return 1;
    std::printf("lighter_cache %s\n", lc_version());
    return 0;
}
