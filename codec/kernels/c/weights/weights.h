/* Kernels over weights: statistics, histograms, clustering, assignment.
 *
 * Pure loops: no allocation, no Python, no check of arguments (the files bind_*.c do all three).
 * reference/encode/weights.py defines every result, to the last bit; so this must be compiled without
 * contraction (-ffp-contract=off) and without -ffast-math.
 */
#ifndef DCZ_WEIGHTS_H
#define DCZ_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#if __GNUC__ >= 12
#define DCZ_VECTORIZE __attribute__((target_clones("default", "arch=x86-64-v3")))
#endif
#endif
#ifndef DCZ_VECTORIZE
#define DCZ_VECTORIZE
#endif

enum {
    DCZ_BINS = 65536,    /* bins of a histogram, values of a 16-bit digit */
    DCZ_SEGMENTS = 4096, /* stretches of equal bins in a histogram's grid */
    DCZ_BUCKETS = 4096,  /* entries of the table that starts a search for a level */
    DCZ_REFUSE_CELLS = 8 /* counters besides those of the cells */
};

/* An array as it lies in memory, aligned or not. */
typedef struct {
    const void *data;
    size_t count;
    size_t width; /* bytes an element: 4 or 8 for values, 1, 2, 4 or 8 for patterns */
} dcz_array;

typedef struct {
    double minimum;
    double maximum;
    double energy;
    int64_t zeros;
    int finite;
} dcz_summary;

typedef struct {
    uint64_t packed[DCZ_BINS]; /* count << 40 | sum of offsets in the segment */
    uint32_t base[DCZ_SEGMENTS];
    uint32_t width[DCZ_SEGMENTS];
} dcz_histogram_scratch;

/* Cells of equal width: (w - low) * scale, in the arithmetic of the values' own type. */
typedef struct {
    double low;
    double scale;
    double cutoff;
    uint32_t count; /* DCZ_BINS at most */
} dcz_cells;

typedef struct {
    uint32_t below; /* dcz_order() of the greatest float up to the next threshold */
    uint32_t level; /* of a float that is no greater */
} dcz_bucket;

typedef struct {
    double low;
    double scale;
    uint32_t first_half; /* of the most thresholds in a bucket */
    uint32_t start[DCZ_BUCKETS];
    float low_float, scale_float;
    dcz_bucket buckets[DCZ_BUCKETS]; /* for floats, where no bucket has two thresholds */
    int single;                      /* whether that is so */
    double *thresholds;              /* padded with infinities to dcz_padded_thresholds() */
} dcz_assigner;

typedef struct {
    uint64_t *keys;
    uint32_t *slots; /* 0, or an index into keys plus one */
    unsigned slot_bits;
} dcz_table;

/* Magnitudes in a range, and the number of those below it. */
typedef struct {
    size_t below;
    size_t found; /* may exceed the room there is for them */
    size_t room;
    void *out;
} dcz_selection;

dcz_summary dcz_summarize(dcz_array values);
void dcz_count_magnitudes(dcz_array values, unsigned shift, uint64_t prefix, int64_t *counts);
/* Adds to a selection the bit patterns from `first` to `last`; both have no sign. */
void dcz_select_magnitudes(dcz_array values, uint64_t first, uint64_t last,
                           dcz_selection *selection);
/* counts and sums have room for DCZ_BINS; those in use come first. Returns their number. */
size_t dcz_histogram(dcz_array values, double cutoff, double low, double scale, int64_t *counts,
                     int64_t *sums, dcz_histogram_scratch *scratch);
/* counts has grid->count elements, scratch DCZ_REFUSE_CELLS more. */
void dcz_count_cells(dcz_array values, const dcz_cells *grid, int64_t *counts, uint32_t *scratch);
/* Rows are of equal length; errors, sums and squares have an element for each. */
void dcz_measure(dcz_array values, dcz_array indices, const double *codebook, size_t rows,
                 double *errors);
void dcz_sum_rows(dcz_array values, size_t rows, double *sums, double *squares);
/* The sum of eight partial sums, in order. */
double dcz_add_lanes(const double *lanes);
/* Within 6%, from integer arithmetic alone: equal on every machine. x is positive. */
double dcz_cube_root(double x);

unsigned dcz_largest(dcz_array indices);

size_t dcz_padded_thresholds(size_t count);
void dcz_prepare_assigner(dcz_assigner *assigner, dcz_array thresholds, size_t value_width);
void dcz_assign(const dcz_assigner *assigner, dcz_array values, double cutoff, unsigned first,
                void *indices, size_t index_width);

unsigned dcz_slot_bits(size_t keys);
size_t dcz_distinct(dcz_array patterns, size_t limit, dcz_table *table);
int dcz_fill_table(dcz_table *table, dcz_array keys);
int dcz_lookup(const dcz_table *table, dcz_array patterns, void *indices, size_t index_width);

/* All arrays are aligned, all indices in the codebook. */
void dcz_take(dcz_array indices, dcz_array codebook, void *out);

/* cluster.c */
int dcz_valid_histogram(const int64_t *counts, const int64_t *sums, size_t bins, size_t *used);
size_t dcz_cluster_scratch(size_t used, size_t levels);
size_t dcz_cluster(const int64_t *counts, const int64_t *sums, size_t bins, size_t levels,
                   double *centroids, void *scratch);
size_t dcz_lloyd(const int64_t *counts, const int64_t *sums, size_t bins, double *centroids,
                 size_t levels, size_t steps, void *scratch);

#endif
