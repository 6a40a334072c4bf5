/* A Local cache saved to a file and loaded again; files that are damaged, missing, or can't be written. */
#include "check.h"

#include <sys/stat.h>
#include <unistd.h>

static const uint64_t hour = 3600 * 1000;

static const char *in_folder(const char *name) { return joined(from_env("LC_TEST_DIR"), "/", name, "", ""); }

static size_t read_file(const char *path, unsigned char *bytes, size_t cap) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    size_t len = fread(bytes, 1, cap, file);
    CHECK(len < cap && fclose(file) == 0);
    return len;
}

static void write_file(const char *path, const unsigned char *bytes, size_t len) {
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
}

static void there_and_back(lc_cache cache, const char *path) {
    size_t entries = 77;
    uint64_t ttl = 0;
    lc_bytes tag = {LCACHE_STR("tag")};
    lc_set_options tagged = LCACHE_SET_OPTIONS_INIT;
    tagged.ttl_ms = hour;
    tagged.tags = &tag;
    tagged.tag_count = 1;
    CHECK_OK(lc_set(cache, LCACHE_STR("hour"), LCACHE_STR("v"), hour));
    CHECK_OK(lc_set(cache, "k\0\xff", 3, "\0\r\n", 3, LCACHE_TTL_NONE));
    CHECK_OK(lc_set(cache, LCACHE_STR("empty"), NULL, 0, LCACHE_TTL_NONE));
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("tagged"), LCACHE_STR("v"), &tagged, sizeof tagged));
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("void"), LCACHE_STR("v"), &tagged, sizeof tagged));
    CHECK_OK(lc_invalidate_tag(cache, LCACHE_STR("tag")));
    CHECK_OK(lc_set_ex(cache, LCACHE_STR("tagged"), LCACHE_STR("v"), &tagged, sizeof tagged));
    CHECK_OK(lc_set(cache, LCACHE_STR("short"), LCACHE_STR("v"), 20));
    UNTIL(lc_exists(cache, LCACHE_STR("short")) == LCACHE_MISS);
    CHECK_OK(lc_save(cache, path, &entries));
    CHECK(entries == 4);

    lc_cache other = open_cache("local:");
    CHECK_OK(lc_set(other, LCACHE_STR("hour"), LCACHE_STR("older"), LCACHE_TTL_NONE));
    CHECK_OK(lc_set(other, LCACHE_STR("own"), LCACHE_STR("stays"), LCACHE_TTL_NONE));
    entries = 77;
    CHECK_OK(lc_load(other, path, &entries));
    CHECK(entries == 4);
    CHECK(HOLDS(other, "hour", "v") && HOLDS(other, "own", "stays") && HOLDS(other, "empty", ""));
    size_t len;
    char buf[4];
    CHECK_OK(lc_get_into(other, "k\0\xff", 3, buf, sizeof buf, &len));
    CHECK(len == 3 && memcmp(buf, "\0\r\n", 3) == 0);
    CHECK_OK(lc_ttl(other, LCACHE_STR("hour"), &ttl));
    CHECK(ttl <= hour && ttl > hour - 60000);
    CHECK_OK(lc_ttl(other, LCACHE_STR("empty"), &ttl));
    CHECK(ttl == LCACHE_TTL_NONE);
    CHECK_STATUS(LCACHE_MISS, lc_exists(other, LCACHE_STR("short")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(other, LCACHE_STR("void")));
    /* The tags came along. */
    CHECK(HOLDS(other, "tagged", "v"));
    CHECK_OK(lc_invalidate_tag(other, LCACHE_STR("tag")));
    CHECK_STATUS(LCACHE_MISS, lc_exists(other, LCACHE_STR("tagged")));
    CHECK_OK(lc_close(other));
}

static void damaged(const char *path) {
    static unsigned char bytes[1 << 16];
    size_t len = read_file(path, bytes, sizeof bytes), entries = 77;
    const char *bad = in_folder("damaged");
    lc_cache cache = open_cache("local:");
    uint64_t count = 0;
    for (size_t i = 0; i < len; i++) {
        bytes[i] ^= 0x20;
        write_file(bad, bytes, len);
        bytes[i] ^= 0x20;
        CHECK_STATUS(LCACHE_ECORRUPT, lc_load(cache, bad, &entries));
        CHECK(lc_last_error()[0] != 0);
    }
    for (size_t cut = 0; cut < len; cut++) {
        write_file(bad, bytes, cut);
        CHECK_STATUS(LCACHE_ECORRUPT, lc_load(cache, bad, &entries));
    }
    bytes[len] = 0;
    write_file(bad, bytes, len + 1);
    CHECK_STATUS(LCACHE_ECORRUPT, lc_load(cache, bad, &entries));
    CHECK_OK(lc_count(cache, &count));
    CHECK(count == 0 && entries == 77);
    CHECK_OK(lc_close(cache));
}

static void files(lc_cache cache, const char *path) {
    static unsigned char before[1 << 16], after[1 << 16];
    size_t entries = 77, len = read_file(path, before, sizeof before);
    CHECK_STATUS(LCACHE_EIO, lc_load(cache, in_folder("absent"), &entries));
    CHECK(lc_last_error()[0] != 0);
    CHECK_STATUS(LCACHE_EIO, lc_save(cache, in_folder("no/such/folder"), &entries));
    CHECK_STATUS(LCACHE_EIO, lc_load(cache, from_env("LC_TEST_DIR"), &entries));
    CHECK_STATUS(LCACHE_EIO, lc_save(cache, from_env("LC_TEST_DIR"), &entries));
    CHECK(entries == 77);
    CHECK(read_file(path, after, sizeof after) == len && memcmp(before, after, len) == 0);
    /* A name is bytes, and need not be text; a file of that name is replaced. */
    const char *odd = in_folder("\xff\xfe");
    write_file(odd, before, 7);
    CHECK_OK(lc_save(cache, odd, &entries));
    CHECK_OK(lc_load(cache, odd, &entries));
    CHECK(entries == 4 && unlink(odd) == 0);
    /* An empty cache is one. */
    lc_cache empty = open_cache("local:");
    CHECK_OK(lc_save(empty, path, &entries));
    CHECK(entries == 0);
    CHECK_OK(lc_load(cache, path, &entries));
    CHECK(entries == 0 && HOLDS(cache, "hour", "v"));
    CHECK_OK(lc_close(empty));
}

int main(void) {
    char path[1024];
    lc_cache cache = open_cache("local:");
    snprintf(path, sizeof path, "%s", in_folder("snapshot"));
    there_and_back(cache, path);
    damaged(path);
    files(cache, path);
    CHECK_OK(lc_close(cache));
    return 0;
}
