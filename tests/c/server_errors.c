/* Every operation that reaches a server, with every way in which it can be failed: the status of each is the one
   that the header names, and nothing is written. */
#include "check.h"
#include "server.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#define KEY LCACHE_STR("k")

static lc_value *const untouched = (lc_value *)1;
static const lc_bytes keys[] = {{KEY}, {LCACHE_STR("other")}};

static lc_status ping(lc_cache cache) { return lc_ping(cache); }

static lc_status get(lc_cache cache) {
    lc_value *value = untouched;
    size_t len = 77;
    lc_status status = lc_get(cache, KEY, &value, NULL, &len);
    CHECK(status >= 0 || (value == NULL && len == 77));
    lc_value_free(value);
    return status;
}

static lc_status get_into(lc_cache cache) {
    char buf[8] = "........";
    size_t len = 77;
    lc_status status = lc_get_into(cache, KEY, buf, sizeof buf, &len);
    CHECK(status >= 0 || (buf[0] == '.' && len == 77));
    return status;
}

static lc_status set(lc_cache cache) { return lc_set(cache, KEY, LCACHE_STR("v"), 60000); }
static lc_status delete(lc_cache cache) { return lc_delete(cache, KEY); }
static lc_status exists(lc_cache cache) { return lc_exists(cache, KEY); }
static lc_status clear(lc_cache cache) { return lc_clear(cache); }
static lc_status expire(lc_cache cache) { return lc_expire(cache, KEY, 60000); }

static lc_status ttl(lc_cache cache) {
    uint64_t ms = 77;
    lc_status status = lc_ttl(cache, KEY, &ms);
    CHECK(status >= 0 || ms == 77);
    return status;
}

static lc_status count(lc_cache cache) {
    uint64_t n = 77;
    lc_status status = lc_count(cache, &n);
    CHECK(status >= 0 || n == 77);
    return status;
}

static lc_status get_many(lc_cache cache) {
    lc_value *values[2] = {untouched, untouched};
    size_t hits = 77;
    lc_status status = lc_get_many(cache, keys, 2, values, &hits);
    CHECK(status >= 0 || (!values[0] && !values[1] && hits == 77));
    lc_value_free(values[0]);
    lc_value_free(values[1]);
    return status;
}

static lc_status set_many(lc_cache cache) { return lc_set_many(cache, keys, keys, 2, 60000); }

static lc_status delete_many(lc_cache cache) {
    size_t deleted = 77;
    lc_status status = lc_delete_many(cache, keys, 2, &deleted);
    CHECK(status >= 0 || deleted == 77);
    return status;
}

static const struct {
    const char *name;
    lc_status (*call)(lc_cache);
} operations[] = {
    {"ping", ping},     {"get", get},       {"get_into", get_into}, {"exists", exists},     {"ttl", ttl},
    {"set", set},       {"expire", expire}, {"delete", delete},     {"get_many", get_many}, {"set_many", set_many},
    {"delete_many", delete_many},           {"count", count},       {"clear", clear},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

static void expect(lc_status expected, const char *when, int i, lc_status status) {
    if (status == expected && (status >= 0 || lc_last_error()[0] != 0))
        return;
    fprintf(stderr, "%s, %s: %d (%s), not %d; last error: \"%s\"\n", operations[i].name, when, (int)status,
            lc_strerror(status), (int)expected, lc_last_error());
    exit(1);
}

static void all(lc_cache cache, lc_status expected, const char *when) {
    for (int i = 0; i < OPERATIONS; i++)
        expect(expected, when, i, operations[i].call(cache));
}

/* The user may do nothing any more. */
static void without_rights(struct server *server, lc_cache redis) {
    server_do(server, "call [\"ACL\", \"SETUSER\", \"default\", \"-@all\", \"+acl\"]");
    all(redis, LCACHE_EAUTH, "without rights");
    CHECK_MESSAGE("NOPERM");
    server_do(server, "call [\"ACL\", \"SETUSER\", \"default\", \"+@all\"]");
    CHECK_OK(ping(redis));
}

/* A replica that has lost its master and is told not to answer then. */
static void an_error_reply(struct server *server, lc_cache redis) {
    server_do(server, "call [\"CONFIG\", \"SET\", \"replica-serve-stale-data\", \"no\"]");
    server_do(server, "call [\"REPLICAOF\", \"127.0.0.1\", \"1\"]");
    all(redis, LCACHE_ESERVER, "an error reply");
    server_do(server, "call [\"REPLICAOF\", \"NO\", \"ONE\"]");
    CHECK_OK(ping(redis));
}

/* Each has a connection that works, and then no answer. */
static void no_reply(struct server *server) {
    lc_cache redis = open_cache(url_of("", server->url, "?prefix=c&connect_timeout=20s&timeout=300ms&retries=0"));
    for (int i = 0; i < OPERATIONS; i++) {
        UNTIL(operations[i].call(redis) >= 0);
        server_do(server, "pause");
        expect(LCACHE_ETIMEOUT, "no reply", i, operations[i].call(redis));
        server_do(server, "resume");
    }
    CHECK_OK(lc_close(redis));
}

static lc_cache spoken_of;
static int refusing;

static void hear(void *ctx, int32_t level, const char *target, const char *message) {
    (void)ctx, (void)level, (void)target, (void)message;
    if (!refusing)
        return;
    lc_cache hybrid = *(lc_cache *)ctx, out = 77;
    refusing = 0;
    for (int i = 0; i < OPERATIONS; i++) {
        expect(LCACHE_EREENTRANT, "in a callback", i, operations[i].call(spoken_of));
        expect(LCACHE_EREENTRANT, "in a callback, Hybrid", i, operations[i].call(hybrid));
    }
    CHECK_STATUS(LCACHE_EREENTRANT, lc_open(from_env("LC_TEST_URL_REFUSED"), &out));
    CHECK_STATUS(LCACHE_EREENTRANT, lc_shutdown(0));
    CHECK(out == 77);
    refusing = -1;
}

static void in_a_callback(struct server *server, lc_cache redis) {
    lc_cache hybrid = open_cache(hybrid_url(server->url, "c")), out;
    spoken_of = redis;
    CHECK_OK(lc_set_log_callback(LCACHE_LOG_WARN, hear, &hybrid, NULL));
    /* That the environment names no cache is said on this thread. */
    unsetenv("LIGHTER_CACHE_URL");
    unsetenv("REDIS_URL");
    refusing = 1;
    CHECK_OK(lc_open(NULL, &out));
    CHECK(refusing == -1);
    CHECK_OK(lc_set_log_callback(LCACHE_LOG_WARN, NULL, NULL, NULL));
    CHECK_OK(lc_close(out));
    CHECK_OK(lc_close(hybrid));
}

static atomic_int threads[OPERATIONS];

static void *waits(void *place) {
    int i = (int)((atomic_int *)place - threads);
    atomic_store(&threads[i], (int)syscall(SYS_gettid));
    expect(LCACHE_ECLOSED, "shut down meanwhile", i, operations[i].call(spoken_of));
    return NULL;
}

/* Whether the thread sleeps: between telling its number and waiting for the server nothing makes it. */
static int sleeps(int i) {
    char path[64], text[256];
    if (atomic_load(&threads[i]) == 0)
        return 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&threads[i]));
    FILE *file = fopen(path, "r");
    CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    return strrchr(text, ')')[2] == 'S';
}

