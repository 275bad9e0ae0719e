#include "blocks.h"

#include <string.h>

DCZ_VECTORIZE
static void widen_floats(const unsigned char *source, size_t count, double *block)
{
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, source + i * sizeof value, sizeof value);
        block[i] = value;
    }
}

void dcz_load_values(dcz_array values, size_t start, size_t count, double *block)
{
    const unsigned char *source = dcz_element(values, start);
    if (values.width == sizeof(float)) {
        widen_floats(source, count, block);
    } else {
        memcpy(block, source, count * sizeof *block);
    }
}

#define DEFINE_WIDEN(name, type)                                                       \
    DCZ_VECTORIZE                                                                      \
    static void name(const unsigned char *source, size_t count, uint64_t *block)       \
    {                                                                                  \
        for (size_t i = 0; i < count; i++) {                                           \
            type pattern;                                                              \
            memcpy(&pattern, source + i * sizeof pattern, sizeof pattern);             \
            block[i] = pattern;                                                        \
        }                                                                              \
    }
DEFINE_WIDEN(widen_u8, uint8_t)
DEFINE_WIDEN(widen_u16, uint16_t)
DEFINE_WIDEN(widen_u32, uint32_t)
DEFINE_WIDEN(widen_u64, uint64_t)

void dcz_load_patterns(dcz_array patterns, size_t start, size_t count, uint64_t *block)
{
    const unsigned char *source = dcz_element(patterns, start);
    switch (patterns.width) {
    case 1: widen_u8(source, count, block); break;
    case 2: widen_u16(source, count, block); break;
    case 4: widen_u32(source, count, block); break;
    default: widen_u64(source, count, block); break;
    }
}

DCZ_VECTORIZE
static void narrow_to_u8(const uint32_t *block, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++) out[i] = (uint8_t)block[i];
}

DCZ_VECTORIZE
static void narrow_to_u16(const uint32_t *block, size_t count, uint16_t *out)
{
    for (size_t i = 0; i < count; i++) out[i] = (uint16_t)block[i];
}

void dcz_store_indices(const uint32_t *block, size_t start, size_t count, void *out,
                          size_t width)
{
    if (width == 1) {
        narrow_to_u8(block, count, (uint8_t *)out + start);
    } else {
        narrow_to_u16(block, count, (uint16_t *)out + start);
    }
}

/* (w - low) * scale, clamped to 0 .. most; 0 if not a number. One loop a step: together they
 * become branches. */
DCZ_VECTORIZE
void dcz_scale_block(const double *block, size_t count, double low, double scale, double most,
                        double *scaled)
{
    for (size_t i = 0; i < count; i++) scaled[i] = (block[i] - low) * scale;
    for (size_t i = 0; i < count; i++) scaled[i] = scaled[i] > 0.0 ? scaled[i] : 0.0;
    for (size_t i = 0; i < count; i++) scaled[i] = scaled[i] < most ? scaled[i] : most;
}

DCZ_VECTORIZE
void dcz_scale_floats(const float *block, size_t count, float low, float scale, float most,
                      float *scaled)
{
    for (size_t i = 0; i < count; i++) scaled[i] = (block[i] - low) * scale;
    for (size_t i = 0; i < count; i++) scaled[i] = scaled[i] > 0.0f ? scaled[i] : 0.0f;
    for (size_t i = 0; i < count; i++) scaled[i] = scaled[i] < most ? scaled[i] : most;
}

float dcz_float_of(uint32_t order)
{
    uint32_t bits = order ^ (((order >> 31) - 1u) | 0x80000000u);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float dcz_float_above(double value)
{
    float nearest = (float)value;
    uint32_t bits;
    if ((double)nearest >= value) return nearest;
    memcpy(&bits, &nearest, sizeof bits);
    bits = bits >> 31 ? bits - 1 : bits + 1;
    memcpy(&nearest, &bits, sizeof bits);
    return nearest;
}
