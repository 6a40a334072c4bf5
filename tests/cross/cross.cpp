// A cache at the end of a pipe: the C++ program of tests/python/test_languages.py. The protocol is
// written at the head of cross.c.
#include <lighter_cache.hpp>

#include <iostream>
#include <sstream>
#include <string>

namespace {

std::string bytes(const std::string &hex)
{
    std::string out;
    if (hex != "-")
        for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
            out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    return out;
}

std::string hex(std::string_view bytes)
{
    static const char digits[] = "0123456789abcdef";
    std::string out;
    for (unsigned char byte : bytes)
        out += {digits[byte >> 4], digits[byte & 15]};
    return out.empty() ? "-" : out;
}

} // namespace

int main(int argc, char **argv)
try {
    auto cache = lighter_cache::Cache::open(argc == 2 ? argv[1] : "");
    std::cout << "open" << std::endl;
    lighter_cache::Ttl ttl = lighter_cache::ttl::by_default;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string command, key, rest;
        words >> command >> key >> rest;
        try {
            if (command == "set") {
                cache.set(bytes(key), bytes(rest), ttl);
                std::cout << "ok";
            } else if (command == "get") {
                auto value = cache.get(bytes(key));
                std::cout << (value ? "value " + hex(value->view()) : "miss");
            } else if (command == "delete") {
                std::cout << (cache.remove(bytes(key)) ? "ok" : "miss");
            } else if (command == "ttl") {
                ttl = std::chrono::milliseconds(std::stoll(rest));
                std::cout << "ok";
            } else {
                std::cout << "error no such command";
            }
        } catch (const std::exception &error) {
            std::cout << "error " << error.what();
        }
        std::cout << std::endl;
    }
} catch (const lighter_cache::Error &error) {
    std::cout << "error " << error.what() << std::endl;
    return 1;
}
