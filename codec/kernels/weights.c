#include "weights.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Values are taken in blocks widened to double (patterns to 64 bits): one loop serves every
 * width, needs no alignment, and a block stays in the first-level cache. */
enum { BLOCK = 512, LANES = 8 };

#define LARGEST_POSITION 4294967295.0
#define TWO_52 4503599627370496.0
#define SEGMENT_BITS 20
#define COUNT_SHIFT 40
#define FLUSH_VALUES ((size_t)1 << 20) /* more could carry offsets into a packed count */
#define SAMPLE_VALUES ((size_t)16384)
#define LEAST_WIDTH 4u
#define SHARED_WIDTH (DCZ_BINS - DCZ_SEGMENTS * LEAST_WIDTH)

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static const unsigned char *element(dcz_array array, size_t index)
{
    return (const unsigned char *)array.data + index * array.width;
}

/* ---- blocks ---- */

DCZ_VECTORIZE
static void widen_floats(const unsigned char *source, size_t count, double *block)
{
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, source + i * sizeof value, sizeof value);
        block[i] = value;
    }
}

static void load_values(dcz_array values, size_t start, size_t count, double *block)
{
    const unsigned char *source = element(values, start);
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

static void load_patterns(dcz_array patterns, size_t start, size_t count, uint64_t *block)
{
    const unsigned char *source = element(patterns, start);
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

static void store_indices(const uint32_t *block, size_t start, size_t count, void *out,
                          size_t width)
{
    if (width == 1) {
        narrow_to_u8(block, count, (uint8_t *)out + start);
    } else {
        narrow_to_u16(block, count, (uint16_t *)out + start);
    }
}

DCZ_VECTORIZE
static unsigned largest_u8(const uint8_t *indices, size_t count)
{
    uint8_t largest = 0;
    for (size_t i = 0; i < count; i++) largest = indices[i] > largest ? indices[i] : largest;
    return largest;
}

DCZ_VECTORIZE
static unsigned largest_u16(const unsigned char *indices, size_t count)
{
    uint16_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t index;
        memcpy(&index, indices + i * sizeof index, sizeof index);
        largest = index > largest ? index : largest;
    }
    return largest;
}

unsigned dcz_largest(dcz_array indices)
{
    return indices.width == 1 ? largest_u8(indices.data, indices.count)
                              : largest_u16(indices.data, indices.count);
}

/* ---- summarize and measure: sums in eight lanes, so that vectors keep the defined order ---- */

typedef struct {
    double minimum[LANES];
    double maximum[LANES];
    double energy[LANES];
    int64_t zeros[LANES];
} summary_lanes;

double dcz_add_lanes(const double *lanes)
{
    double sum = lanes[0];
    for (int j = 1; j < LANES; j++) sum += lanes[j];
    return sum;
}

static inline void add_value(summary_lanes *lanes, size_t j, double w)
{
    lanes->minimum[j] = w < lanes->minimum[j] ? w : lanes->minimum[j];
    lanes->maximum[j] = w > lanes->maximum[j] ? w : lanes->maximum[j];
    lanes->energy[j] += w * w;
    lanes->zeros[j] += w == 0.0;
}

DCZ_VECTORIZE
static void summarize_rows(const double *block, size_t count, summary_lanes *lanes)
{
    summary_lanes l = *lanes;
    for (size_t i = 0; i + LANES <= count; i += LANES) {
        for (size_t j = 0; j < LANES; j++) add_value(&l, j, block[i + j]);
    }
    *lanes = l;
}

static void summarize_block(const double *block, size_t count, summary_lanes *lanes)
{
    size_t rest = count % LANES;
    summarize_rows(block, count, lanes);
    for (size_t j = 0; j < rest; j++) add_value(lanes, j, block[count - rest + j]);
}

static dcz_summary merge_lanes(const summary_lanes *lanes)
{
    dcz_summary summary = {lanes->minimum[0], lanes->maximum[0], 0.0, 0, 1};
    summary.energy = dcz_add_lanes(lanes->energy);
    for (int j = 0; j < LANES; j++) {
        summary.minimum = fmin(summary.minimum, lanes->minimum[j]);
        summary.maximum = fmax(summary.maximum, lanes->maximum[j]);
        summary.zeros += lanes->zeros[j];
    }
    /* a NaN passes every comparison by, but stays in the sum of squares */
    summary.finite = summary.minimum >= -DBL_MAX && summary.maximum <= DBL_MAX
                     && !isnan(summary.energy);
    if (!summary.finite) summary.minimum = summary.maximum = summary.energy = NAN;
    /* adding zero turns -0.0 into 0.0: which of the two came first must not matter */
    summary.minimum += 0.0;
    summary.maximum += 0.0;
    return summary;
}

dcz_summary dcz_summarize(dcz_array values)
{
    static const dcz_summary empty = {0.0, 0.0, 0.0, 0, 1};
    double block[BLOCK];
    summary_lanes lanes = {{0}, {0}, {0}, {0}};
    if (values.count == 0) return empty;
    for (int j = 0; j < LANES; j++) {
        lanes.minimum[j] = DBL_MAX;
        lanes.maximum[j] = -DBL_MAX;
    }
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = smaller(BLOCK, values.count - start);
        load_values(values, start, count, block);
        summarize_block(block, count, &lanes);
    }
    return merge_lanes(&lanes);
}

