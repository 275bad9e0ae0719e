/* Counts of weights in cells of equal width. */
#include "blocks.h"

#include <string.h>

/* Weights that do not survive go to these: one counter alone would make each wait for the last. */
enum { REFUSE = DCZ_REFUSE_CELLS };

DCZ_VECTORIZE
static void truncate_floats(const float *scaled, size_t count, uint32_t *cells)
{
    for (size_t i = 0; i < count; i++) cells[i] = (uint32_t)(int32_t)scaled[i];
}

DCZ_VECTORIZE
static void truncate_doubles(const double *scaled, size_t count, uint32_t *cells)
{
    for (size_t i = 0; i < count; i++) cells[i] = (uint32_t)(int32_t)scaled[i];
}

DCZ_VECTORIZE
static void refuse_floats(const float *block, size_t count, float cutoff, uint32_t refuse,
                          uint32_t *cells)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t kept = 0u - (uint32_t)((block[i] != 0.0f) & (fabsf(block[i]) >= cutoff));
        cells[i] = (cells[i] & kept) | ((refuse + (uint32_t)i % REFUSE) & ~kept);
    }
}

DCZ_VECTORIZE
static void refuse_doubles(const double *block, size_t count, double cutoff, uint32_t refuse,
                           uint32_t *cells)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t kept = 0u - (uint32_t)dcz_survives(block[i], cutoff);
        cells[i] = (cells[i] & kept) | ((refuse + (uint32_t)i % REFUSE) & ~kept);
    }
}

static void find_cells_of_floats(dcz_array values, size_t start, size_t count,
                                 const dcz_cells *grid, uint32_t *cells)
{
    float block[BLOCK];
    float scaled[BLOCK];
    memcpy(block, dcz_element(values, start), count * sizeof *block);
    dcz_scale_floats(block, count, (float)grid->low, (float)grid->scale, (float)(grid->count - 1),
                     scaled);
    truncate_floats(scaled, count, cells);
    refuse_floats(block, count, dcz_float_above(grid->cutoff), grid->count, cells);
}

static void find_cells_of_doubles(dcz_array values, size_t start, size_t count,
                                  const dcz_cells *grid, uint32_t *cells)
{
    double block[BLOCK];
    double scaled[BLOCK];
    dcz_load_values(values, start, count, block);
    dcz_scale_block(block, count, grid->low, grid->scale, grid->count - 1, scaled);
    truncate_doubles(scaled, count, cells);
    refuse_doubles(block, count, grid->cutoff, grid->count, cells);
}

void dcz_count_cells(dcz_array values, const dcz_cells *grid, int64_t *counts, uint32_t *scratch)
{
    uint32_t cells[BLOCK];
    memset(scratch, 0, (grid->count + REFUSE) * sizeof *scratch);
    for (size_t start = 0; start < values.count; start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, values.count - start);
        if (values.width == sizeof(float)) {
            find_cells_of_floats(values, start, count, grid, cells);
        } else {
            find_cells_of_doubles(values, start, count, grid, cells);
        }
        for (size_t i = 0; i < count; i++) scratch[cells[i]]++;
    }
    for (size_t cell = 0; cell < grid->count; cell++) counts[cell] = scratch[cell];
}
