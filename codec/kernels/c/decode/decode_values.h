/* What the decoder's files share, besides decode.h: decoding tables, values of 1 to 8 bytes. */
#ifndef DCZ_DECODE_VALUES_H
#define DCZ_DECODE_VALUES_H

#include <string.h>

#include "decode.h"

/* A decoding table has for every pattern of the next bits a value, then for every pattern how many
 * bits to drop. From 8 bytes on symbols of 2 bytes stand for the values, as tables would outgrow
 * the cache. */
static DCZ_ALWAYS_INLINE uint32_t dcz_entry_size(uint32_t item_size)
{
    return item_size == 8 ? 2 : item_size;
}

static DCZ_ALWAYS_INLINE uint8_t *dcz_table_lengths(const dcz_decoder *decoder)
{
    return (uint8_t *)decoder->table
           + ((size_t)dcz_entry_size(decoder->item_size) << decoder->code.longest);
}

static DCZ_ALWAYS_INLINE uint64_t dcz_value_at(const void *values, uint32_t item_size, size_t i)
{
    const uint8_t *at = (const uint8_t *)values + i * item_size;
    uint64_t x8;
    uint32_t x4;
    uint16_t x2;
    switch (item_size) {
    case 1: return *at;
    case 2: memcpy(&x2, at, 2); return x2;
    case 4: memcpy(&x4, at, 4); return x4;
    default: memcpy(&x8, at, 8); return x8;
    }
}

static DCZ_ALWAYS_INLINE void dcz_put_value(void *values, uint32_t item_size, size_t i,
                                            uint64_t value)
{
    uint8_t *at = (uint8_t *)values + i * item_size;
    uint32_t x4 = (uint32_t)value;
    uint16_t x2 = (uint16_t)value;
    switch (item_size) {
    case 1: *at = (uint8_t)value; return;
    case 2: memcpy(at, &x2, 2); return;
    case 4: memcpy(at, &x4, 4); return;
    default: memcpy(at, &value, 8);
    }
}

#endif
