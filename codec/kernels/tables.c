/* Reading of code tables; tables.h has the interface. */
#include "tables.h"

enum { LITERAL_BITS = 4 };

/* The bit at a position, zero after the end. */
static unsigned bit_at(const uint8_t *bits, size_t size, size_t position)
{
    return position >> 3 < size ? bits[position >> 3] >> (position & 7) & 1u : 0u;
}

size_t dcz_read_lengths(const uint8_t *bits, size_t size, size_t alphabet, unsigned guess,
                        unsigned longest, uint8_t *lengths)
{
    unsigned length = guess;
    size_t at = 0;
    for (size_t symbol = 0; symbol < alphabet; symbol++) {
        unsigned ones = 0;
        while (ones < 3 && bit_at(bits, size, at + ones)) ones++;
        at += ones < 3 ? ones + 1 : 3;
        if (ones == 1) length++;
        if (ones == 2) length--;
        if (ones == 3) {
            length = 0;
            for (unsigned i = 0; i < LITERAL_BITS; i++) length |= bit_at(bits, size, at + i) << i;
            at += LITERAL_BITS;
        }
        if (length > longest) return SIZE_MAX; /* one less than 0 is, too */
        lengths[symbol] = (uint8_t)length;
    }
    return at;
}
