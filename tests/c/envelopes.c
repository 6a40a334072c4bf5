/* What a server may hand out instead of the value that was stored: a damaged envelope, another program's
   bytes, more than the cache takes. */
#include "check.h"

static const char plain[] = "\xc1LC\x01\x00\xffhello";

enum { HEADER = 6, PLAIN = sizeof plain - 1 };

struct caches {
    lc_cache raw, cache, hybrid;
};

static void store(const struct caches *on, const void *bytes, size_t len) {
    CHECK_OK(lc_set(on->raw, LCACHE_STR("k"), bytes, len, 60000));
}

static void is_corrupt(const struct caches *on, const char *bytes, size_t len) {
    lc_value *value = (lc_value *)1, *values[1] = {(lc_value *)1};
    lc_bytes key = {"k", 1};
    size_t n = 77;
    char buf[64];
    store(on, bytes, len);
    CHECK_STATUS(LCACHE_ECORRUPT, lc_get(on->cache, LCACHE_STR("k"), &value, NULL, &n));
    CHECK_MESSAGE("corrupt");
    CHECK_STATUS(LCACHE_ECORRUPT, lc_get_into(on->cache, LCACHE_STR("k"), buf, sizeof buf, &n));
    CHECK(value == NULL && n == 77);
    CHECK_OK(lc_get_many(on->cache, &key, 1, values, &n));
    CHECK(n == 0 && values[0] == NULL);
    CHECK_STATUS(LCACHE_MISS, lc_get(on->hybrid, LCACHE_STR("k"), &value, NULL, NULL));
    /* Nothing is lost by looking. */
    CHECK(holds(on->raw, "k", bytes, len));
}

static void damaged(const struct caches *on) {
    char bytes[PLAIN];
    CHECK_OK(lc_set(on->cache, LCACHE_STR("k"), LCACHE_STR("hello"), 60000));
    CHECK(holds(on->raw, "k", plain, PLAIN));
    for (int bit = 0; bit < 8 * HEADER; bit++) {
        memcpy(bytes, plain, PLAIN);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        is_corrupt(on, bytes, PLAIN);
    }
    for (size_t cut = 3; cut < HEADER; cut++)
        is_corrupt(on, plain, cut);
    /* It can be overwritten. */
    is_corrupt(on, plain, 3);
    CHECK_OK(lc_set(on->hybrid, LCACHE_STR("k"), LCACHE_STR("whole"), 60000));
    CHECK(HOLDS(on->cache, "k", "whole") && HOLDS(on->hybrid, "k", "whole"));
}

/* Bytes without the magic are another program's, a pickle among them: handed out as they are. */
static void foreign(const struct caches *on) {
    static const char *const texts[] = {"", "\xc1", "\xc1L", "plain text", "\x80\x04\x95\x0b\x8c\x05hello\x94."};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        store(on, texts[i], strlen(texts[i]));
        CHECK(holds(on->cache, "k", texts[i], strlen(texts[i])));
    }
}

static void too_big(const struct caches *on, const char *url) {
    char bytes[HEADER + 1001], buf[1001];
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, plain, HEADER);
    const char *urls[] = {url_of("", url, "&max_value_bytes=1000"),
                          url_of("hybrid+", url, "&max_value_bytes=1000&l2_timeout=20s")};
    for (size_t i = 0; i < 2; i++) {
        lc_cache small = open_cache(urls[i]);
        lc_value *value = (lc_value *)1;
        size_t len = 77;
        store(on, bytes, HEADER + 1001);
        CHECK_STATUS(LCACHE_ETOOBIG, lc_get(small, LCACHE_STR("k"), &value, NULL, &len));
        CHECK_STATUS(LCACHE_ETOOBIG, lc_get_into(small, LCACHE_STR("k"), buf, sizeof buf, &len));
        CHECK(value == NULL && len == 77);
        store(on, bytes, HEADER + 1000);
        CHECK_OK(lc_get_into(small, LCACHE_STR("k"), buf, sizeof buf, &len));
        CHECK(len == 1000);
        CHECK_OK(lc_close(small));
    }
}

int main(void) {
    const char *server = from_env("LC_TEST_URL_SINGLE"), *url = redis_url(server, "c:envelopes");
    struct caches on = {
        open_cache(url_of("", url, "&wire=raw")),
        open_cache(url),
        open_cache(hybrid_url(server, "c:envelopes")),
    };
    damaged(&on);
    foreign(&on);
    too_big(&on, url);
    CHECK_OK(lc_clear(on.cache));
    CHECK_OK(lc_close(on.raw));
    CHECK_OK(lc_close(on.cache));
    CHECK_OK(lc_close(on.hybrid));
    return 0;
}
