/* One-dimensional k-means on a histogram: dynamic programming over groups of bins, in a band
 * around the quantizer that high-resolution theory predicts, then over the bins near the ends
 * it found. Lloyd's iteration, for other starts, is here too.
 */
#include "weights.h"

#include <float.h>
#include <string.h>

enum {
    LANES = 8,
    GROUPS_PER_LEVEL = 16,
    LEAST_GROUPS = 512,
    BAND = 256, /* groups to either side of a predicted end */
    BAND_ROUNDS = 8,
    QUOTA_STEPS = 16
};

/* The non-empty bins: their means, ascending, and the totals of all bins before each. */
typedef struct {
    size_t count;
    double *mean;
    uint64_t *weight;
    uint64_t *sum;
} point_list;

/* Sums over everything before a cut: of weight, weight x and weight x squared, where x is the
 * mean of a bin, centred and scaled to about 1. */
typedef struct {
    size_t count; /* cuts, from before the first item to behind the last */
    double *weight;
    double *first;
    double *second;
} moment_list;

/* Cuts between which dynamic programming looks for the end of each cluster; both bounds
 * increase strictly, so that every end has a start before it. */
typedef struct {
    uint32_t low;
    uint32_t high;
} window;

typedef struct {
    double *cost; /* of the best clustering of everything before a cut */
    double *open; /* that cost less the second moment: what the inner loop needs of it */
    double *trial;
    uint32_t *splits;
} path_scratch;

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Whether means ascend and totals fit 32 bits; used: the number of non-empty bins. */
int dcz_valid_histogram(const int64_t *counts, const int64_t *sums, size_t bins, size_t *used)
{
    uint64_t total = 0;
    double before = -1.0;
    *used = 0;
    for (size_t i = 0; i < bins; i++) {
        double mean;
        if (counts[i] < 0 || counts[i] > UINT32_MAX || sums[i] < 0) return 0;
        if ((uint64_t)sums[i] > (uint64_t)counts[i] * UINT32_MAX) return 0;
        if (counts[i] == 0 && sums[i] == 0) continue;
        if (counts[i] == 0) return 0;
        mean = (double)sums[i] / (double)counts[i];
        if (mean <= before) return 0;
        before = mean;
        total += (uint64_t)counts[i];
        ++*used;
    }
    return total <= UINT32_MAX;
}

/* ---- points ---- */

static void *take(char **memory, size_t count, size_t size)
{
    void *taken = *memory;
    *memory += (count * size + 7) / 8 * 8;
    return taken;
}

static point_list collect_points(const int64_t *counts, const int64_t *sums, size_t bins,
                                 size_t used, char **memory)
{
    point_list points = {0, NULL, NULL, NULL};
    points.mean = take(memory, used, sizeof *points.mean);
    points.weight = take(memory, used + 1, sizeof *points.weight);
    points.sum = take(memory, used + 1, sizeof *points.sum);
    points.weight[0] = points.sum[0] = 0;
    for (size_t i = 0; i < bins; i++) {
        size_t p = points.count;
        if (counts[i] == 0) continue;
        points.mean[p] = (double)sums[i] / (double)counts[i];
        points.weight[p + 1] = points.weight[p] + (uint64_t)counts[i];
        points.sum[p + 1] = points.sum[p] + (uint64_t)sums[i];
        points.count++;
    }
    return points;
}

static double mean_of(const point_list *points, size_t start, size_t end)
{
    return (double)(points->sum[end] - points->sum[start])
           / (double)(points->weight[end] - points->weight[start]);
}

/* ---- Lloyd ---- */

