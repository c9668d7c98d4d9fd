/* Which versions of Redis a gateway can be trusted to. */

#ifndef HAI_REDIS_VERSION_H
#define HAI_REDIS_VERSION_H

#include <stdbool.h>

/* What is wrong with "7.0.4", NULL: nothing; static.  *fatal: it must not be
 * used. */
const char *hai_redis_version_wrong(const char *version, bool *fatal);

#endif
