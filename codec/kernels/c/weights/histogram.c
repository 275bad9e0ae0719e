#include "blocks.h"

#include <string.h>

#define LARGEST_POSITION 4294967295.0
#define TWO_52 4503599627370496.0
#define SEGMENT_BITS 20
#define COUNT_SHIFT 40
#define FLUSH_VALUES ((size_t)1 << 20) /* more could carry offsets into a packed count */
#define SAMPLE_VALUES ((size_t)16384)
#define LEAST_WIDTH 4u
#define SHARED_WIDTH (DCZ_BINS - DCZ_SEGMENTS * LEAST_WIDTH)

/* Adding 2^52 rounds a position and leaves it in the low bits, where compilers can vectorize what
 * they can't as a conversion; taking one off where it rounded up truncates. */
DCZ_VECTORIZE
static void truncate_block(const double *scaled, size_t count, uint32_t *positions)
{
    for (size_t i = 0; i < count; i++) {
        double rounded = scaled[i] + TWO_52;
        uint64_t bits;
        memcpy(&bits, &rounded, sizeof bits);
        positions[i] = (uint32_t)(bits - (rounded - TWO_52 > scaled[i]));
    }
}

DCZ_VECTORIZE
static size_t count_survivors(const double *block, size_t count, double cutoff)
{
    int64_t survivors = 0;
    for (size_t i = 0; i < count; i++) survivors += dcz_survives(block[i], cutoff);
    return (size_t)survivors;
}

static size_t keep_survivors(const double *block, size_t count, double cutoff,
                             uint32_t *positions)
{
    size_t kept = 0;
    if (count_survivors(block, count, cutoff) == count) return count;
    for (size_t i = 0; i < count; i++) {
        positions[kept] = positions[i];
        kept += (size_t)dcz_survives(block[i], cutoff);
    }
    return kept;
}

/* A sample's survivors in each segment. */
static void sample_segments(dcz_array values, double cutoff, double low, double scale,
                            uint32_t *sampled)
{
    size_t stride = (values.count / SAMPLE_VALUES) | 1; /* odd: not in step with rows */
    memset(sampled, 0, DCZ_SEGMENTS * sizeof *sampled);
    for (size_t i = 0; i < values.count; i += stride) {
        double w, position;
        dcz_load_values(values, i, 1, &w);
        if (!dcz_survives(w, cutoff)) continue;
        dcz_scale_block(&w, 1, low, scale, LARGEST_POSITION, &position);
        sampled[(uint32_t)(int64_t)position >> SEGMENT_BITS]++;
    }
}

double dcz_cube_root(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = bits / 3 + ((uint64_t)682 << 52); /* 682 = 1023 - 1023 / 3: the exponent's bias */
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void plan_grid(dcz_array values, double cutoff, double low, double scale, uint32_t *base,
                      uint32_t *width)
{
    double total = 0.0;
    uint32_t next = 0;
    sample_segments(values, cutoff, low, scale, width);
    for (size_t s = 0; s < DCZ_SEGMENTS; s++) {
        if (width[s] != 0) total += dcz_cube_root(width[s]);
    }
    for (size_t s = 0; s < DCZ_SEGMENTS; s++) {
        double share = width[s] != 0 ? dcz_cube_root(width[s]) / total : 0.0;
        width[s] = LEAST_WIDTH + (uint32_t)(share * SHARED_WIDTH);
        base[s] = next;
        next += width[s];
    }
}

static void count_positions(const uint32_t *positions, size_t count,
                            dcz_histogram_scratch *scratch)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t segment = positions[i] >> SEGMENT_BITS;
        uint64_t offset = positions[i] & ((1u << SEGMENT_BITS) - 1);
        uint64_t bin = scratch->base[segment] + (offset * scratch->width[segment] >> SEGMENT_BITS);
        scratch->packed[bin] += ((uint64_t)1 << COUNT_SHIFT) + offset;
    }
}

static void flush(dcz_histogram_scratch *scratch, int64_t *counts, int64_t *sums)
{
    for (size_t s = 0; s < DCZ_SEGMENTS; s++) {
        int64_t origin = (int64_t)s << SEGMENT_BITS;
        size_t end = scratch->base[s] + scratch->width[s];
        for (size_t bin = scratch->base[s]; bin < end; bin++) {
            int64_t count = (int64_t)(scratch->packed[bin] >> COUNT_SHIFT);
            counts[bin] += count;
            sums[bin] += count * origin
                         + (int64_t)(scratch->packed[bin] & (((uint64_t)1 << COUNT_SHIFT) - 1));
        }
    }
    memset(scratch->packed, 0, sizeof scratch->packed);
}

/* Move the bins in use to the front; returns their number. */
static size_t close_ranks(int64_t *counts, int64_t *sums)
{
    size_t used = 0;
    for (size_t bin = 0; bin < DCZ_BINS; bin++) {
        counts[used] = counts[bin];
        sums[used] = sums[bin];
        used += (size_t)(counts[bin] != 0);
    }
    return used;
}

size_t dcz_histogram(dcz_array values, double cutoff, double low, double scale, int64_t *counts,
                     int64_t *sums, dcz_histogram_scratch *scratch)
{
    double block[BLOCK];
    double scaled[BLOCK];
    uint32_t positions[BLOCK];
    plan_grid(values, cutoff, low, scale, scratch->base, scratch->width);
    memset(scratch->packed, 0, sizeof scratch->packed);
    memset(counts, 0, DCZ_BINS * sizeof *counts);
    memset(sums, 0, DCZ_BINS * sizeof *sums);
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, values.count - start);
        dcz_load_values(values, start, count, block);
        dcz_scale_block(block, count, low, scale, LARGEST_POSITION, scaled);
        truncate_block(scaled, count, positions);
        count = keep_survivors(block, count, cutoff, positions);
        count_positions(positions, count, scratch);
        if ((start + BLOCK) % FLUSH_VALUES == 0) flush(scratch, counts, sums);
    }
    flush(scratch, counts, sums);
    return close_ranks(counts, sums);
}
