/* Rounding to the levels of a grid, and logarithms; grids.h has the interface. */
#include "grids.h"

#include <math.h>
#include <string.h>

double dcz_log2(double value)
{
    int exponent;
    double mantissa = frexp(value, &exponent);
    double ratio = (mantissa - 0.7071067811865476) / (mantissa + 0.7071067811865476);
    double square = ratio * ratio, series = 1.0 / 15;
    for (int odd = 13; odd > 0; odd -= 2) {
        series *= square;
        series += 1.0 / odd;
    }
    return exponent - 0.5 + ratio * series * 2.8853900817779268;
}

/* ---- one class ---- */

enum { ITERATIONS = 3, PARTS_OF_STEP = 64, MOST_CORRECTION = 63 };

/* Of one class: sums over its bins, and what its levels came to. */
typedef struct {
    int64_t *reached, *moments; /* [width + 1] weights before a bin, and twice their middles */
    int64_t *edges;             /* [levels + 1] of the levels in use */
    size_t *level;              /* [levels] which these are */
    double *means, *rates;      /* [levels] */
} class_room;

static void sum_bins(const int64_t *histogram, size_t width, class_room *room)
{
    int64_t reached = 0, moments = 0;
    for (size_t bin = 0; bin < width; bin++) {
        room->reached[bin] = reached;
        room->moments[bin] = moments;
        reached += histogram[bin];
        moments += histogram[bin] * (int64_t)(2 * bin + 1);
    }
    room->reached[width] = reached;
    room->moments[width] = moments;
}

/* Leaves levels without weights out; returns how many are left. */
static size_t measure_levels(class_room *room, size_t levels, size_t width)
{
    const double log_total = dcz_log2((double)room->reached[width]);
    size_t used = 0;
    for (size_t i = 0; i < levels; i++) {
        int64_t begin = room->edges[i], end = room->edges[i + 1];
        int64_t count = room->reached[end] - room->reached[begin];
        if (count == 0) continue;
        room->level[used] = room->level[i];
        room->means[used] = (double)(room->moments[end] - room->moments[begin]) / (double)(2 * count);
        room->rates[used++] = log_total - dcz_log2((double)count);
    }
    return used;
}

static void move_edges(class_room *room, size_t used, size_t width, double price)
{
    const double *means = room->means, *rates = room->rates;
    double reached = -HUGE_VAL;
    room->edges[0] = 0;
    for (size_t i = 0; i + 1 < used; i++) {
        double middle = (means[i] + means[i + 1]) / 2;
        double shift = price * (rates[i + 1] - rates[i]) / (2 * (means[i + 1] - means[i]));
        double edge = floor(middle + shift + 0.5);
        if (edge > reached) reached = edge;
        room->edges[i + 1] = reached < 0 ? 0 : reached > (double)width ? (int64_t)width : (int64_t)reached;
    }
    room->edges[used] = (int64_t)width;
}

/* First bin of each level, and the end of the last, so that slope x bits + error is least. */
static void round_by_rate(const dcz_grid *grid, class_room *room, int64_t *cut)
{
    const size_t width = grid->levels * grid->bins_a_step;
    const double price = grid->slope_factor * (double)grid->bins_a_step * (double)grid->bins_a_step;
    size_t used = grid->levels;
    for (size_t i = 0; i <= grid->levels; i++) room->edges[i] = (int64_t)(i * grid->bins_a_step);
    for (size_t i = 0; i < grid->levels; i++) room->level[i] = i;
    for (int iteration = 0; iteration < ITERATIONS; iteration++) {
        used = measure_levels(room, used, width);
        move_edges(room, used, width, price);
    }
    memset(cut, 0, (grid->levels + 1) * sizeof *cut);
    for (size_t i = 0; i < used; i++)
        cut[room->level[i] + 1] = room->edges[i + 1] - room->edges[i];
    for (size_t i = 0; i < grid->levels; i++) cut[i + 1] += cut[i];
}

/* ---- corrections ---- */

/* What leads levels to the mean of their weights, and the squared error that it saves. */
static void find_correction(const dcz_grid *grid, size_t level, int64_t count, int64_t moment,
                            double *correction, double *gain)
{
    const int64_t step = (int64_t)grid->bins_a_step;
    const int64_t middle = step * (int64_t)(2 * level + 1);
    const int64_t weights = 2 * step * (count > 0 ? count : 1);
    double shift = (double)(moment - count * middle) / (double)weights, left;
    double parts = PARTS_OF_STEP * shift;
    if (parts < -MOST_CORRECTION) parts = -MOST_CORRECTION;
    if (parts > MOST_CORRECTION) parts = MOST_CORRECTION;
    *correction = rint(parts);
    left = shift - *correction / PARTS_OF_STEP;
    *gain = (double)count * (shift * shift - left * left);
}

