/* Words of eight bytes, the first lowest, wherever they are in memory. */
#ifndef DCZ_WORDS_H
#define DCZ_WORDS_H

#include <string.h>

#include "decode.h"

static DCZ_ALWAYS_INLINE uint64_t dcz_load_word(const uint8_t *at)
{
    uint64_t word = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int i = 0; i < 8; i++) word |= (uint64_t)at[i] << 8 * i;
#else
    memcpy(&word, at, 8);
#endif
    return word;
}

static DCZ_ALWAYS_INLINE void dcz_store_word(uint8_t *at, uint64_t word)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(word >> 8 * i);
#else
    memcpy(at, &word, 8);
#endif
}

#endif
