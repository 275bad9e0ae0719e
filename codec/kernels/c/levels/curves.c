/* What numbers of levels cost and leave; grids.h has the interface. */
#include "grids.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Sums over the bins before each one, and logarithms as they are first asked for. */
typedef struct {
    int64_t *weight;        /* [bins + 1] */
    double *first, *second; /* [bins + 1] */
    double *logs;           /* [bins + 1] of numbers of weights, -1 where not asked for yet */
    double log_total;
} sums;

size_t dcz_measure_room(const dcz_distribution *weights) { return 4 * (weights->bins + 1); }

static void add_up(const dcz_distribution *w, sums *s)
{
    s->weight[0] = 0;
    s->first[0] = s->second[0] = 0;
    for (size_t i = 0; i <= w->bins; i++) s->logs[i] = -1;
    for (size_t i = 0; i < w->bins; i++) {
        double centred = w->means[i] - 0.5, count = (double)w->counts[i];
        s->weight[i + 1] = s->weight[i] + w->counts[i];
        s->first[i + 1] = s->first[i] + count * centred;
        s->second[i + 1] = s->second[i] + count * centred * centred;
    }
    s->log_total = dcz_log2((double)s->weight[w->bins]);
}

static double log_of(const dcz_distribution *w, sums *s, int64_t count)
{
    if ((size_t)count > w->bins) return dcz_log2((double)count);
    if (s->logs[count] == -1) s->logs[count] = dcz_log2((double)count);
    return s->logs[count];
}

/* The cell of a position: the last one that begins at or before it. */
static size_t cell_of(double position, size_t levels)
{
    double count = (double)levels;
    size_t cell = (size_t)(position * count);
    if (cell >= levels) cell = levels - 1;
    while (cell > 0 && (double)cell / count > position) cell--;
    while (cell + 1 < levels && (double)(cell + 1) / count <= position) cell++;
    return cell;
}

