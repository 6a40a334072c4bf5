// A server of a test's own, to pause, kill and restart: tests/servers.py in a process of its own.
#ifndef LIGHTER_CACHE_TESTS_SERVER_HPP
#define LIGHTER_CACHE_TESTS_SERVER_HPP

#include <sys/wait.h>
#include <unistd.h>

#include "check.hpp"

namespace check {

class Server {
public:
    explicit Server(const char* topology) {
        int to[2], from[2];
        const std::string command = "exec " + environment("LC_TEST_SERVERS") + " " + topology;
        if (pipe(to) != 0 || pipe(from) != 0 || (process_ = fork()) < 0) std::abort();
        if (process_ == 0) {
            dup2(to[0], 0);
            dup2(from[1], 1);
            for (const int end : {to[0], to[1], from[0], from[1]}) close(end);
            execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
            _exit(127);
        }
        close(to[0]);
        close(from[1]);
        verbs_ = fdopen(to[1], "w");
        answers_ = fdopen(from[0], "r");
        const std::string description = answer();
        const std::string mark = "\"url\": \"";
        const auto begin = description.find(mark) + mark.size();
        url_ = description.substr(begin, description.find('"', begin) - begin);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    /** It ends when its input does. */
    ~Server() {
        std::fclose(verbs_);
        std::fclose(answers_);
        waitpid(process_, nullptr, 0);
    }

    const std::string& url() const { return url_; }
    /** kill, restart, pause or resume; returns when that is so. */
    void perform(const char* verb) {
        std::fprintf(verbs_, "%s\n", verb);
        std::fflush(verbs_);
        answer();
    }

private:
    std::string answer() {
        std::string line;
        for (int c; (c = std::fgetc(answers_)) != EOF && c != '\n';) line.push_back(static_cast<char>(c));
        if (line.find("\"ok\": true") == std::string::npos) {
            std::printf("the test servers say: %s\n", line.c_str());
            std::exit(1);
        }
        return line;
    }

    pid_t process_ = 0;
    std::FILE *verbs_ = nullptr, *answers_ = nullptr;
    std::string url_;
};

}  // namespace check

#endif
