/* Every error of a server reaches C as its status, with a message and without a secret. */
#include "check.h"
#include "server.h"

#include <pthread.h>

static const char *at(const char *url, const char *options) { return url_of("", url, options); }

static lc_status opening(const char *url) {
    lc_cache cache = 77;
    lc_status status = lc_open(url, &cache);
    CHECK(status != LCACHE_OK && cache == 77 && lc_last_error()[0] != 0);
    return status;
}

static void refused_connections(void) {
    const char *url = from_env("LC_TEST_URL_REFUSED");
    CHECK_STATUS(LCACHE_ECONNECT, opening(url));
    CHECK_MESSAGE("Failed to create Redis connection manager: ");
    CHECK_MESSAGE("127.0.0.1:");
    CHECK_STATUS(LCACHE_ECONNECT, opening("redis+unix:///nonexistent/redis.sock"));
    CHECK_STATUS(LCACHE_ECONNECT, opening("redis://no-such-host.invalid"));
}

static void refused_credentials(void) {
    CHECK_STATUS(LCACHE_EAUTH, opening(from_env("LC_TEST_URL_PASSWORD_WITHOUT_PASSWORD")));
    CHECK_STATUS(LCACHE_EAUTH, opening(from_env("LC_TEST_URL_PASSWORD_WRONG_PASSWORD")));
    CHECK_STATUS(LCACHE_EAUTH, opening(url_of("hybrid+", from_env("LC_TEST_URL_PASSWORD_WRONG_PASSWORD"), "")));
    CHECK_STATUS(LCACHE_EAUTH, opening(from_env("LC_TEST_URL_ACL_WRONG_PASSWORD")));
    lc_cache cache = open_cache(from_env("LC_TEST_URL_PASSWORD"));
    CHECK_OK(lc_ping(cache));
    CHECK_OK(lc_close(cache));

    /* A user who may only read, one who may only use the prefix `app`. */
    cache = open_cache(redis_url(from_env("LC_TEST_URL_ACL_READONLY"), "app"));
    CHECK_STATUS(LCACHE_EAUTH, lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 1000));
    CHECK_MESSAGE("NOPERM");
    CHECK_STATUS(LCACHE_MISS, lc_exists(cache, LCACHE_STR("k")));
    CHECK_OK(lc_close(cache));
    cache = open_cache(redis_url(from_env("LC_TEST_URL_ACL"), "other"));
    lc_value *value = (lc_value *)1;
    CHECK_STATUS(LCACHE_EAUTH, lc_get(cache, LCACHE_STR("k"), &value, NULL, NULL));
    CHECK(value == NULL);
    CHECK_OK(lc_close(cache));
}

static void errors_of_the_server(struct server *server) {
    lc_cache cache = open_cache(redis_url(server->url, "c"));
    lc_value *value;
    size_t len = 77;
    char buf[8];

    /* Of another type. */
    server_do(server, "call [\"LPUSH\", \"c:list\", \"x\"]");
    CHECK_STATUS(LCACHE_ESERVER, lc_get(cache, LCACHE_STR("list"), &value, NULL, NULL));
    CHECK_MESSAGE("WRONGTYPE");
    CHECK_STATUS(LCACHE_ESERVER, lc_get_into(cache, LCACHE_STR("list"), buf, sizeof buf, &len));
    CHECK(len == 77);

    /* Full. */
    server_do(server, "call [\"CONFIG\", \"SET\", \"maxmemory\", \"1\"]");
    CHECK_STATUS(LCACHE_ESERVER, lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 1000));
    CHECK_MESSAGE("OOM");
    lc_bytes key = {"k", 1};
    CHECK_STATUS(LCACHE_ESERVER, lc_set_many(cache, &key, &key, 1, 1000));
    server_do(server, "call [\"CONFIG\", \"SET\", \"maxmemory\", \"0\"]");
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 60000));

    /* Damaged: the magic of an envelope, and then nonsense. */
    lc_cache raw = open_cache(at(server->url, "?prefix=c&wire=raw"));
    CHECK_OK(lc_set(raw, LCACHE_STR("damaged"), LCACHE_STR("\xc1LC\x7f\x7f\x7f\x7f\x7f"), LCACHE_TTL_NONE));
    CHECK(HOLDS(raw, "damaged", "\xc1LC\x7f\x7f\x7f\x7f\x7f"));
    value = (lc_value *)1;
    CHECK_STATUS(LCACHE_ECORRUPT, lc_get(cache, LCACHE_STR("damaged"), &value, NULL, NULL));
    CHECK(value == NULL);
    CHECK_STATUS(LCACHE_ECORRUPT, lc_get_into(cache, LCACHE_STR("damaged"), buf, sizeof buf, &len));
    lc_bytes keys[] = {{"damaged", 7}, {"k", 1}};
    lc_value *values[2];
    CHECK_OK(lc_get_many(cache, keys, 2, values, &len));
    CHECK(len == 1 && !values[0] && values[1]);
    lc_value_free(values[1]);
    lc_stats stats;
    CHECK_OK(lc_stats_get(cache, &stats, sizeof stats));
    CHECK(stats.errors >= 3);
    /* A Hybrid reads it as a miss, and may overwrite it. */
    lc_cache hybrid = open_cache(hybrid_url(server->url, "c"));
    CHECK_STATUS(LCACHE_MISS, lc_get(hybrid, LCACHE_STR("damaged"), &value, NULL, NULL));
    CHECK_OK(lc_set(hybrid, LCACHE_STR("damaged"), LCACHE_STR("whole"), 60000));
    CHECK(HOLDS(cache, "damaged", "whole"));
    CHECK_OK(lc_close(hybrid));

    /* Too big for this cache, and nothing to clear without a prefix. */
    lc_cache small = open_cache(at(server->url, "?prefix=c&max_value_bytes=4"));
    CHECK_STATUS(LCACHE_ETOOBIG, lc_set(small, LCACHE_STR("k"), LCACHE_STR("12345"), 1000));
    CHECK_OK(lc_close(small));
    lc_cache bare = open_cache(at(server->url, "?prefix=&wire=raw"));
    CHECK_STATUS(LCACHE_EUNSUPPORTED, lc_clear(bare));
    CHECK_OK(lc_close(bare));
    CHECK_OK(lc_close(raw));
    CHECK_OK(lc_close(cache));
}

