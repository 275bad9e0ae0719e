/* Runs and their classes; runs.h has the interface. */
#include "runs.h"

#include <string.h>

/* ---- bins ---- */

/* Exact for what 16 bits can tell apart; a cast rounds toward zero, and a floor is wanted. */
static DCZ_ALWAYS_INLINE uint16_t bin_of(double value, double scale, double low)
{
    double position = value * scale - low;
    int32_t bin;
    if (!(position > 0)) return 0;
    if (position > 65535) return 65535;
    bin = (int32_t)position;
    return (uint16_t)bin;
}

DCZ_FOR_NEWER_PROCESSORS
void dcz_find_bins(const void *values, int wide, size_t count, double scale, double low,
                   uint16_t *bins)
{
    const double *doubles = values;
    const float *floats = values;
    if (wide)
        for (size_t i = 0; i < count; i++) bins[i] = bin_of(doubles[i], scale, low);
    else
        for (size_t i = 0; i < count; i++) bins[i] = bin_of(floats[i], scale, low);
}

/* ---- runs ---- */

static DCZ_ALWAYS_INLINE uint32_t symbol_at(const void *symbols, uint32_t item_size, size_t i)
{
    return item_size == 1 ? ((const uint8_t *)symbols)[i] : ((const uint16_t *)symbols)[i];
}

static DCZ_ALWAYS_INLINE int count_items(const dcz_runs *runs, const void *symbols,
                                         uint32_t item_size, uint32_t alphabet, int64_t *counts)
{
    size_t group = 0;
    for (size_t begin = 0; begin < runs->count; begin += runs->length) {
        size_t left = runs->count - begin;
        size_t end = begin + (left < runs->length ? left : runs->length);
        int64_t *own = counts + (size_t)runs->groups[group] * alphabet;
        for (size_t i = begin; i < end; i++) {
            uint32_t symbol = symbol_at(symbols, item_size, i);
            if (symbol >= alphabet) return 0;
            own[symbol]++;
        }
        group++;
    }
    return 1;
}

int dcz_count_runs(const dcz_runs *runs, const void *symbols, uint32_t item_size,
                   uint32_t alphabet, int64_t *counts)
{
    if (item_size == 1) return count_items(runs, symbols, 1, alphabet, counts);
    return count_items(runs, symbols, 2, alphabet, counts);
}

static DCZ_ALWAYS_INLINE int map_items(const dcz_runs *runs, const uint16_t *bins,
                                       const uint16_t *tables, size_t width, void *out,
                                       uint32_t item_size)
{
    size_t group = 0;
    for (size_t begin = 0; begin < runs->count; begin += runs->length) {
        size_t left = runs->count - begin;
        size_t end = begin + (left < runs->length ? left : runs->length);
        const uint16_t *own = tables + runs->groups[group] * width;
        for (size_t i = begin; i < end; i++) {
            if (bins[i] >= width) return 0;
            if (item_size == 1)
                ((uint8_t *)out)[i] = (uint8_t)own[bins[i]];
            else
                ((uint16_t *)out)[i] = own[bins[i]];
        }
        group++;
    }
    return 1;
}

int dcz_map_runs(const dcz_runs *runs, const uint16_t *bins, const uint16_t *tables, size_t width,
                 void *out, uint32_t item_size)
{
    if (item_size == 1) return map_items(runs, bins, tables, width, out, 1);
    return map_items(runs, bins, tables, width, out, 2);
}

/* ---- classes ---- */

static DCZ_ALWAYS_INLINE int64_t product(const int64_t *counts, const int64_t *rates, size_t size)
{
    int64_t sum = 0;
    for (size_t i = 0; i < size; i++) sum += counts[i] * rates[i];
    return sum;
}

void dcz_nearest_classes(const int64_t *counts, size_t rows, size_t alphabet,
                         const int64_t *rates, size_t classes, uint8_t *nearest, int64_t *sums)
{
    for (size_t row = 0; row < rows; row++, counts += alphabet) {
        int64_t least = product(counts, rates, alphabet);
        int64_t *own;
        nearest[row] = 0;
        for (size_t k = 1; k < classes; k++) {
            int64_t cost = product(counts, rates + k * alphabet, alphabet);
            if (cost >= least) continue;
            least = cost;
            nearest[row] = (uint8_t)k;
        }
        own = sums + nearest[row] * alphabet;
        for (size_t i = 0; i < alphabet; i++) own[i] += counts[i];
    }
}