DCZ_VECTORIZE
static void add_squares(const double *differences, size_t count, double *lanes)
{
    double l[LANES];
    memcpy(l, lanes, sizeof l);
    for (size_t i = 0; i < count; i += LANES) {
        for (size_t j = 0; j < LANES; j++) l[j] += differences[i + j] * differences[i + j];
    }
    memcpy(lanes, l, sizeof l);
}

static void subtract_levels(double *block, dcz_array indices, size_t start, size_t count,
                            const double *codebook)
{
    const unsigned char *source = element(indices, start);
    if (indices.width == 1) {
        for (size_t i = 0; i < count; i++) block[i] -= codebook[source[i]];
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t index;
        memcpy(&index, source + i * sizeof index, sizeof index);
        block[i] -= codebook[index];
    }
}

double dcz_measure(dcz_array values, dcz_array indices, const double *codebook)
{
    double block[BLOCK];
    double lanes[LANES] = {0};
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = smaller(BLOCK, values.count - start);
        load_values(values, start, count, block);
        subtract_levels(block, indices, start, count, codebook);
        while (count % LANES != 0) block[count++] = 0.0;
        add_squares(block, count, lanes);
    }
    return dcz_add_lanes(lanes);
}

/* ---- count_magnitudes ---- */

void dcz_count_magnitudes(dcz_array values, unsigned shift, uint64_t prefix, int64_t *counts)
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
        size_t count = smaller(BLOCK, values.count - start);
        load_patterns(values, start, count, block);
        for (size_t i = 0; i < count; i++) {
            uint64_t key = block[i] & magnitude;
            if (((key >> select_shift) & selecting) != prefix) continue;
            counts[(key >> count_shift) & counting]++;
        }
    }
}

/* ---- positions ---- */

/* (w - low) * scale, clamped to 0 .. most; 0 if not a number. One loop a step: together they
 * become branches. */
DCZ_VECTORIZE
static void scale_block(const double *block, size_t count, double low, double scale, double most,
                        double *scaled)
{
    for (size_t i = 0; i < count; i++) scaled[i] = (block[i] - low) * scale;
    for (size_t i = 0; i < count; i++) scaled[i] = scaled[i] > 0.0 ? scaled[i] : 0.0;
    for (size_t i = 0; i < count; i++) scaled[i] = scaled[i] < most ? scaled[i] : most;
}

/* ---- histogram ---- */

static int survives(double w, double cutoff) { return (w != 0.0) & (fabs(w) >= cutoff); }

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
    for (size_t i = 0; i < count; i++) survivors += survives(block[i], cutoff);
    return (size_t)survivors;
}

static size_t keep_survivors(const double *block, size_t count, double cutoff,
                             uint32_t *positions)
{
    size_t kept = 0;
    if (count_survivors(block, count, cutoff) == count) return count;
    for (size_t i = 0; i < count; i++) {
        positions[kept] = positions[i];
        kept += (size_t)survives(block[i], cutoff);
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
        load_values(values, i, 1, &w);
        if (!survives(w, cutoff)) continue;
        scale_block(&w, 1, low, scale, LARGEST_POSITION, &position);
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
        size_t count = smaller(BLOCK, values.count - start);
        load_values(values, start, count, block);
        scale_block(block, count, low, scale, LARGEST_POSITION, scaled);
        truncate_block(scaled, count, positions);
        count = keep_survivors(block, count, cutoff, positions);
        count_positions(positions, count, scratch);
        if ((start + BLOCK) % FLUSH_VALUES == 0) flush(scratch, counts, sums);
    }
    flush(scratch, counts, sums);
    return close_ranks(counts, sums);
}

/* ---- assign: a table gives the first candidate, a few halvings the level ---- */

size_t dcz_padded_thresholds(size_t count)
{
    size_t reach = 1;
    while (reach <= count) reach *= 2;
    return count + reach;
}

/* Any monotone function will do: thresholds pass through the same one. */
DCZ_VECTORIZE
static void find_buckets(const dcz_assigner *assigner, const double *block, size_t count,
                         int32_t *buckets)
{
    double scaled[BLOCK];
    scale_block(block, count, assigner->low, assigner->scale, DCZ_BUCKETS - 1, scaled);
    for (size_t i = 0; i < count; i++) buckets[i] = (int32_t)scaled[i];
}

static void fill_starts(dcz_assigner *assigner, size_t count)
{
    size_t most = 0;
    size_t start = 0;
    int32_t bucket = 0;
    int32_t next;
    for (size_t t = 0; t < count; t++) {
        find_buckets(assigner, &assigner->thresholds[t], 1, &next);
        if (next > bucket) start = t;
        while (bucket < next) assigner->start[++bucket] = (uint32_t)t;
        if (t + 1 - start > most) most = t + 1 - start;
    }
    while (bucket < DCZ_BUCKETS - 1) assigner->start[++bucket] = (uint32_t)count;
    assigner->start[0] = 0;
    assigner->first_half = 1;
    while (2 * (size_t)assigner->first_half <= most) assigner->first_half *= 2;
}