static void no_answer(struct server *server) {
    lc_cache cache = open_cache(at(server->url, "?prefix=c&timeout=500ms"));
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 60000));
    server_do(server, "pause");
    lc_value *value = (lc_value *)1;
    CHECK_STATUS(LCACHE_ETIMEOUT, lc_set(cache, LCACHE_STR("k"), LCACHE_STR("late"), 60000));
    lc_status status = lc_get(cache, LCACHE_STR("k"), &value, NULL, NULL);
    CHECK(status == LCACHE_ETIMEOUT || status == LCACHE_ECONNECT);
    CHECK(value == NULL);
    server_do(server, "resume");
    UNTIL(lc_ping(cache) == LCACHE_OK);
    CHECK_OK(lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 60000));

    server_do(server, "kill");
    CHECK(lc_ping(cache) < 0);
    CHECK_STATUS(LCACHE_ECONNECT, lc_ping(cache));
    CHECK_STATUS(LCACHE_ECONNECT, lc_get(cache, LCACHE_STR("k"), &value, NULL, NULL));
    CHECK_STATUS(LCACHE_ECONNECT, lc_set(cache, LCACHE_STR("k"), LCACHE_STR("v"), 1000));
    CHECK_STATUS(LCACHE_ECONNECT, lc_clear(cache));
    /* The next call reconnects. */
    server_do(server, "restart");
    CHECK_STATUS(LCACHE_MISS, lc_get(cache, LCACHE_STR("k"), &value, NULL, NULL));
    CHECK_OK(lc_close(cache));
}

static lc_cache waiting_on;
static volatile int asked;

static void *waits(void *status) {
    lc_value *value;
    asked = 1;
    *(lc_status *)status = lc_get(waiting_on, LCACHE_STR("k"), &value, NULL, NULL);
    CHECK(value == NULL);
    return NULL;
}

/* A call that waits for a stopped server ends when the library is shut down. */
static void shut_down_while_waiting(struct server *server) {
    waiting_on = open_cache(at(server->url, "?prefix=c&timeout=60s"));
    CHECK_OK(lc_ping(waiting_on));
    server_do(server, "pause");
    pthread_t thread;
    lc_status status = LCACHE_OK;
    CHECK(pthread_create(&thread, NULL, waits, &status) == 0);
    UNTIL(asked);
    pause_ms(50);
    CHECK_OK(lc_shutdown(2000));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(LCACHE_ECLOSED, status);
    CHECK_STATUS(LCACHE_EHANDLE, lc_ping(waiting_on));
    server_do(server, "resume");

    /* Opening again is fine. */
    lc_cache cache = open_cache(redis_url(server->url, "c"));
    CHECK_OK(lc_ping(cache));
    CHECK_OK(lc_shutdown(2000));
    CHECK_OK(lc_shutdown(0));
}

int main(void) {
    refused_connections();
    refused_credentials();
    struct server server;
    server_start(&server, "single");
    errors_of_the_server(&server);
    no_answer(&server);
    shut_down_while_waiting(&server);
    server_stop(&server);
    return 0;
}
