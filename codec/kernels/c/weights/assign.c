/* Levels of weights: a table gives the first candidate, a few halvings the level. */
#include "blocks.h"

#include <float.h>
#include <string.h>

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
    dcz_scale_block(block, count, assigner->low, assigner->scale, DCZ_BUCKETS - 1, scaled);
    for (size_t i = 0; i < count; i++) buckets[i] = (int32_t)scaled[i];
}

DCZ_VECTORIZE
static void find_float_buckets(const dcz_assigner *assigner, const float *block, size_t count,
                               int32_t *buckets)
{
    float scaled[BLOCK];
    dcz_scale_floats(block, count, assigner->low_float, assigner->scale_float, DCZ_BUCKETS - 1,
                     scaled);
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

/* A float is greater than a threshold where it is greater than the greatest float up to it. */
static uint32_t order_up_to(double threshold)
{
    float nearest = (float)threshold;
    return dcz_order(nearest) - ((double)nearest > threshold);
}

/* Gives each bucket of floats its only threshold; there is none for the last. */
static void fill_buckets(dcz_assigner *assigner, size_t count)
{
    int32_t bucket = 0;
    assigner->low_float = count == 0 ? 0.0f : (float)assigner->thresholds[0];
    assigner->scale_float = (float)assigner->scale;
    assigner->single = assigner->scale_float <= FLT_MAX && fabsf(assigner->low_float) <= FLT_MAX;
    for (size_t t = 0; t < count && assigner->single; t++) {
        uint32_t below = order_up_to(assigner->thresholds[t]);
        float value = dcz_float_of(below);
        int32_t own;
        find_float_buckets(assigner, &value, 1, &own);
        assigner->single = own >= bucket;
        for (; bucket <= own; bucket++) assigner->buckets[bucket] = (dcz_bucket){below, (uint32_t)t};
    }
    for (; bucket < DCZ_BUCKETS; bucket++) {
        assigner->buckets[bucket] = (dcz_bucket){UINT32_MAX, (uint32_t)count};
    }
}

void dcz_prepare_assigner(dcz_assigner *assigner, dcz_array thresholds, size_t value_width)
{
    size_t count = thresholds.count;
    size_t padded = dcz_padded_thresholds(count);
    dcz_load_values(thresholds, 0, count, assigner->thresholds);
    for (size_t i = count; i < padded; i++) assigner->thresholds[i] = INFINITY;
    assigner->low = count == 0 ? 0.0 : assigner->thresholds[0];
    assigner->scale = 0.0;
    if (count > 1) {
        double scale = DCZ_BUCKETS / (assigner->thresholds[count - 1] - assigner->low);
        if (scale <= DBL_MAX) assigner->scale = scale;
    }
    fill_starts(assigner, count);
    assigner->single = 0;
    if (value_width == sizeof(float)) fill_buckets(assigner, count);
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
        levels[i] = (first + levels[i]) & (0u - (uint32_t)dcz_survives(block[i], cutoff));
    }
}

DCZ_VECTORIZE
static void order_floats(const float *block, size_t count, uint32_t *orders)
{
    for (size_t i = 0; i < count; i++) orders[i] = dcz_order(block[i]);
}

static void find_float_levels(const dcz_assigner *assigner, const int32_t *buckets,
                              const uint32_t *orders, size_t count, uint32_t *levels)
{
    for (size_t i = 0; i < count; i++) {
        const dcz_bucket *bucket = &assigner->buckets[buckets[i]];
        levels[i] = bucket->level + (bucket->below < orders[i]);
    }
}

DCZ_VECTORIZE
static void clear_pruned_floats(const float *block, size_t count, float cutoff, unsigned first,
                                uint32_t *levels)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t kept = 0u - (uint32_t)((block[i] != 0.0f) & (fabsf(block[i]) >= cutoff));
        levels[i] = (first + levels[i]) & kept;
    }
}

static void assign_floats(const dcz_assigner *assigner, dcz_array values, double cutoff,
                          unsigned first, void *indices, size_t index_width)
{
    float block[BLOCK];
    int32_t buckets[BLOCK];
    uint32_t orders[BLOCK];
    uint32_t levels[BLOCK];
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, values.count - start);
        memcpy(block, dcz_element(values, start), count * sizeof *block);
        find_float_buckets(assigner, block, count, buckets);
        order_floats(block, count, orders);
        find_float_levels(assigner, buckets, orders, count, levels);
        clear_pruned_floats(block, count, dcz_float_above(cutoff), first, levels);
        dcz_store_indices(levels, start, count, indices, index_width);
    }
}

void dcz_assign(const dcz_assigner *assigner, dcz_array values, double cutoff, unsigned first,
                void *indices, size_t index_width)
{
    double block[BLOCK];
    uint32_t levels[BLOCK];
    if (assigner->single) {
        assign_floats(assigner, values, cutoff, first, indices, index_width);
        return;
    }
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, values.count - start);
        dcz_load_values(values, start, count, block);
        find_levels(assigner, block, count, levels);
        clear_pruned(block, count, cutoff, first, levels);
        dcz_store_indices(levels, start, count, indices, index_width);
    }
}
