// The other file of header.cpp: whatever the header defines, it defines here as well.
#include <lighter_cache.hpp>
#include <lighter_cache.hpp>

std::optional<lighter_cache::Value> read_in_another_file(const lighter_cache::Cache& cache, const std::string& key);
void fail_in_another_file();

std::optional<lighter_cache::Value> read_in_another_file(const lighter_cache::Cache& cache, const std::string& key) {
    return cache.get(key);
}

void fail_in_another_file() { (void)lighter_cache::Cache::open("nowhere:"); }
