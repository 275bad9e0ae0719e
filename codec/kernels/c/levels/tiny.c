/* Rounding many tiny tensors at once; grids.h has the interface. */
#include "grids.h"

#include <math.h>
#include <string.h>

enum { BINS_A_STEP = 64, MOST_BINS = 65536 };

static double value_at(const dcz_tiny *t, size_t i)
{
    return t->wide ? ((const double *)t->values)[i] : (double)((const float *)t->values)[i];
}

/* How many different values there are; zeros of both signs are two. */
static size_t count_values(const dcz_tiny *t, size_t begin, size_t end)
{
    double seen[DCZ_TINY];
    size_t count = 0;
    for (size_t i = begin; i < end; i++) {
        double value = value_at(t, i);
        size_t k = 0;
        while (k < count && memcmp(&seen[k], &value, sizeof value) != 0) k++;
        if (k == count) seen[count++] = value;
    }
    return count;
}

/* The grid of a tensor; 0 if it would have too many levels. */
static int find_grid(const dcz_tiny *t, size_t begin, size_t end, double step, dcz_grid *grid)
{
    double least = HUGE_VAL, greatest = -HUGE_VAL;
    for (size_t i = begin; i < end; i++) {
        double value = value_at(t, i);
        if (value < least) least = value;
        if (value > greatest) greatest = value;
    }
    if (least == 0 && greatest == 0) return 0;
    if (!(step > 0) || !((greatest - least) / step < DCZ_ALPHABET_LIMIT - 1)) return 0;
    least /= step;
    greatest /= step;
    if (!(fabs(least) < DCZ_LOWEST_LIMIT) || !(fabs(greatest) < DCZ_LOWEST_LIMIT)) return 0;
    grid->lowest = (int64_t)floor(least + 0.5);
    grid->levels = (size_t)((int64_t)floor(greatest + 0.5) - grid->lowest) + 1;
    grid->bins_a_step = BINS_A_STEP;
    while (grid->levels * grid->bins_a_step > MOST_BINS) grid->bins_a_step /= 2;
    return grid->levels <= DCZ_ALPHABET_LIMIT;
}

static int round_one(const dcz_tiny *t, size_t begin, size_t end, double step, void *room,
                     int32_t *positions)
{
    static const uint32_t group = 0;
    uint16_t bins[DCZ_TINY], indices[DCZ_TINY];
    dcz_grid_book book;
    dcz_grid grid = {.classes = 1, .bins = bins, .slope_factor = t->slope_factor};
    size_t count = end - begin;
    double scale, low;
    if (!find_grid(t, begin, end, step, &grid)) return 0;
    scale = (double)grid.bins_a_step / step;
    low = ((double)grid.lowest - 0.5) * (double)grid.bins_a_step;
    dcz_find_bins((const char *)t->values + begin * (t->wide ? 8 : 4), t->wide, count, scale, low,
                  bins);
    for (size_t i = 0; i < count; i++)
        if (bins[i] >= grid.levels * grid.bins_a_step)
            bins[i] = (uint16_t)(grid.levels * grid.bins_a_step - 1);
    grid.runs = (dcz_runs){.count = count, .length = DCZ_TINY, .groups = &group};
    dcz_round_grid(&grid, room, &book, indices);
    for (size_t i = 0; i < count; i++) {
        size_t index =
            book.last - book.first < 256 ? ((const uint8_t *)indices)[i] : indices[i];
        positions[begin + i] = (int32_t)(2 * (grid.lowest + (int64_t)(book.first + index)));
    }
    return 1;
}

size_t dcz_round_tiny_room(void)
{
    dcz_grid grid = {.classes = 1, .levels = DCZ_ALPHABET_LIMIT, .bins_a_step = 16};
    return dcz_round_grid_room(&grid);
}

void dcz_round_tiny(const dcz_tiny *t, void *room, uint8_t *left_out, int32_t *positions)
{
    size_t begin = 0;
    for (size_t i = 0; i < t->count; i++) {
        size_t end = (size_t)t->ends[i];
        if (!left_out[i])
            left_out[i] = count_values(t, begin, end) <= (end - begin) / 2
                          || !round_one(t, begin, end, t->steps[i], room, positions);
        begin = end;
    }
}