void dcz_prepare_assigner(dcz_assigner *assigner, dcz_array thresholds)
{
    size_t count = thresholds.count;
    size_t padded = dcz_padded_thresholds(count);
    load_values(thresholds, 0, count, assigner->thresholds);
    for (size_t i = count; i < padded; i++) assigner->thresholds[i] = INFINITY;
    assigner->low = count == 0 ? 0.0 : assigner->thresholds[0];
    assigner->scale = 0.0;
    if (count > 1) {
        double scale = DCZ_BUCKETS / (assigner->thresholds[count - 1] - assigner->low);
        if (scale <= DBL_MAX) assigner->scale = scale;
    }
    fill_starts(assigner, count);
}

/* The number of thresholds below each value. Usually no bucket has more than one of them. */
static void find_levels(const dcz_assigner *assigner, const double *block, size_t count,
                        uint32_t *levels)
{
    const double *thresholds = assigner->thresholds;
    int32_t buckets[BLOCK];
    find_buckets(assigner, block, count, buckets);
    if (assigner->first_half == 1) {
        for (size_t i = 0; i < count; i++) {
            uint32_t level = assigner->start[buckets[i]];
            levels[i] = level + (thresholds[level] < block[i]);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) levels[i] = assigner->start[buckets[i]];
    for (uint32_t half = assigner->first_half; half != 0; half /= 2) {
        const double *middle = thresholds + half - 1;
        for (size_t i = 0; i < count; i++) {
            levels[i] += (0u - (uint32_t)(middle[levels[i]] < block[i])) & half;
        }
    }
}

DCZ_VECTORIZE
static void clear_pruned(const double *block, size_t count, double cutoff, unsigned first,
                         uint32_t *levels)
{
    for (size_t i = 0; i < count; i++) {
        levels[i] = (first + levels[i]) & (0u - (uint32_t)survives(block[i], cutoff));
    }
}

void dcz_assign(const dcz_assigner *assigner, dcz_array values, double cutoff, unsigned first,
                void *indices, size_t index_width)
{
    double block[BLOCK];
    uint32_t levels[BLOCK];
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = smaller(BLOCK, values.count - start);
        load_values(values, start, count, block);
        find_levels(assigner, block, count, levels);
        clear_pruned(block, count, cutoff, first, levels);
        store_indices(levels, start, count, indices, index_width);
    }
}

/* ---- distinct and lookup: an open-addressing table ---- */

unsigned dcz_slot_bits(size_t keys)
{
    unsigned bits = 4;
    while (((size_t)1 << bits) < 2 * keys) bits++;
    return bits;
}

/* The slot of a key, or the empty slot where it belongs. */
static size_t find_slot(const dcz_table *table, uint64_t key)
{
    size_t mask = ((size_t)1 << table->slot_bits) - 1;
    size_t slot = (size_t)((key * 0x9e3779b97f4a7c15u) >> (64 - table->slot_bits));
    while (table->slots[slot] != 0 && table->keys[table->slots[slot] - 1] != key) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

/* Number of distinct patterns, left in table->keys in order of appearance; limit + 1 if more. */
size_t dcz_distinct(dcz_array patterns, size_t limit, dcz_table *table)
{
    uint64_t block[BLOCK];
    uint32_t used = 0;
    for (size_t start = 0; start < patterns.count; start += BLOCK) {
        size_t count = smaller(BLOCK, patterns.count - start);
        load_patterns(patterns, start, count, block);
        for (size_t i = 0; i < count; i++) {
            size_t slot = find_slot(table, block[i]);
            if (table->slots[slot] != 0) continue;
            if (used == limit) return limit + 1;
            table->keys[used++] = block[i];
            table->slots[slot] = used;
        }
    }
    return used;
}

/* 0, or -1 if the keys do not ascend. */
int dcz_fill_table(dcz_table *table, dcz_array keys)
{
    load_patterns(keys, 0, keys.count, table->keys);
    for (size_t i = 0; i < keys.count; i++) {
        if (i != 0 && table->keys[i] <= table->keys[i - 1]) return -1;
        table->slots[find_slot(table, table->keys[i])] = (uint32_t)(i + 1);
    }
    return 0;
}

/* 0, or -1 if a pattern is not in the table. */
int dcz_lookup(const dcz_table *table, dcz_array patterns, void *indices, size_t index_width)
{
    uint64_t block[BLOCK];
    uint32_t found[BLOCK];
    for (size_t start = 0; start < patterns.count; start += BLOCK) {
        size_t count = smaller(BLOCK, patterns.count - start);
        uint32_t missing = 0;
        load_patterns(patterns, start, count, block);
        for (size_t i = 0; i < count; i++) {
            uint32_t entry = table->slots[find_slot(table, block[i])];
            missing |= entry == 0;
            found[i] = entry - 1;
        }
        if (missing) return -1;
        store_indices(found, start, count, indices, index_width);
    }
    return 0;
}
