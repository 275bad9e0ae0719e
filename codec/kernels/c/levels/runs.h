/* Runs of equal length and their groups: counting, quantizing, and finding classes. No function
 * allocates; all arguments must be as documented. */
#ifndef DCZ_RUNS_H
#define DCZ_RUNS_H

#include "decode.h"

/* bins[i] = floor(values[i] * scale) - low, held within 16 bits. The values are finite; `wide`
 * says that they are doubles. */
void dcz_find_bins(const void *values, int wide, size_t count, double scale, double low,
                   uint16_t *bins);

/* Runs of `length` elements, the last perhaps shorter; run i is in group groups[i]. */
typedef struct {
    size_t count; /* of elements */
    size_t length;
    const uint32_t *groups;
} dcz_runs;

/* Adds 1 to counts[group * alphabet + symbol] for every symbol. Returns 0 if one is outside the
 * alphabet. */
int dcz_count_runs(const dcz_runs *runs, const void *symbols, uint32_t item_size,
                   uint32_t alphabet, int64_t *counts);

/* out[i] = tables[group * width + bins[i]]. Returns 0 if a bin is not below `width`. */
int dcz_map_runs(const dcz_runs *runs, const uint16_t *bins, const uint16_t *tables, size_t width,
                 void *out, uint32_t item_size);

/* For each of `rows` rows of counts the class whose rates give it the least sum of products, the
 * first of equals. The rows of each class are added up in `sums`. All sums fit their type. */
void dcz_nearest_classes(const int64_t *counts, size_t rows, size_t alphabet,
                         const int64_t *rates, size_t classes, uint8_t *nearest, int64_t *sums);

#endif
