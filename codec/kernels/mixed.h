/* Context mixing of quantized weights: adaptive binary models, mixed in the logistic domain, and a
 * binary range coder. Integers alone, so that every machine gives the same bits.
 *
 * Pure loops over memory that the caller owns; nothing is allocated and no byte is trusted. */
#ifndef DCZ_MIXED_H
#define DCZ_MIXED_H

#include <stddef.h>
#include <stdint.h>

#define DCZ_MIXED_INPUTS 8
#define DCZ_MIXED_BINS 16
#define DCZ_MIXED_SLOTS 8704
#define DCZ_MIXED_SETS 816
#define DCZ_MIXED_SCALES 14
#define DCZ_MIXED_SIGNED 12
#define DCZ_MIXED_RECIPROCALS 1024
#define DCZ_MIXED_LEVEL_LIMIT 0x3fffffff

/* The geometry of one tensor: rows of `row` elements, in each of which kernels of `kernel`
 * elements follow one another, in lines of `width`. */
typedef struct {
    size_t numel, row, kernel, width;
} dcz_geometry;

/* What a column has shown so far. */
typedef struct {
    uint32_t mean;   /* of magnitudes, 8 bits of fraction */
    int32_t drift;   /* mean of signed values, 8 bits of fraction */
    uint16_t rows;   /* seen */
    uint16_t alive;  /* whether any was not zero */
} dcz_column;

/* A trellis of `states` (a power of two, or 1): next = state >> 1 ^ odd * parity ^ low * (state & 1). */
typedef struct {
    uint32_t odd, low;
} dcz_trellis;

/* Adaptive state of one chunk. */
typedef struct {
    uint32_t counters[DCZ_MIXED_SLOTS][DCZ_MIXED_BINS]; /* probability << 10 | count */
    int16_t weights[2][DCZ_MIXED_SETS][DCZ_MIXED_INPUTS];
    uint16_t seen[2][DCZ_MIXED_SETS];
    int32_t scale_weights[DCZ_MIXED_SCALES];
    int32_t signed_weights[DCZ_MIXED_SIGNED];
    int16_t stretch[4096];
    uint16_t squash[6144];
    uint16_t pace[21]; /* of the weights, by how often a set was used >> 6 */
    uint32_t reciprocal[DCZ_MIXED_RECIPROCALS];
    uint32_t rate[DCZ_MIXED_RECIPROCALS];
    uint32_t global;
} dcz_mixed;

/* Codes the levels of tensors that lie end to end. `history` holds the greatest of
 * numel + 2 * min(row, numel) + DCZ_MIXED_MARGIN over the tensors, `columns` the longest row.
 * Returns the bytes the code takes; those beyond `capacity` are not written. */
#define DCZ_MIXED_MARGIN 128
size_t dcz_mixed_encode(dcz_mixed *model, const dcz_geometry *tensors, size_t count,
                        dcz_trellis trellis, int16_t *history, dcz_column *columns,
                        const int32_t *levels, uint8_t *out, size_t capacity);

/* Decodes them again, as positions on the grid of half steps. Returns 0 if the bytes are not
 * what an encoder writes. */
int dcz_mixed_decode(dcz_mixed *model, const dcz_geometry *tensors, size_t count,
                     dcz_trellis trellis, int16_t *history, dcz_column *columns,
                     const uint8_t *data, size_t size, int32_t *positions);

#endif
