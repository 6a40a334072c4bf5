/* Header, library and package are of one version. */
#include "check.h"

int main(void) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", LCACHE_VERSION_MAJOR, LCACHE_VERSION_MINOR, LCACHE_VERSION_PATCH);
    CHECK(strcmp(lc_version(), text) == 0);
    CHECK(lc_version_number() == LCACHE_VERSION_NUMBER);
    CHECK(LCACHE_VERSION_NUMBER == LCACHE_VERSION_MAJOR * 1000000 + LCACHE_VERSION_MINOR * 1000 + LCACHE_VERSION_PATCH);
    return 0;
}
