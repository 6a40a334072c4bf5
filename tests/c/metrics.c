/* The counters as a text for Prometheus. */
#include "check.h"

/* The number after the series that begins with `name`, of any labels; -1 where there is none. */
static double number_of(const char *text, const char *name) {
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        size_t len = strlen(name);
        const char *space;
        if (strncmp(line, name, len) == 0 && (line[len] == '{' || line[len] == ' ') && (space = strchr(line, ' ')))
            return atof(line[len] == '{' ? strchr(line, '}') + 1 : space);
    }
    return -1;
}

int main(void) {
    lc_cache cache = open_cache("local:");
    lc_value *value = NULL;
    CHECK_OK(lc_set(cache, LCACHE_STR("secret key"), LCACHE_STR("secret value"), LCACHE_TTL_NONE));
    for (int i = 0; i < 3; i++)
        CHECK(HOLDS(cache, "secret key", "secret value"));
    CHECK(!HOLDS(cache, "absent", ""));
    CHECK_OK(lc_metrics(cache, &value));
    char *text = strndup(lc_value_data(value), lc_value_size(value));
    CHECK(strlen(text) == lc_value_size(value) && text[strlen(text) - 1] == '\n');
    CHECK(number_of(text, "cache_hits_total") == 3 && number_of(text, "cache_misses_total") == 1);
    CHECK(number_of(text, "cache_size_entries") == 1 && number_of(text, "cache_hit_rate") == 0.75);
    CHECK(number_of(text, "cache_evictions_total") == 0);
    CHECK(strstr(text, "# TYPE cache_hits_total counter\n") && !strstr(text, "secret"));
    free(text);
    CHECK_OK(lc_close(cache));
    CHECK(memchr(lc_value_data(value), '\n', lc_value_size(value)) != NULL);
    lc_value_free(value);
    return 0;
}
