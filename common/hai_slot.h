/* The slots of a Redis Cluster. */

#ifndef HAI_SLOT_H
#define HAI_SLOT_H

#include <stddef.h>

#define HAI_SLOTS 16384

/* The slot of all keys with this hash tag, the part between the braces. */
unsigned hai_slot(const char *tag, size_t len);

#endif
