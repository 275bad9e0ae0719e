/* Grids and curves: rounding weights to levels by what they cost, putting rows into classes, and
 * the errors that numbers of levels leave. Memory is the caller's; arguments must be as documented.
 *
 * Only exactly rounded operations, in the order of the reference: every machine agrees. */
#ifndef DCZ_GRIDS_H
#define DCZ_GRIDS_H

#include "runs.h"

/* `entropy.log2`, to the last bit. */
double dcz_log2(double value);

/* ---- grids.c ---- */

#define DCZ_MOST_CORRECTIONS 17

/* Weights in bins: level k is around bins (k + 1/2) * bins_a_step, and stands for lowest + k. */
typedef struct {
    dcz_runs runs; /* their groups are classes, each of at least one weight */
    const uint16_t *bins;
    size_t classes, levels, bins_a_step;
    int64_t lowest;
    double slope_factor;
} dcz_grid;

typedef struct {
    size_t first, last; /* of the levels in use */
    int corrections;    /* how many there are */
    int8_t correction[DCZ_MOST_CORRECTIONS];
} dcz_grid_book;

/* What dcz_round_grid works in, in items of eight bytes. */
size_t dcz_round_grid_room(const dcz_grid *grid);

/* Rounds, and writes indices from the first level in use on: in bytes if there are no more than
 * 256 of them, else in 16 bits; `indices` has room for these. Returns 0 if a bin is past the last
 * level, or a class has no weight. */
int dcz_round_grid(const dcz_grid *grid, void *room, dcz_grid_book *book, void *indices);

/* ---- tiny.c ---- */

#define DCZ_TINY 128
#define DCZ_LOWEST_LIMIT 65535

/* Tensors of at most DCZ_TINY finite weights each, end to end, each with a step of its own. */
typedef struct {
    const void *values;
    int wide;
    const int64_t *ends;
    const double *steps;
    size_t count;
    double slope_factor;
} dcz_tiny;

/* What dcz_round_tiny works in, in items of eight bytes. */
size_t dcz_round_tiny_room(void);

/* Rounds the tensors that are not left out, to even positions of half a step. Leaves out those
 * that hold few values already, zero alone, or too many levels. */
void dcz_round_tiny(const dcz_tiny *tensors, void *room, uint8_t *left_out, int32_t *positions);

/* ---- classify.c ---- */

/* What classes cost beside their symbols, in bits: each, and for the map of them. */
typedef struct {
    int64_t a_class, a_map_class;
    size_t steps; /* of the search */
} dcz_class_costs;

size_t dcz_classify_room(size_t rows, size_t alphabet, size_t most);

/* Puts rows of counts into at most `most` classes, at least 2 and no more than the rows, if that
 * takes fewer than *least bits, which are lowered to what it takes. Returns the number of classes;
 * 0, with nothing written, where it does not. */
size_t dcz_classify(const int64_t *counts, size_t rows, size_t alphabet, size_t most,
                    const dcz_class_costs *costs, void *room, uint8_t *found, int64_t *least);

/* About what symbols take with a code for each row of counts. */
int64_t dcz_coded_bits(const int64_t *counts, size_t rows, size_t alphabet, int64_t overhead);

/* ---- curves.c ---- */

/* Numbers of levels: measured ones; others between them, each with the measured one after it and
 * how far it is on the way there, in bits and in roots of the error; and further ones, each with
 * its ratio to the last measured one. */
typedef struct {
    const int64_t *measured, *after, *further;
    const double *bits_way, *root_way, *ratio, *log_ratio;
    size_t measured_count, filled_count, further_count;
} dcz_level_plan;

/* Weights in bins: their mean positions, from 0 to 1, ascending, and how many are in each. */
typedef struct {
    const double *means;
    const int64_t *counts;
    size_t bins;
    double width; /* of the range, in weights */
    double value_bits;
} dcz_distribution;

size_t dcz_measure_room(const dcz_distribution *weights);

/* Bits and errors of the measured numbers of levels, of those between and of further ones, and at
 * last of weights kept as they are. One after which no error is left has infinitely many bits. */
void dcz_measure_levels(const dcz_distribution *weights, const dcz_level_plan *plan, void *room,
                        double *bits, double *errors);

/* The lower convex hull of errors over bits, both strictly monotone: numbers of its points, fewest
 * bits first. Returns how many. `room` and `hull` hold a number for each point. */
size_t dcz_lower_hull(const double *bits, const double *errors, const dcz_level_plan *plan,
                      uint32_t *room, uint32_t *hull);

#endif
