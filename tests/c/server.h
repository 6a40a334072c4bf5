/* A server of a test's own, to kill, stop and question: tests/servers.py in a process of its own. */
#ifndef LC_TEST_SERVER_H
#define LC_TEST_SERVER_H

#include "check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct server {
    FILE *verbs, *answers;
    pid_t process;
    char url[256];
    char answer[16384];
};

/* The text of `"name": "..."` in the server's last answer; the texts that tests ask for have no escapes. */
static inline void server_field(const struct server *server, const char *name, char *out, size_t cap) {
    char mark[64];
    snprintf(mark, sizeof mark, "\"%s\": \"", name);
    const char *begin = strstr(server->answer, mark);
    CHECK(begin != NULL);
    begin += strlen(mark);
    size_t len = strcspn(begin, "\"");
    CHECK(len < cap);
    memcpy(out, begin, len);
    out[len] = 0;
}

static inline void server_await(struct server *server) {
    CHECK(fgets(server->answer, sizeof server->answer, server->answers) != NULL);
    if (!strstr(server->answer, "\"ok\": true")) {
        fprintf(stderr, "the server harness says: %s", server->answer);
        exit(1);
    }
}

/* kill, restart, pause, resume, or `call ["COMMAND", ...]`. */
static inline void server_do(struct server *server, const char *verb) {
    fprintf(server->verbs, "%s\n", verb);
    fflush(server->verbs);
    server_await(server);
}

static inline void server_start(struct server *server, const char *topology) {
    int to[2], from[2];
    CHECK(pipe(to) == 0 && pipe(from) == 0);
    char command[1024];
    snprintf(command, sizeof command, "exec %s %s", from_env("LC_TEST_SERVERS"), topology);
    server->process = fork();
    CHECK(server->process >= 0);
    if (server->process == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[0]), close(to[1]), close(from[0]), close(from[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(to[0]), close(from[1]);
    server->verbs = fdopen(to[1], "w");
    server->answers = fdopen(from[0], "r");
    server_await(server);
    server_field(server, "url", server->url, sizeof server->url);
}

static inline void server_stop(struct server *server) {
    fclose(server->verbs);
    fclose(server->answers);
    int status;
    CHECK(waitpid(server->process, &status, 0) == server->process);
}

#endif
