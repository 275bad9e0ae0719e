/* Putting rows into classes whose codes suit them; grids.h has the interface. */
#include "grids.h"

#include <math.h>
#include <string.h>

enum { RATE_UNIT = 256 };

/* Bits of each symbol, in units of 1/256; integers, so that sums are exact. */
static void find_rates(const int64_t *counts, size_t alphabet, int64_t *rates)
{
    int64_t sum = 0;
    double log_sum;
    for (size_t i = 0; i < alphabet; i++) sum += 16 * counts[i] + 1;
    log_sum = dcz_log2((double)sum);
    for (size_t i = 0; i < alphabet; i++)
        rates[i] = (int64_t)rint(RATE_UNIT * (log_sum - dcz_log2((double)(16 * counts[i] + 1))));
}

static int64_t product(const int64_t *counts, const int64_t *rates, size_t size)
{
    int64_t sum = 0;
    for (size_t i = 0; i < size; i++) sum += counts[i] * rates[i];
    return sum;
}

/* What the symbols of one code take, in units of 1/256 bits. */
static int64_t units_of(const int64_t *counts, size_t alphabet)
{
    int64_t sum = 0, units = 0;
    double log_sum;
    for (size_t i = 0; i < alphabet; i++) sum += 16 * counts[i] + 1;
    log_sum = dcz_log2((double)sum);
    for (size_t i = 0; i < alphabet; i++)
        if (counts[i] != 0)
            units += counts[i]
                     * (int64_t)rint(RATE_UNIT * (log_sum - dcz_log2((double)(16 * counts[i] + 1))));
    return units;
}

int64_t dcz_coded_bits(const int64_t *counts, size_t rows, size_t alphabet, int64_t overhead)
{
    int64_t units = 0;
    for (size_t row = 0; row < rows; row++) units += units_of(counts + row * alphabet, alphabet);
    return units / RATE_UNIT + (int64_t)rows * overhead;
}

size_t dcz_classify_room(size_t rows, size_t alphabet, size_t most)
{
    return (2 * most + 2) * alphabet + 3 * rows + 2 * most;
}

/* Rows by what they cost under one code for all, the first of equals first. */
static void sort_rows(const int64_t *cost, size_t rows, size_t *order)
{
    for (size_t run = 1; run < rows; run *= 2) {
        size_t *other = order + rows;
        for (size_t begin = 0; begin < rows; begin += 2 * run) {
            size_t middle = begin + run < rows ? begin + run : rows;
            size_t end = middle + run < rows ? middle + run : rows;
            size_t left = begin, right = middle;
            for (size_t i = begin; i < end; i++) {
                int take_left =
                    right == end || (left < middle && cost[order[left]] <= cost[order[right]]);
                other[i] = take_left ? order[left++] : order[right++];
            }
        }
        memcpy(order, other, rows * sizeof *order);
    }
}

/* The first classes are of equal size. */
static void start_classes(const int64_t *counts, size_t rows, size_t alphabet, size_t classes,
                          int64_t *cost, size_t *order, int64_t *rates, int64_t *sums)
{
    memset(sums, 0, classes * alphabet * sizeof *sums);
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < alphabet; i++) sums[i] += counts[row * alphabet + i];
    find_rates(sums, alphabet, rates);
    for (size_t row = 0; row < rows; row++) {
        cost[row] = product(counts + row * alphabet, rates, alphabet);
        order[row] = row;
    }
    sort_rows(cost, rows, order);
    memset(sums, 0, classes * alphabet * sizeof *sums);
    for (size_t k = 0; k < classes; k++)
        for (size_t at = k * rows / classes; at < (k + 1) * rows / classes; at++)
            for (size_t i = 0; i < alphabet; i++)
                sums[k * alphabet + i] += counts[order[at] * alphabet + i];
}

/* Leaves classes without rows out; returns how many are left. */
static size_t renumber(uint8_t *found, size_t rows, size_t alphabet, size_t classes,
                       int64_t *sums, int64_t *sizes)
{
    uint8_t number[256];
    size_t used = 0;
    memset(sizes, 0, classes * sizeof *sizes);
    for (size_t row = 0; row < rows; row++) sizes[found[row]]++;
    for (size_t k = 0; k < classes; k++) {
        int64_t any = 0;
        for (size_t i = 0; i < alphabet; i++) any |= sums[k * alphabet + i];
        if (any == 0) continue;
        number[k] = (uint8_t)used;
        memmove(sums + used * alphabet, sums + k * alphabet, alphabet * sizeof *sums);
        sizes[used++] = sizes[k];
    }
    for (size_t row = 0; row < rows; row++) found[row] = number[found[row]];
    return used;
}

size_t dcz_classify(const int64_t *counts, size_t rows, size_t alphabet, size_t most,
                    const dcz_class_costs *costs, void *memory, uint8_t *found, int64_t *least)
{
    int64_t *sums = memory, *rates = sums + most * alphabet, *cost = rates + most * alphabet;
    int64_t *sizes = cost + rows;
    size_t *order = (size_t *)(sizes + most), classes;
    uint8_t *before = (uint8_t *)order; /* no longer needed once classes have begun */
    int64_t bits;
    start_classes(counts, rows, alphabet, most, cost, order, rates, sums);
    for (size_t step = 0; step < costs->steps; step++) {
        for (size_t k = 0; k < most; k++) find_rates(sums + k * alphabet, alphabet, rates + k * alphabet);
        memset(sums, 0, most * alphabet * sizeof *sums);
        if (step > 0) memcpy(before, found, rows);
        dcz_nearest_classes(counts, rows, alphabet, rates, most, found, sums);
        if (step > 0 && memcmp(before, found, rows) == 0) break; /* nothing moves any more */
    }
    classes = renumber(found, rows, alphabet, most, sums, sizes);
    bits = dcz_coded_bits(sums, classes, alphabet, costs->a_class)
           + dcz_coded_bits(sizes, 1, classes, costs->a_map_class);
    if (bits >= *least || classes < 2) return 0;
    *least = bits;
    return classes;
}
