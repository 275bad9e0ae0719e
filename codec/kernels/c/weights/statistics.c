/* Statistics of weights: sums in eight lanes, so that vectors keep the defined order. */
#include "blocks.h"

#include <float.h>
#include <string.h>

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

/* Of floats: extremes as dcz_order() has them, since integers can be compared in vectors. */
typedef struct {
    uint32_t minimum;
    uint32_t maximum;
    uint32_t zeros; /* of a block */
} float_extremes;

DCZ_VECTORIZE
static void find_extremes(const float *block, float_extremes *found)
{
    uint32_t minimum = found->minimum;
    uint32_t maximum = found->maximum;
    uint32_t zeros = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint32_t order = dcz_order(block[i]);
        minimum = order < minimum ? order : minimum;
        maximum = order > maximum ? order : maximum;
        zeros += block[i] == 0.0f;
    }
    found->minimum = minimum;
    found->maximum = maximum;
    found->zeros = zeros;
}

/* Adds term(i) to lane i % 8, for `count` of them, a multiple of 8. Lanes have names of their own,
 * since compilers keep an array's elements in memory, where each sum would wait for the last. */
#define ADD_TO_LANES(lanes, count, term)                                                  \
    do {                                                                                  \
        double l0 = (lanes)[0], l1 = (lanes)[1], l2 = (lanes)[2], l3 = (lanes)[3];        \
        double l4 = (lanes)[4], l5 = (lanes)[5], l6 = (lanes)[6], l7 = (lanes)[7];        \
        for (size_t i = 0; i < (count); i += LANES) {                                     \
            l0 += term(i), l1 += term(i + 1), l2 += term(i + 2), l3 += term(i + 3);       \
            l4 += term(i + 4), l5 += term(i + 5), l6 += term(i + 6), l7 += term(i + 7);   \
        }                                                                                 \
        (lanes)[0] = l0, (lanes)[1] = l1, (lanes)[2] = l2, (lanes)[3] = l3;               \
        (lanes)[4] = l4, (lanes)[5] = l5, (lanes)[6] = l6, (lanes)[7] = l7;               \
    } while (0)

DCZ_VECTORIZE
static void add_energy(const float *block, double *lanes)
{
#define ENERGY(i) ((double)block[i] * (double)block[i])
    ADD_TO_LANES(lanes, BLOCK, ENERGY);
}

/* Takes the whole blocks of an array of floats into the lanes; returns how many values they have.
 * A NaN is an extreme here too, but the sum of squares tells of it. */
static size_t summarize_whole_blocks(dcz_array values, summary_lanes *lanes)
{
    float block[BLOCK];
    float_extremes found = {UINT32_MAX, 0, 0};
    size_t whole = values.count - values.count % BLOCK;
    if (values.width != sizeof(float) || whole == 0) return 0;
    for (size_t start = 0; start < whole; start += BLOCK) {
        memcpy(block, dcz_element(values, start), sizeof block);
        find_extremes(block, &found);
        add_energy(block, lanes->energy);
        lanes->zeros[0] += found.zeros;
    }
    lanes->minimum[0] = dcz_float_of(found.minimum);
    lanes->maximum[0] = dcz_float_of(found.maximum);
    return whole;
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
    for (size_t start = summarize_whole_blocks(values, &lanes); start < values.count;
         start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, values.count - start);
        dcz_load_values(values, start, count, block);
        summarize_block(block, count, &lanes);
    }
    return merge_lanes(&lanes);
}

/* What a codebook has for indices. Levels are read one by one, squares taken of many at once. */
#define DEFINE_LOOK_UP(name, index_type)                                               \
    static void name(const unsigned char *source, size_t count, const double *codebook, \
                     double *levels)                                                   \
    {                                                                                  \
        for (size_t i = 0; i < count; i++) {                                           \
            index_type index;                                                          \
            memcpy(&index, source + i * sizeof index, sizeof index);                   \
            levels[i] = codebook[index];                                               \
        }                                                                              \
    }
DEFINE_LOOK_UP(look_up_u8, uint8_t)
DEFINE_LOOK_UP(look_up_u16, uint16_t)

DCZ_VECTORIZE
static void add_errors(const double *block, const double *levels, size_t count, double *lanes)
{
#define ERROR(i) ((block[i] - levels[i]) * (block[i] - levels[i]))
    ADD_TO_LANES(lanes, count, ERROR);
}

static void look_up(dcz_array indices, size_t start, size_t count, const double *codebook,
                    double *levels)
{
    const unsigned char *source = dcz_element(indices, start);
    if (indices.width == 1) {
        look_up_u8(source, count, codebook, levels);
    } else {
        look_up_u16(source, count, codebook, levels);
    }
}

/* Fills up the last eight of a block with zeros, which add nothing; returns their end. */
static size_t fill_lanes(double *block, size_t count)
{
    for (; count % LANES != 0; count++) block[count] = 0.0;
    return count;
}

void dcz_measure(dcz_array values, dcz_array indices, const double *codebook, size_t rows,
                 double *errors)
{
    double block[BLOCK];
    double levels[BLOCK];
    size_t length = rows != 0 ? values.count / rows : 0;
    for (size_t row = 0; row < rows; row++) {
        double lanes[LANES] = {0};
        for (size_t at = 0; at < length; at += BLOCK) {
            size_t count = dcz_smaller(BLOCK, length - at);
            dcz_load_values(values, row * length + at, count, block);
            look_up(indices, row * length + at, count, codebook, levels);
            fill_lanes(levels, count);
            add_errors(block, levels, fill_lanes(block, count), lanes);
        }
        errors[row] = dcz_add_lanes(lanes);
    }
}

DCZ_VECTORIZE
static void add_moments(const double *block, size_t count, double *sum, double *square)
{
#define VALUE(i) (block[i])
#define SQUARE(i) (block[i] * block[i])
    ADD_TO_LANES(sum, count, VALUE);
    ADD_TO_LANES(square, count, SQUARE);
}

void dcz_sum_rows(dcz_array values, size_t rows, double *sums, double *squares)
{
    double block[BLOCK];
    size_t length = rows != 0 ? values.count / rows : 0;
    for (size_t row = 0; row < rows; row++) {
        double sum[LANES] = {0};
        double square[LANES] = {0};
        for (size_t at = 0; at < length; at += BLOCK) {
            size_t count = dcz_smaller(BLOCK, length - at);
            dcz_load_values(values, row * length + at, count, block);
            add_moments(block, fill_lanes(block, count), sum, square);
        }
        sums[row] = dcz_add_lanes(sum);
        /* of which NaN, and with which sign, machines may differ */
        if (isnan(sums[row])) sums[row] = NAN;
        squares[row] = dcz_add_lanes(square);
    }
}
