/* The naming helper. */
#include "check.h"

typedef lc_status (*name_fn)(const char *id, char *buf, size_t cap, size_t *len);

static void names(name_fn name, const char *id, const char *expected) {
    char buf[64];
    size_t len = 0, need = strlen(expected);
    CHECK_OK(name(id, buf, sizeof buf, &len));
    CHECK(len == need && strcmp(buf, expected) == 0);
    CHECK_OK(name(id, buf, need + 1, &len));

    memset(buf, '.', sizeof buf);
    len = 0;
    CHECK_STATUS(LCACHE_ERANGE, name(id, buf, need, &len));
    CHECK(len == need && buf[0] == '.');
    CHECK_STATUS(LCACHE_ERANGE, name(id, NULL, 0, &len));
    CHECK(len == need);

    len = 77;
    CHECK_STATUS(LCACHE_EINVAL, name(NULL, buf, sizeof buf, &len));
    CHECK_STATUS(LCACHE_EINVAL, name(id, NULL, 8, &len));
    CHECK_STATUS(LCACHE_EINVAL, name(id, buf, sizeof buf, NULL));
    CHECK_STATUS(LCACHE_EINVAL, name("\xff", buf, sizeof buf, &len));
    CHECK(len == 77);
}

int main(void) {
    names(lc_key_user, "123", "user:123");
    names(lc_key_token, "t", "token:t");
    names(lc_key_permission, "p q", "permission:p q");
    names(lc_key_role, "", "role:");
    names(lc_key_session, "\xc3\xa9", "session:\xc3\xa9");
    names(lc_key_user_permissions, "123", "user:123:permissions");
    names(lc_key_user_roles, "123", "user:123:roles");

    char buf[64];
    size_t len;
    CHECK_OK(lc_key_custom("api", "rate-limit", buf, sizeof buf, &len));
    CHECK(len == 14 && strcmp(buf, "api:rate-limit") == 0);
    CHECK_STATUS(LCACHE_EINVAL, lc_key_custom(NULL, "x", buf, sizeof buf, &len));
    CHECK_STATUS(LCACHE_EINVAL, lc_key_custom("x", NULL, buf, sizeof buf, &len));
    CHECK_STATUS(LCACHE_ERANGE, lc_key_custom("api", "rate-limit", buf, 14, &len));
    /* What no cache would accept is no key. */
    CHECK_STATUS(LCACHE_EINVAL, lc_key_custom("__lc", "x", buf, sizeof buf, &len));
    char *id = calloc(1, LCACHE_KEY_MAX + 1);
    memset(id, 'x', LCACHE_KEY_MAX);
    CHECK_STATUS(LCACHE_ETOOBIG, lc_key_user(id, NULL, 0, &len));
    id[LCACHE_KEY_MAX - 5] = 0;
    CHECK_STATUS(LCACHE_ERANGE, lc_key_user(id, NULL, 0, &len));
    CHECK(len == LCACHE_KEY_MAX);
    free(id);
    return 0;
}
