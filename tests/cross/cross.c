/*
 * A cache at the end of a pipe: the C program of tests/python/test_languages.py. The programs in the
 * other languages (cross.cpp, cross.rs) speak the same protocol:
 *
 *   cross URL          opens the cache and prints "open"
 *   set KEY VALUE      prints "ok"
 *   get KEY            prints "value VALUE", or "miss"
 *   delete KEY         prints "ok", or "miss"
 *   ttl KEY MS         set's TTL from now on is MS milliseconds, for all keys (KEY is ignored); prints "ok"
 *
 * Commands are lines of stdin, answers are lines of stdout, KEY and VALUE are hexadecimal ("-" is
 * empty). Whatever fails prints "error " and a message, and the program goes on; it ends with stdin.
 */
#include <lighter_cache.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
    unsigned char *data;
    size_t len;
};

static unsigned int digit(char c)
{
    return c <= '9' ? (unsigned int)(c - '0') : (unsigned int)(c - 'a' + 10);
}

/* The next word of the line as bytes. */
static struct bytes word(char **line)
{
    struct bytes bytes = { NULL, 0 };
    char *text = strtok(*line, " \n");
    *line = NULL; /* strtok goes on from where it is */
    if (text == NULL || strcmp(text, "-") == 0)
        return bytes;
    bytes.len = strlen(text) / 2;
    bytes.data = malloc(bytes.len + 1);
    for (size_t i = 0; bytes.data != NULL && i < bytes.len; i++)
        bytes.data[i] = (unsigned char)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    return bytes;
}

static void print_value(const unsigned char *data, size_t len)
{
    printf("value ");
    if (len == 0)
        putchar('-');
    for (size_t i = 0; i < len; i++)
        printf("%02x", data[i]);
    putchar('\n');
}

static void print_status(lc_status status)
{
    if (status == LCACHE_OK)
        puts("ok");
    else if (status == LCACHE_MISS)
        puts("miss");
    else
        printf("error %d %s\n", (int)status, lc_last_error());
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    lc_cache cache;
    uint64_t ttl_ms = LCACHE_TTL_DEFAULT;

    if (argc != 2 || lc_open(argv[1], &cache) != LCACHE_OK) {
        printf("error %s\n", argc == 2 ? lc_last_error() : "usage: cross URL");
        return 1;
    }
    puts("open");
    fflush(stdout);
    while (getline(&line, &room, stdin) > 0) {
        char *rest = line;
        char *command = strtok(rest, " \n");
        struct bytes key, value = { NULL, 0 };

        rest = NULL;
        key = word(&rest);
        if (command != NULL && strcmp(command, "set") == 0) {
            value = word(&rest);
            print_status(lc_set(cache, key.data, key.len, value.data, value.len, ttl_ms));
        } else if (command != NULL && strcmp(command, "get") == 0) {
            lc_value *found;
            const void *data;
            size_t len;
            lc_status status = lc_get(cache, key.data, key.len, &found, &data, &len);
            if (status == LCACHE_OK) {
                print_value(data, len);
                lc_value_free(found);
            } else {
                print_status(status);
            }
        } else if (command != NULL && strcmp(command, "delete") == 0) {
            print_status(lc_delete(cache, key.data, key.len));
        } else if (command != NULL && strcmp(command, "ttl") == 0) {
            char *ms = strtok(NULL, " \n");
            ttl_ms = ms != NULL ? strtoull(ms, NULL, 10) : LCACHE_TTL_DEFAULT;
            puts("ok");
        } else {
            puts("error no such command");
        }
        fflush(stdout);
        free(key.data);
        free(value.data);
    }
    free(line);
    return lc_close(cache) == LCACHE_OK ? 0 : 1;
}
