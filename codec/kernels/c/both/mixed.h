/* Context mixing of quantized weights: adaptive binary models, mixed in the logistic domain, and a
 * binary range coder. Integers alone, so that every machine gives the same bits.
 *
 * Pure loops over memory that the caller owns; nothing is allocated and no byte is trusted. */
#ifndef DCZ_MIXED_H
#define DCZ_MIXED_H

#include <stddef.h>
#include <stdint.h>

#include "mixing.h"

#define DCZ_MIXED_BINS 16
#define DCZ_MIXED_SLOTS 6201
#define DCZ_MIXED_SETS 769
#define DCZ_MIXED_FINE 7744
#define DCZ_MIXED_POSITION_LIMIT 131072
#define DCZ_MIXED_ROW_LIMIT 262144

/* A chunk of a tensor: `numel` elements from element `start` on. The tensor's rows have `row`
 * elements each, in which kernels of `kernel` elements follow one another, in lines of `width`. */
typedef struct {
    size_t start, numel, row, kernel, width;
} dcz_chunk;

/* What a column has shown so far. */
typedef struct {
    uint32_t mean;   /* of magnitudes, 8 bits of fraction */
    int32_t drift;   /* mean of signed values, 8 bits of fraction */
    uint16_t rows;   /* seen */
    uint16_t nonzero;
} dcz_column;

/* Chunks, of one tensor each, that are coded one after the other as one: the models go on learning.
 * `history` has room for 2 * row + numel + DCZ_MIXED_MARGIN of any chunk, `columns` for a row. */
typedef struct {
    const dcz_chunk *all;
    size_t count;
    int grouped; /* contexts are those of several tensors, which are few and sparse */
    int16_t *history;
    dcz_column *columns;
} dcz_chunks;

/* A trellis: next state = state >> 1 ^ (odd if the level is) ^ (low if the state is odd). */
typedef struct {
    uint32_t odd, low;
} dcz_trellis;

/* A set of weights, and how often it was used. */
typedef struct {
    int16_t weights[DCZ_MIXED_INPUTS];
    uint16_t seen;
} dcz_weights;

/* Adaptive state. */
typedef struct {
    uint32_t counters[DCZ_MIXED_SLOTS][DCZ_MIXED_BINS]; /* probability << 10 | count */
    uint32_t fine[DCZ_MIXED_FINE]; /* the same, of the lower bits of magnitudes */
    dcz_weights sets[DCZ_MIXED_SETS];
    int32_t scale_weights[DCZ_MIXED_TERMS], value_weights[DCZ_MIXED_TERMS];
    int16_t stretch[4096];
    uint16_t squash[6144];
    uint16_t pace[21]; /* of the weights, by how often a set was used >> 6 */
    uint32_t share[65];
    uint16_t reciprocal[256];
    uint32_t global;
    int32_t signs, gain; /* signs coded by contexts, and what these gained */
    uint32_t predicted;  /* by the last decision: the probability of a 1 */
} dcz_mixed;

/* Elements of the history beside those of the chunk and two rows. */
#define DCZ_MIXED_MARGIN 128

/* Whether positions on the grid of half steps are those of levels along the trellis, and not over
 * the limit. */
int dcz_mixed_codable(dcz_trellis trellis, const int32_t *positions, size_t numel);

/* Codes the positions of some chunks, those of each behind those of the one before. Returns the bytes
 * that the code takes; those beyond `capacity` are not written. */
size_t dcz_mixed_encode(dcz_mixed *model, const dcz_chunks *chunks, dcz_trellis trellis,
                        const int32_t *positions, uint8_t *out, size_t capacity);

/* Decodes them again. Returns 0 if bytes are left over. */
int dcz_mixed_decode(dcz_mixed *model, const dcz_chunks *chunks, dcz_trellis trellis,
                     const uint8_t *data, size_t size, int32_t *positions);

#endif