/* Corrections for the levels from -reach to reach; returns what they save. Zero stays zero. */
static double correct(const dcz_grid *grid, const int64_t *counts, const int64_t *moments,
                      int reach, int8_t *corrections)
{
    double saved = 0;
    for (int level = -reach; level <= reach; level++) {
        int64_t place = level - grid->lowest;
        double correction, gain;
        corrections[level + reach] = 0;
        if (level == 0 || place < 0 || place >= (int64_t)grid->levels) continue;
        find_correction(grid, (size_t)place, counts[place], moments[place], &correction, &gain);
        corrections[level + reach] = (int8_t)correction;
        saved += gain;
    }
    return saved;
}

/* As many as pay for their bytes. */
static void choose_corrections(const dcz_grid *grid, const int64_t *counts, const int64_t *moments,
                               dcz_grid_book *book)
{
    static const int reaches[] = {1, 2, 4, 8};
    double most = 0;
    book->corrections = 0;
    for (int i = 0; i < 4; i++) {
        int size = 2 * reaches[i] + 1;
        int8_t corrections[DCZ_MOST_CORRECTIONS];
        double saved = correct(grid, counts, moments, reaches[i], corrections)
                       - grid->slope_factor * 8 * size;
        if (!(saved > most)) continue;
        most = saved;
        book->corrections = size;
        memcpy(book->correction, corrections, (size_t)size);
    }
}

/* ---- all classes ---- */

size_t dcz_round_grid_room(const dcz_grid *grid)
{
    const size_t width = grid->levels * grid->bins_a_step;
    const size_t cuts = grid->classes * (grid->levels + 1);
    const size_t tables = (grid->classes * width + 3) / 4;
    return grid->classes * width + 2 * (width + 1) + 6 * (grid->levels + 1) + cuts + tables;
}

/* Adds what each level of a class has to the sums over all classes. */
static void add_levels(const class_room *room, const int64_t *cut, size_t levels, int64_t *counts,
                       int64_t *moments, dcz_grid_book *book)
{
    for (size_t i = 0; i < levels; i++) {
        if (cut[i + 1] == cut[i]) continue;
        counts[i] += room->reached[cut[i + 1]] - room->reached[cut[i]];
        moments[i] += room->moments[cut[i + 1]] - room->moments[cut[i]];
        if (i < book->first) book->first = i;
        if (i > book->last) book->last = i;
    }
}

static void fill_table(const int64_t *cut, size_t levels, const dcz_grid_book *book,
                       uint16_t *table)
{
    for (size_t i = 0; i < levels; i++) {
        size_t level = i < book->first ? book->first : i > book->last ? book->last : i;
        for (int64_t bin = cut[i]; bin < cut[i + 1]; bin++)
            table[bin] = (uint16_t)(level - book->first);
    }
}

int dcz_round_grid(const dcz_grid *grid, void *memory, dcz_grid_book *book, void *indices)
{
    const size_t levels = grid->levels, width = levels * grid->bins_a_step;
    int64_t *histograms = memory, *reached = histograms + grid->classes * width;
    int64_t *moments = reached + width + 1, *edges = moments + width + 1;
    int64_t *level_counts = edges + levels + 1, *level_moments = level_counts + levels + 1;
    double *means = (double *)(level_moments + levels + 1), *rates = means + levels + 1;
    size_t *level = (size_t *)(rates + levels + 1);
    int64_t *cuts = (int64_t *)(level + levels + 1);
    uint16_t *tables = (uint16_t *)(cuts + grid->classes * (levels + 1));
    class_room room = {reached, moments, edges, level, means, rates};
    memset(histograms, 0, grid->classes * width * sizeof *histograms);
    memset(level_counts, 0, 2 * (levels + 1) * sizeof *level_counts);
    *book = (dcz_grid_book){.first = levels, .last = 0};
    if (!dcz_count_runs(&grid->runs, grid->bins, 2, (uint32_t)width, histograms)) return 0;
    for (size_t k = 0; k < grid->classes; k++) {
        int64_t *cut = cuts + k * (levels + 1);
        sum_bins(histograms + k * width, width, &room);
        if (room.reached[width] == 0) return 0;
        round_by_rate(grid, &room, cut);
        add_levels(&room, cut, levels, level_counts, level_moments, book);
    }
    choose_corrections(grid, level_counts, level_moments, book);
    for (size_t k = 0; k < grid->classes; k++)
        fill_table(cuts + k * (levels + 1), levels, book, tables + k * width);
    return dcz_map_runs(&grid->runs, grid->bins, tables, width, indices,
                        book->last - book->first < 256 ? 1 : 2);
}
