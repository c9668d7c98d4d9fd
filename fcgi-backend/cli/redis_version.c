/* See redis_version.h; what is known is in the release notes of Redis. */

#include "redis_version.h"

#include <stddef.h>
#include <stdlib.h>

const char *hai_redis_version_wrong(const char *version, bool *fatal) {
    long part[3], major, minor, patch;
    char *end;
    int i;

    *fatal = false;
    for (i = 0; i < 3; i++) {
        part[i] = strtol(version, &end, 10);
        if (end == version || (i < 2 && *end != '.')) {
            return "is no version";
        }
        version = end + 1;
    }
    major = part[0];
    minor = part[1];
    patch = part[2];
    *fatal = true;
    if (major < 6 || (major == 6 && minor < 2)) {
        return "is too old: gateways ask with SMISMEMBER and CLIENT TRACKING";
    }
    if (major == 7 && minor == 0 && patch < 5) {
        return "breaks the change feed when FLUSHALL or SWAPDB come in a "
               "transaction, and XAUTOCLAIM may overflow (CVE-2022-31144, "
               "CVE-2022-35951)";
    }
    *fatal = false;
    if (major == 6) {
        return "does not know the selectors of redis-schema/acl/";
    }
    if (minor >= 200 || patch >= 200) { /* 7.1.240 came before 7.2 */
        return "is a preview, not a release";
    }
    return NULL;
}
