/* SOURCES: common/hai_edit.c */

/*
 * The wire form of edits: what is read is sorted, lies within the body and
 * has exactly the wire form that it was read from.  The first two bytes are
 * the body's size, or with ff ff the greatest there is.
 */

#include "hai_edit.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(x)                                                               \
    do {                                                                       \
        if (!(x)) {                                                            \
            abort();                                                           \
        }                                                                      \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct hai_edits e;
    char *wire, *again;
    uint64_t body;
    size_t len;

    if (size < 2) {
        return 0;
    }

    body = (uint64_t) data[0] << 8 | data[1];
    if (body == 0xffff) {
        body = UINT64_MAX;
    }
    len = size - 2;
    wire = malloc(len ? len : 1);
    CHECK(wire);
    memcpy(wire, data + 2, len);

    if (hai_edits_wire_read(&e, wire, len, body) == 0) {
        CHECK(hai_edits_sort(&e, body) == 0);
        CHECK(hai_edits_wire_size(&e) == len);
        again = malloc(len ? len : 1);
        CHECK(again);
        CHECK(hai_edits_wire_write(&e, again) == again + len);
        CHECK(memcmp(again, wire, len) == 0);
        free(again);
    } else {
        CHECK(e.n == 0);
    }

    free(wire);
    return 0;
}