/* The first bin, from `begin` on, at or past a position: a few steps, then in halves. */
static size_t find_bin(const dcz_distribution *w, size_t begin, double position)
{
    size_t low = begin, step = 1, high;
    while (low + step <= w->bins && w->means[low + step - 1] < position) {
        low += step;
        step *= 2;
    }
    high = low + step <= w->bins ? low + step - 1 : w->bins;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (w->means[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Adds bits and error of all cells in use to running sums over all numbers of levels. */
static void measure_cells(const dcz_distribution *w, sums *s, size_t levels, double *bits,
                          double *error)
{
    for (size_t begin = 0, end; begin < w->bins; begin = end) {
        size_t cell = cell_of(w->means[begin], levels);
        double weight, first;
        int64_t count;
        end = cell + 1 < levels ? find_bin(w, begin + 1, (double)(cell + 1) / (double)levels) : w->bins;
        count = s->weight[end] - s->weight[begin];
        weight = (double)count;
        first = s->first[end] - s->first[begin];
        *error += s->second[end] - s->second[begin] - first * first / weight;
        *bits += weight * (s->log_total - log_of(w, s, count)) + w->value_bits;
    }
}

/* Linear between measured ones: bits in the logarithm, the error's root in the number itself. */
static void fill(const dcz_level_plan *plan, double *bits, double *errors)
{
    double *to_bits = bits + plan->measured_count, *to_errors = errors + plan->measured_count;
    for (size_t i = 0; i < plan->filled_count; i++) {
        size_t after = (size_t)plan->after[i], before = after - 1;
        double low, high, root;
        to_bits[i] = to_errors[i] = HUGE_VAL;
        if (!(errors[after] > 0)) continue;
        low = 1 / sqrt(errors[before] > DBL_MIN ? errors[before] : DBL_MIN);
        high = 1 / sqrt(errors[after] > DBL_MIN ? errors[after] : DBL_MIN);
        root = low + (high - low) * plan->root_way[i];
        to_bits[i] = bits[before] + plan->bits_way[i] * (bits[after] - bits[before]);
        to_errors[i] = 1 / (root * root);
    }
}

/* The high-rate law, and then as many bits as the weights have themselves, for no error. */
static void extrapolate(const dcz_distribution *w, const dcz_level_plan *plan, int64_t total,
                        double *bits, double *errors)
{
    const size_t last = plan->measured_count - 1;
    double *to_bits = bits + plan->measured_count + plan->filled_count;
    double *to_errors = errors + plan->measured_count + plan->filled_count;
    for (size_t i = 0; i < plan->further_count; i++) {
        double levels = (double)(plan->further[i] - plan->measured[last]);
        to_bits[i] = bits[last] + ((double)total * plan->log_ratio[i] + levels * w->value_bits);
        to_errors[i] = errors[last] / (plan->ratio[i] * plan->ratio[i]);
    }
    to_bits[plan->further_count] = (double)total * w->value_bits;
    to_errors[plan->further_count] = 0;
}

void dcz_measure_levels(const dcz_distribution *weights, const dcz_level_plan *plan, void *memory,
                        double *bits, double *errors)
{
    const size_t size = weights->bins + 1;
    sums s = {.weight = memory};
    double all_bits = 0, all_errors = 0;
    s.first = (double *)(s.weight + size);
    s.second = s.first + size;
    s.logs = s.second + size;
    add_up(weights, &s);
    for (size_t i = 0; i < plan->measured_count; i++) {
        double bits_before = all_bits, errors_before = all_errors, error;
        measure_cells(weights, &s, (size_t)plan->measured[i], &all_bits, &all_errors);
        error = all_errors - errors_before;
        bits[i] = all_bits - bits_before;
        errors[i] = (error > 0 ? error : 0) * weights->width * weights->width;
    }
    fill(plan, bits, errors);
    extrapolate(weights, plan, s.weight[weights->bins], bits, errors);
}

/* ---- hull ---- */

static int goes_before(const double *bits, const double *errors, uint32_t a, uint32_t b)
{
    if (bits[a] != bits[b]) return bits[a] < bits[b];
    return errors[a] != errors[b] ? errors[a] < errors[b] : a <= b;
}

static void sort_points(const double *bits, const double *errors, size_t count, uint32_t *points,
                        uint32_t *other)
{
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t begin = 0; begin + run < count; begin += 2 * run) {
            size_t middle = begin + run, end = middle + run < count ? middle + run : count;
            size_t left = begin, right = middle;
            if (goes_before(bits, errors, points[middle - 1], points[middle])) continue;
            for (size_t i = begin; i < end; i++) {
                int take_left =
                    right == end
                    || (left < middle && goes_before(bits, errors, points[left], points[right]));
                other[i] = take_left ? points[left++] : points[right++];
            }
            memcpy(points + begin, other + begin, (end - begin) * sizeof *points);
        }
    }
}

/* Whether the middle point lies below the line from the first to the last. */
static int turns(const double *bits, const double *errors, uint32_t a, uint32_t b, uint32_t c)
{
    double before = (errors[b] - errors[a]) / (bits[b] - bits[a]);
    double after = (errors[c] - errors[b]) / (bits[c] - bits[b]);
    return before < after;
}

/* Points by their numbers of levels, which is nearly in the order of their bits. */
static void start_order(const dcz_level_plan *plan, size_t count, uint32_t *points)
{
    size_t placed = 0, filled = 0;
    for (size_t i = 0; i < plan->measured_count; i++) {
        while (filled < plan->filled_count && (size_t)plan->after[filled] == i)
            points[placed++] = (uint32_t)(plan->measured_count + filled++);
        points[placed++] = (uint32_t)i;
    }
    for (size_t i = plan->measured_count + plan->filled_count; i < count; i++)
        points[placed++] = (uint32_t)i;
}

size_t dcz_lower_hull(const double *bits, const double *errors, const dcz_level_plan *plan,
                      uint32_t *room, uint32_t *hull)
{
    const size_t count = plan->measured_count + plan->filled_count + plan->further_count + 1;
    size_t kept = 0;
    start_order(plan, count, room);
    sort_points(bits, errors, count, room, hull);
    for (size_t i = 0; i < count; i++) {
        uint32_t point = room[i];
        if (kept > 0
            && (errors[point] >= errors[hull[kept - 1]] || bits[point] <= bits[hull[kept - 1]]))
            continue;
        while (kept > 1 && !turns(bits, errors, hull[kept - 2], hull[kept - 1], point)) kept--;
        hull[kept++] = point;
    }
    return kept;
}
