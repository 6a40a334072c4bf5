// The other file of header.cpp: whatever the header defines, it defines here as well.
#include <lighter_cache.hpp>
#include <lighter_cache.hpp>

std::optional<lighter_cache::Value> read_in_another_file(const lighter_cache::Cache& cache, const std::string& key);
std::optional<lighter_cache::Value> load_in_another_file(lighter_cache::Cache& cache, const std::string& key);
void fail_in_another_file();

std::optional<lighter_cache::Value> read_in_another_file(const lighter_cache::Cache& cache, const std::string& key) {
    return cache.get(key);
}

std::optional<lighter_cache::Value> load_in_another_file(lighter_cache::Cache& cache, const std::string& key) {
    return cache.get_or_load(key, [](std::string_view name) { return "loaded: " + std::string(name); });
}

void fail_in_another_file() { (void)lighter_cache::Cache::open("nowhere:"); }