/* Number of points that are no greater than x, of which there are at least `low`. */
static uint32_t points_up_to(const point_list *points, double x, uint32_t low)
{
    uint32_t high = (uint32_t)points->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (points->mean[middle] <= x) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Where each cluster ends; whether any end has moved. */
static int move_ends(const point_list *points, const double *centroids, size_t levels,
                     uint32_t *ends)
{
    int moved = 0;
    uint32_t end = 0;
    for (size_t j = 0; j < levels; j++) {
        end = j + 1 == levels
                  ? (uint32_t)points->count
                  : points_up_to(points, (centroids[j] + centroids[j + 1]) * 0.5, end);
        moved |= end != ends[j];
        ends[j] = end;
    }
    return moved;
}

static void move_centroids(const point_list *points, const uint32_t *ends, size_t levels,
                           double *centroids)
{
    uint32_t start = 0;
    for (size_t j = 0; j < levels; j++) {
        if (ends[j] > start) centroids[j] = mean_of(points, start, ends[j]);
        start = ends[j];
    }
}

static size_t drop_repeated(double *centroids, size_t levels)
{
    size_t kept = 0;
    for (size_t j = 0; j < levels; j++) {
        if (kept == 0 || centroids[j] > centroids[kept - 1]) centroids[kept++] = centroids[j];
    }
    return kept;
}

/* ---- groups ---- */

/* The share of the levels that an optimal quantizer of many levels spends on a point: the cube
 * root of its weight times the square of its width (Panter and Dite). */
static void find_shares(const point_list *points, double *shares)
{
    for (size_t p = 0; p < points->count; p++) {
        size_t before = p == 0 ? 0 : p - 1;
        size_t after = p + 1 == points->count ? p : p + 1;
        double width = (points->mean[after] - points->mean[before]) / (double)(after - before);
        double weight = (double)(points->weight[p + 1] - points->weight[p]);
        shares[p] = dcz_cube_root(weight * (width * width));
    }
}

static inline void cap_share(double *share, double quota, double *lane)
{
    *share = *share < quota ? *share : quota;
    *lane += *share;
}

DCZ_VECTORIZE
static void cap_rows(double *shares, size_t count, double quota, double *lanes)
{
    double l[LANES] = {0};
    for (size_t i = 0; i + LANES <= count; i += LANES) {
        for (size_t j = 0; j < LANES; j++) cap_share(&shares[i + j], quota, &l[j]);
    }
    memcpy(lanes, l, sizeof l);
}

/* Returns the sum of the capped shares. */
static double cap_shares(double *shares, size_t count, double quota)
{
    double lanes[LANES];
    size_t rest = count % LANES;
    cap_rows(shares, count, quota, lanes);
    for (size_t j = 0; j < rest; j++) cap_share(&shares[count - rest + j], quota, &lanes[j]);
    return dcz_add_lanes(lanes);
}

/* Lowers the shares that exceed one part in `parts` of their sum: a point beside a wide gap needs
 * no more than a group, a group no more than a level. Returns the sum. */
static double level_shares(double *shares, size_t count, size_t parts)
{
    double total = cap_shares(shares, count, DBL_MAX);
    for (int step = 0; step < QUOTA_STEPS; step++) {
        double before = total;
        total = cap_shares(shares, count, before / (double)parts);
        if (total == before) break;
    }
    return total;
}

static size_t group_evenly(size_t count, size_t groups, uint32_t *ends)
{
    for (size_t g = 0; g < groups; g++) ends[g] = (uint32_t)((uint64_t)(g + 1) * count / groups);
    return groups;
}

static size_t group_by_share(double *shares, size_t count, size_t limit, uint32_t *ends)
{
    double total = level_shares(shares, count, limit);
    double before = 0.0;
    size_t groups = 0;
    size_t last = 0;
    for (size_t i = 0; i < count; i++) {
        size_t group = (size_t)((before + shares[i] * 0.5) / total * (double)limit);
        group = smaller(group, limit - 1); /* sums are rounded */
        if (i != 0 && group > last) ends[groups++] = (uint32_t)i;
        last = larger(last, group);
        before += shares[i];
    }
    ends[groups++] = (uint32_t)count;
    return groups;
}

static size_t most_groups(size_t used, size_t levels)
{
    return smaller(used, larger(LEAST_GROUPS, GROUPS_PER_LEVEL * levels));
}

/* Groups of about equal shares, in points; no fewer than levels. */
static size_t group_points(double *shares, size_t count, size_t levels, uint32_t *ends)
{
    size_t limit = most_groups(count, levels);
    if (count > limit) {
        size_t groups = group_by_share(shares, count, limit, ends);
        if (groups >= levels) return groups;
    }
    return group_evenly(count, limit, ends);
}

/* ---- dynamic programming ---- */

static moment_list take_moments(size_t count, char **memory)
{
    moment_list moments;
    moments.count = count;
    moments.weight = take(memory, count, sizeof *moments.weight);
    moments.first = take(memory, count, sizeof *moments.first);
    moments.second = take(memory, count, sizeof *moments.second);
    moments.weight[0] = moments.first[0] = moments.second[0] = 0.0;
    return moments;
}

static moment_list point_moments(const point_list *points, char **memory)
{
    moment_list moments = take_moments(points->count + 1, memory);
    double centre = mean_of(points, 0, points->count);
    for (size_t p = 0; p < points->count; p++) {
        double weight = (double)(points->weight[p + 1] - points->weight[p]);
        double x = (points->mean[p] - centre) * (1.0 / 4294967296.0);
        moments.weight[p + 1] = moments.weight[p] + weight;
        moments.first[p + 1] = moments.first[p] + weight * x;
        moments.second[p + 1] = moments.second[p] + weight * x * x;
    }
    return moments;
}

static moment_list group_moments(const moment_list *points, const uint32_t *ends, size_t groups,
                                 char **memory)
{
    moment_list moments = take_moments(groups + 1, memory);
    for (size_t g = 0; g < groups; g++) {
        moments.weight[g + 1] = points->weight[ends[g]];
        moments.first[g + 1] = points->first[ends[g]];
        moments.second[g + 1] = points->second[ends[g]];
    }
    return moments;
}

DCZ_VECTORIZE
static void try_splits(const moment_list *moments, const double *open, size_t low, size_t high,
                       size_t end, double *trial)
{
    const double *weight = moments->weight;
    const double *first = moments->first;
    double end_weight = weight[end];
    double end_first = first[end];
    for (size_t cut = low; cut <= high; cut++) {
        double mass = end_first - first[cut];
        trial[cut - low] = open[cut] - mass * mass / (end_weight - weight[cut]);
    }
}

static uint32_t best_split(const moment_list *moments, const path_scratch *path, uint32_t low,
                           uint32_t high, uint32_t end)
{
    const double *trial = path->trial;
    uint32_t best = 0;
    try_splits(moments, path->open, low, high, end, path->trial);
    for (uint32_t i = 1; i <= high - low; i++) best = trial[i] < trial[best] ? i : best;
    path->cost[end] = moments->second[end] + trial[best];
    return low + best;
}

/* The start of the last cluster, for each of its ends; splits[0] belongs to the first of them.
 * Starts never decrease from end to end, so that of the middle end bounds the others. */
static void split_ends(const moment_list *moments, const path_scratch *path, window ends,
                       window starts, uint32_t *splits)
{
    while (ends.low <= ends.high) {
        uint32_t middle = ends.low + (ends.high - ends.low) / 2;
        uint32_t last = starts.high < middle ? starts.high : middle - 1;
        uint32_t split = best_split(moments, path, starts.low, last, middle);
        window left = {ends.low, middle - 1};
        window left_starts = {starts.low, split};
        splits[middle - ends.low] = split;
        split_ends(moments, path, left, left_starts, splits);
        splits += middle + 1 - ends.low;
        ends.low = middle + 1;
        starts.low = split;
    }
}

/* The ends of the best clusters within their windows. */
static void best_path(const moment_list *moments, const window *windows, size_t levels,
                      const path_scratch *path, uint32_t *ends)
{
    window starts = {0, 0};
    uint32_t *splits = path->splits;
    path->cost[0] = 0.0;
    for (size_t j = 0; j < levels; j++) {
        for (uint32_t cut = starts.low; cut <= starts.high; cut++) {
            path->open[cut] = path->cost[cut] - moments->second[cut];
        }
        split_ends(moments, path, windows[j], starts, splits);
        splits += windows[j].high - windows[j].low + 1;
        starts = windows[j];
    }
    ends[levels - 1] = (uint32_t)moments->count - 1;
    for (size_t j = levels - 1; j > 0; j--) {
        splits -= windows[j].high - windows[j].low + 1;
        ends[j - 1] = splits[ends[j] - windows[j].low];
    }
}

static void add_shares(const double *point_shares, const uint32_t *group_ends, size_t groups,
                       double *shares)
{
    double sum = 0.0;
    for (size_t g = 0, p = 0; g < groups; g++) {
        double before = sum;
        for (; p < group_ends[g]; p++) sum += point_shares[p];
        shares[g] = sum - before;
    }
}

/* Ends, in groups, of clusters of equal shares. */
static void predict_ends(double *shares, size_t groups, size_t levels, uint32_t *ends)
{
    double total = level_shares(shares, groups, levels);
    double before = 0.0;
    size_t level = 0;
    for (size_t g = 0; g < groups; g++) {
        double reached = (before + shares[g] * 0.5) / total * (double)levels;
        while (level < levels && (double)(level + 1) <= reached) ends[level++] = (uint32_t)g;
        before += shares[g];
    }
    while (level < levels) ends[level++] = (uint32_t)groups;
}

/* A band around each end; every cluster keeps an item. */
static void band_windows(window *windows, const uint32_t *ends, size_t levels, size_t groups)
{
    size_t low = 0;
    size_t high = 0;
    for (size_t j = 0; j < levels; j++) {
        size_t most = groups - (levels - 1 - j);
        low = smaller(most, larger(low + 1, ends[j] > BAND ? ends[j] - BAND : 0));
        high = smaller(most, larger(high + 1, ends[j] + BAND));
        windows[j].low = (uint32_t)low;
        windows[j].high = (uint32_t)high;
    }
    windows[levels - 1].low = windows[levels - 1].high;
}

static int leaves_band(const window *windows, const uint32_t *ends, size_t levels, size_t groups)
{
    for (size_t j = 0; j + 1 < levels; j++) {
        if (ends[j] == windows[j].low && ends[j] != j + 1) return 1;
        if (ends[j] == windows[j].high && ends[j] != groups - (levels - 1 - j)) return 1;
    }
    return 0;
}

/* A group to either side of each end, in points. */
static void point_windows(window *windows, const uint32_t *ends, size_t levels,
                          const uint32_t *group_ends)
{
    for (size_t j = 0; j + 1 < levels; j++) {
        windows[j].low = ends[j] == 1 ? 1 : group_ends[ends[j] - 2] + 1;
        windows[j].high = group_ends[ends[j]] - 1;
    }
    windows[levels - 1].low = windows[levels - 1].high = group_ends[ends[levels - 1] - 1];
}

/* ---- entry points ---- */

static size_t count_used(const int64_t *counts, size_t bins)
{
    size_t used = 0;
    for (size_t i = 0; i < bins; i++) used += counts[i] != 0;
    return used;
}

static void cluster_groups(const moment_list *moments, size_t levels, window *windows,
                           const path_scratch *path, uint32_t *ends)
{
    size_t groups = moments->count - 1;
    for (int round = 0; round < BAND_ROUNDS; round++) {
        band_windows(windows, ends, levels, groups);
        best_path(moments, windows, levels, path, ends);
        if (!leaves_band(windows, ends, levels, groups)) break;
    }
}

static void cluster_points(const point_list *points, size_t levels, uint32_t *ends, char *memory)
{
    size_t cuts = points->count + 1;
    window *windows = take(&memory, levels, sizeof *windows);
    uint32_t *group_ends =
        take(&memory, most_groups(points->count, levels), sizeof *group_ends);
    moment_list moments = point_moments(points, &memory);
    moment_list grouped;
    path_scratch path;
    size_t groups;
    path.cost = take(&memory, cuts, sizeof *path.cost);
    path.open = take(&memory, cuts, sizeof *path.open);
    path.trial = take(&memory, cuts, sizeof *path.trial);
    find_shares(points, path.open);
    memcpy(path.cost, path.open, points->count * sizeof *path.cost);
    groups = group_points(path.cost, points->count, levels, group_ends);
    add_shares(path.open, group_ends, groups, path.cost);
    predict_ends(path.cost, groups, levels, ends);
    grouped = group_moments(&moments, group_ends, groups, &memory);
    path.splits = (uint32_t *)memory;
    cluster_groups(&grouped, levels, windows, &path, ends);
    point_windows(windows, ends, levels, group_ends);
    best_path(&moments, windows, levels, &path, ends);
}

size_t dcz_cluster_scratch(size_t used, size_t levels)
{
    size_t cuts = used + 1;
    size_t groups = most_groups(used, levels);
    size_t banded = levels * smaller(groups, 2 * BAND + 1);
    size_t splits = larger(banded, 2 * used + levels);
    size_t padding = 16 * 8;
    return 9 * cuts * sizeof(double) + 3 * (groups + 1) * sizeof(double)
           + levels * (sizeof(window) + sizeof(uint32_t)) + (groups + splits) * sizeof(uint32_t)
           + padding;
}

size_t dcz_lloyd(const int64_t *counts, const int64_t *sums, size_t bins, double *centroids,
                 size_t levels, size_t steps, void *scratch)
{
    char *memory = scratch;
    point_list points = collect_points(counts, sums, bins, count_used(counts, bins), &memory);
    uint32_t *ends = take(&memory, levels, sizeof *ends);
    memset(ends, 0xff, levels * sizeof *ends);
    for (size_t step = 0; step < steps; step++) {
        if (!move_ends(&points, centroids, levels, ends)) break;
        move_centroids(&points, ends, levels, centroids);
    }
    return drop_repeated(centroids, levels);
}

size_t dcz_cluster(const int64_t *counts, const int64_t *sums, size_t bins, size_t levels,
                   double *centroids, void *scratch)
{
    char *memory = scratch;
    point_list points = collect_points(counts, sums, bins, count_used(counts, bins), &memory);
    uint32_t *ends;
    if (points.count <= levels) {
        memcpy(centroids, points.mean, points.count * sizeof *centroids);
        return points.count;
    }
    ends = take(&memory, levels, sizeof *ends);
    cluster_points(&points, levels, ends, memory);
    move_centroids(&points, ends, levels, centroids);
    return levels;
}
