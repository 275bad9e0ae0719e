/* Blocks of an array, widened or narrowed: one loop serves every width and needs no alignment, and
 * a block stays in the first-level cache. */
#ifndef DCZ_BLOCKS_H
#define DCZ_BLOCKS_H

#include <math.h>
#include <string.h>

#include "weights.h"

enum { BLOCK = 512, LANES = 8 };

static inline size_t dcz_smaller(size_t a, size_t b) { return a < b ? a : b; }

static inline const unsigned char *dcz_element(dcz_array array, size_t index)
{
    return (const unsigned char *)array.data + index * array.width;
}

static inline int dcz_survives(double w, double cutoff)
{
    return (w != 0.0) & (fabs(w) >= cutoff);
}

void dcz_load_values(dcz_array values, size_t start, size_t count, double *block);
void dcz_load_patterns(dcz_array patterns, size_t start, size_t count, uint64_t *block);
void dcz_store_indices(const uint32_t *block, size_t start, size_t count, void *out, size_t width);

void dcz_scale_block(const double *block, size_t count, double low, double scale, double most,
                     double *scaled);
/* The same in the arithmetic of floats. */
void dcz_scale_floats(const float *block, size_t count, float low, float scale, float most,
                      float *scaled);

/* An integer that is greater where the float is. */
static inline uint32_t dcz_order(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits ^ ((0u - (bits >> 31)) | 0x80000000u);
}

float dcz_float_of(uint32_t order);
/* The least float that is not below a number. */
float dcz_float_above(double value);

#endif
