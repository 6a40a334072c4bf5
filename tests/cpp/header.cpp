// A program of two files that knows the .hpp alone, in each standard; both include it twice, and are linked.
// lc-test-with: units/second.cpp
// lc-test-flags: -pedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -O0
// lc-test-flags: -pedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -std=c++20
// lc-test-flags: -pedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -fno-rtti -fvisibility=hidden
#include <lighter_cache.hpp>
#include <lighter_cache.hpp>

std::optional<lighter_cache::Value> read_in_another_file(const lighter_cache::Cache& cache, const std::string& key);
std::optional<lighter_cache::Value> load_in_another_file(lighter_cache::Cache& cache, const std::string& key);
void fail_in_another_file();

int main() {
    using namespace std::chrono_literals;
    if (lighter_cache::version_number() != LCACHE_VERSION_NUMBER || lighter_cache::version() != std::string("0.1.0")) return 1;
    auto cache = lighter_cache::Cache::open("local:");
    cache.set(lighter_cache::CacheKey::user(1), "Ada", 5min);
    const auto value = read_in_another_file(cache, "user:1");
    if (!value || value->view() != "Ada" || read_in_another_file(cache, "user:2")) return 2;
    if (load_in_another_file(cache, "user:2")->view() != "loaded: user:2" || cache.incr("n") != 1) return 5;
    try {
        fail_in_another_file();
        return 3;
    } catch (const lighter_cache::Error& error) {
        return error.status() == LCACHE_ECONFIG ? 0 : 4;
    }
}
