/* The slots of a Redis Cluster, see hai_slot.h. */

#include "hai_slot.h"

/* CRC-16/XMODEM, as the cluster's specification wants it: bit by bit, since
 * it is asked for once per program. */
unsigned hai_slot(const char *tag, size_t len) {
    unsigned crc = 0, bit;
    size_t i;

    for (i = 0; i < len; i++) {
        crc ^= (unsigned) (unsigned char) tag[i] << 8;

        for (bit = 0; bit < 8; bit++) {
            crc = (crc << 1) ^ ((crc & 0x8000) ? 0x1021 : 0);
        }

        crc &= 0xffff;
    }

    return crc % HAI_SLOTS;
}
