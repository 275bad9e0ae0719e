/* Counts of the digits of magnitudes. */
#include "blocks.h"

#include <string.h>

#define MAGNITUDE 0x7fffffffu
enum { STRIDE = 32 };

static inline uint32_t load_magnitude(const unsigned char *source, size_t i)
{
    uint32_t pattern;
    memcpy(&pattern, source + i * sizeof pattern, sizeof pattern);
    return pattern & MAGNITUDE;
}

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

/* Counts the lower halves of a stride's magnitudes whose upper half is `prefix`; whether there is
 * any is found without branches. */
static inline void count_lower_stride(const unsigned char *source, size_t count, uint32_t prefix,
                                      int64_t *counts)
{
    uint32_t any = 0;
    for (size_t i = 0; i < count; i++) any |= (load_magnitude(source, i) ^ prefix << 16) < 1u << 16;
    if (!any) return;
    for (size_t i = 0; i < count; i++) {
        uint32_t lower = load_magnitude(source, i) ^ prefix << 16;
        if (lower < 1u << 16) counts[lower]++;
    }
}

/* The lower half of the magnitudes of floats whose upper half is `prefix`: few, as a rule. */
DCZ_VECTORIZE
static void count_lower(dcz_array values, uint32_t prefix, int64_t *counts)
{
    size_t start = 0;
    for (; start + STRIDE <= values.count; start += STRIDE)
        count_lower_stride(dcz_element(values, start), STRIDE, prefix, counts);
    count_lower_stride(dcz_element(values, start), values.count - start, prefix, counts);
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

/* ---- magnitudes in a range ---- */

/* A stride of patterns: counts magnitudes below the range, and collects those in it. Whether any
 * is in it is found without branches; magnitudes have no sign, so that signed comparisons do. */
#define DEFINE_SELECT(width)                                                                  \
    static inline int##width##_t magnitude_##width(const unsigned char *source, size_t i)     \
    {                                                                                         \
        int##width##_t pattern;                                                               \
        memcpy(&pattern, source + i * sizeof pattern, sizeof pattern);                        \
        return pattern & INT##width##_MAX;                                                    \
    }                                                                                         \
                                                                                              \
    static inline void select_stride_##width(const unsigned char *source, size_t count,       \
                                             int##width##_t first, int##width##_t last,       \
                                             dcz_selection *selection)                        \
    {                                                                                         \
        int##width##_t *out = selection->out;                                                 \
        int##width##_t below = 0;                                                             \
        int##width##_t above = 0;                                                             \
        for (size_t i = 0; i < count; i++) {                                                  \
            below += magnitude_##width(source, i) < first;                                    \
            above += magnitude_##width(source, i) > last;                                     \
        }                                                                                     \
        selection->below += (size_t)below;                                                    \
        if ((size_t)(below + above) == count) return;                                         \
        for (size_t i = 0; i < count; i++) {                                                  \
            int##width##_t key = magnitude_##width(source, i);                                \
            if (key < first || key > last) continue;                                          \
            if (selection->found < selection->room) out[selection->found] = key;              \
            selection->found++;                                                               \
        }                                                                                     \
    }                                                                                         \
                                                                                              \
    DCZ_VECTORIZE                                                                             \
    static void select_##width(dcz_array values, int##width##_t first, int##width##_t last,   \
                               dcz_selection *selection)                                      \
    {                                                                                         \
        dcz_selection own = *selection;                                                       \
        size_t start = 0;                                                                     \
        for (; start + STRIDE <= values.count; start += STRIDE)                               \
            select_stride_##width(dcz_element(values, start), STRIDE, first, last, &own);     \
        select_stride_##width(dcz_element(values, start), values.count - start, first, last,  \
                              &own);                                                          \
        *selection = own;                                                                     \
    }
DEFINE_SELECT(32)
DEFINE_SELECT(64)

void dcz_select_magnitudes(dcz_array values, uint64_t first, uint64_t last,
                           dcz_selection *selection)
{
    if (values.width == sizeof(float)) {
        select_32(values, (int32_t)first, (int32_t)last, selection);
    } else {
        select_64(values, (int64_t)first, (int64_t)last, selection);
    }
}
