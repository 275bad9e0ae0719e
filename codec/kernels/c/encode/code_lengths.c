/* Length-limited prefix codes by package-merge: Larmore and Hirschberg, "A fast algorithm for
 * optimal length-limited Huffman codes", 1990. And how a file holds their lengths. */
#include "coding.h"

#include <string.h>

/* Rarest first; of equal counts the larger symbol first, as the first get the longest codes. */
static int comes_before(const dcz_leaf *a, const dcz_leaf *b)
{
    return a->count < b->count || (a->count == b->count && a->symbol > b->symbol);
}

/* Merge sort from runs of one upwards; the result is in `leaves`. */
static void sort_leaves(dcz_leaf *leaves, dcz_leaf *other, size_t count)
{
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * run) {
            size_t middle = begin + run < count ? begin + run : count;
            size_t end = middle + run < count ? middle + run : count;
            size_t left = begin, right = middle;
            for (size_t i = begin; i < end; i++) {
                int take_left = right == end
                                || (left < middle && comes_before(&leaves[left], &leaves[right]));
                other[i] = take_left ? leaves[left++] : leaves[right++];
            }
        }
        memcpy(leaves, other, count * sizeof *leaves);
    }
}

/* One level: merges the leaves with the packages, which are pairs of the level before. A leaf
 * goes before a package of equal weight. Returns the number of items. */
static size_t merge_level(const dcz_leaf *leaves, size_t leaf_count, const int64_t *before,
                          size_t before_count, int64_t *items, uint8_t *is_package)
{
    size_t packages = before_count / 2, leaf = 0, package = 0;
    for (size_t i = 0; i < leaf_count + packages; i++) {
        int64_t weight = package < packages ? before[2 * package] + before[2 * package + 1] : 0;
        is_package[i] = leaf == leaf_count || (package < packages && weight < leaves[leaf].count);
        items[i] = is_package[i] ? weight : leaves[leaf].count;
        package += is_package[i];
        leaf += !is_package[i];
    }
    return leaf_count + packages;
}

/* The first 2n - 2 items of the last level are the solution. Among the items chosen in a level,
 * the leaves are the first ones there are, and each gets one bit longer; the packages choose
 * pairs in the level before. */
static void read_lengths(const dcz_lengths_scratch *scratch, size_t leaf_count, uint32_t limit,
                         uint8_t *lengths)
{
    size_t chosen = 2 * leaf_count - 2;
    for (uint32_t level = limit; level-- > 0;) {
        size_t packages = 0;
        for (size_t i = 0; i < chosen; i++) packages += scratch->is_package[level][i];
        for (size_t i = 0; i < chosen - packages; i++) lengths[scratch->leaves[i].symbol]++;
        chosen = 2 * packages;
    }
}

int dcz_code_lengths(const int64_t *counts, uint32_t alphabet, uint32_t limit,
                     dcz_lengths_scratch *scratch, uint8_t *lengths)
{
    size_t used = 0, items = 0;
    memset(lengths, 0, alphabet);
    for (uint32_t symbol = 0; symbol < alphabet; symbol++)
        if (counts[symbol] > 0)
            scratch->leaves[used++] = (dcz_leaf){.count = counts[symbol], .symbol = symbol};
    if (used > (size_t)1 << limit) return 0;
    if (used == 0) return 1;
    if (used == 1) {
        lengths[scratch->leaves[0].symbol] = 1;
        return 1;
    }
    sort_leaves(scratch->leaves, scratch->sorted, used);
    for (uint32_t level = 0; level < limit; level++)
        items = merge_level(scratch->leaves, used, scratch->weights[(level + 1) & 1], items,
                            scratch->weights[level & 1], scratch->is_package[level]);
    read_lengths(scratch, used, limit, lengths);
    return 1;
}

size_t dcz_write_lengths(const uint8_t *lengths, uint32_t alphabet, uint8_t *out)
{
    /* One shorter, the same, one longer. */
    static const uint8_t words[3] = {3, 0, 1}, sizes[3] = {3, 1, 2};
    int before = dcz_first_guess(alphabet);
    uint32_t waiting = 0, bits = 0;
    size_t size = 0;
    for (uint32_t symbol = 0; symbol < alphabet; symbol++) {
        uint32_t step = (uint32_t)(lengths[symbol] - before + 1);
        waiting |= (step < 3 ? words[step] : 7u | (uint32_t)lengths[symbol] << 3) << bits;
        bits += step < 3 ? sizes[step] : 7;
        for (; bits >= 8; bits -= 8, waiting >>= 8) out[size++] = (uint8_t)waiting;
        before = lengths[symbol];
    }
    if (bits > 0) out[size++] = (uint8_t)waiting;
    return size;
}