static void shut_down_meanwhile(struct server *server) {
    pthread_t running[OPERATIONS];
    spoken_of = open_cache(url_of("", server->url, "?prefix=c&timeout=60s"));
    CHECK_OK(ping(spoken_of));
    server_do(server, "pause");
    for (int i = 0; i < OPERATIONS; i++)
        CHECK(pthread_create(&running[i], NULL, waits, &threads[i]) == 0);
    for (int i = 0; i < OPERATIONS; i++)
        UNTIL(sleeps(i));
    CHECK_OK(lc_shutdown(5000));
    for (int i = 0; i < OPERATIONS; i++)
        CHECK(pthread_join(running[i], NULL) == 0);
    server_do(server, "resume");
}

/* Opening, in its three forms. */
static lc_status opens(const char *url) {
    lc_cache cache = 77;
    lc_config *config = lc_config_new(url);
    lc_status status = lc_open(url, &cache);
    CHECK_STATUS(status, lc_config_open(config, &cache));
    CHECK(cache == 77 && lc_last_error()[0] != 0);
    lc_config_free(config);
    return status;
}

static void opening(struct server *server) {
    CHECK_STATUS(LCACHE_ECONNECT, opens(from_env("LC_TEST_URL_REFUSED")));
    CHECK_STATUS(LCACHE_EAUTH, opens(from_env("LC_TEST_URL_PASSWORD_WRONG_PASSWORD")));
    /* A server that refuses the connection is as good as none; its answer is told. */
    CHECK_STATUS(LCACHE_ECONNECT, opens(url_of("", server->url, "?db=9999")));
    CHECK_MESSAGE("DB index is out of range");
    CHECK_STATUS(LCACHE_ECONFIG, opens(url_of("", server->url, "?read_from=replica")));
    CHECK_STATUS(LCACHE_ECONFIG, opens(url_of("", server->url, "?read_form=replica")));
    server_do(server, "pause");
    CHECK_STATUS(LCACHE_ECONNECT, opens(url_of("", server->url, "?timeout=300ms&connect_timeout=300ms")));
    server_do(server, "resume");

    lc_cache local = open_cache("local:"), redis = open_cache(redis_url(server->url, "c")), cache = 77;
    CHECK_STATUS(LCACHE_ECONFIG, lc_open_hybrid(redis, local, NULL, &cache));
    server_do(server, "kill");
    UNTIL(ping(redis) == LCACHE_ECONNECT);
    CHECK_STATUS(LCACHE_ECONNECT, lc_open_hybrid(local, redis, "require_l2=true", &cache));
    CHECK(cache == 77);
    server_do(server, "restart");
    CHECK_OK(lc_close(redis));
    CHECK_OK(lc_close(local));
}

int main(void) {
    struct server server;
    server_start(&server, "single");
    lc_cache redis = open_cache(redis_url(server.url, "c"));
    lc_cache bare = open_cache(url_of("", server.url, "?prefix=&wire=raw"));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, clear(bare));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, count(bare));
    CHECK_OK(lc_close(bare));
    without_rights(&server, redis);
    an_error_reply(&server, redis);
    in_a_callback(&server, redis);
    no_reply(&server);
    server_do(&server, "kill");
    UNTIL(ping(redis) == LCACHE_ECONNECT);
    all(redis, LCACHE_ECONNECT, "server gone");
    server_do(&server, "restart");
    opening(&server);
    shut_down_meanwhile(&server);
    server_stop(&server);
    return 0;
}
