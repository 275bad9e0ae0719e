/* Counts of the digits of magnitudes. */
#include "blocks.h"

#include <string.h>

#define MAGNITUDE 0x7fffffffu
enum { STRIDE = 32 };

DCZ_VECTORIZE
static void upper_digits(const uint32_t *patterns, size_t count, uint16_t *digits)
{
    for (size_t i = 0; i < count; i++) digits[i] = (uint16_t)((patterns[i] & MAGNITUDE) >> 16);
}

/* The upper half of the magnitudes of floats. */
static void count_upper(dcz_array values, int64_t *counts)
{
    uint32_t block[BLOCK];
    uint16_t digits[BLOCK];
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, values.count - start);
        memcpy(block, dcz_element(values, start), count * sizeof *block);
        upper_digits(block, count, digits);
        for (size_t i = 0; i < count; i++) counts[digits[i]]++;
    }
}

/* Leaves lower halves below 2^16 where the upper half is the prefix; returns whether any is. */
DCZ_VECTORIZE
static uint32_t select_lower(const uint32_t *patterns, uint32_t prefix, uint32_t *lower)
{
    uint32_t any = 0;
    for (size_t i = 0; i < STRIDE; i++) lower[i] = (patterns[i] & MAGNITUDE) ^ prefix << 16;
    for (size_t i = 0; i < STRIDE; i++) any |= lower[i] < 1u << 16;
    return any;
}

/* The lower half of the magnitudes of floats whose upper half is `prefix`: few, as a rule. */
static void count_lower(dcz_array values, uint32_t prefix, int64_t *counts)
{
    uint32_t block[STRIDE];
    uint32_t lower[STRIDE];
    for (size_t start = 0; start < values.count; start += STRIDE) {
        size_t count = dcz_smaller(STRIDE, values.count - start);
        memset(block, 0, sizeof block);
        memcpy(block, dcz_element(values, start), count * sizeof *block);
        if (!select_lower(block, prefix, lower)) continue;
        for (size_t i = 0; i < count; i++) {
            if (lower[i] < 1u << 16) counts[lower[i]]++;
        }
    }
}

static void count_any(dcz_array values, unsigned shift, uint64_t prefix, int64_t *counts)
{
    uint64_t block[BLOCK];
    unsigned bits = (unsigned)values.width * 8;
    uint64_t magnitude = ((uint64_t)1 << (bits - 1)) - 1;
    /* shifting by the whole width is undefined in C, and by definition gives 0 here */
    uint64_t selecting = shift + 16 < bits ? UINT64_MAX : 0;
    unsigned select_shift = shift + 16 < bits ? shift + 16 : 0;
    uint64_t counting = shift < bits ? 0xffff : 0;
    unsigned count_shift = shift < bits ? shift : 0;
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, values.count - start);
        dcz_load_patterns(values, start, count, block);
        for (size_t i = 0; i < count; i++) {
            uint64_t key = block[i] & magnitude;
            if (((key >> select_shift) & selecting) != prefix) continue;
            counts[(key >> count_shift) & counting]++;
        }
    }
}

void dcz_count_magnitudes(dcz_array values, unsigned shift, uint64_t prefix, int64_t *counts)
{
    if (values.width == sizeof(float) && shift == 16 && prefix == 0) {
        count_upper(values, counts);
    } else if (values.width == sizeof(float) && shift == 0 && prefix < 1u << 15) {
        count_lower(values, (uint32_t)prefix, counts);
    } else {
        count_any(values, shift, prefix, counts);
    }
}
