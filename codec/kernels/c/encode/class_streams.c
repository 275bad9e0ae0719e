/* One class of a tensor, coded; class_streams.h has the interface. */
#include "class_streams.h"

#include <string.h>

#include "grids.h"

enum { PAIRS = 1, BITMAP = 2 };

static uint32_t index_at(const void *indices, uint32_t item_size, size_t i)
{
    return item_size == 1 ? ((const uint8_t *)indices)[i] : ((const uint16_t *)indices)[i];
}

static int count_indices(const void *indices, uint32_t item_size, size_t count, uint32_t levels,
                         int64_t *counts)
{
    memset(counts, 0, levels * sizeof *counts);
    for (size_t i = 0; i < count; i++) {
        uint32_t index = index_at(indices, item_size, i);
        if (index >= levels) return 0;
        counts[index]++;
    }
    return 1;
}

/* ---- tables ---- */

static size_t put_varint(uint8_t *out, size_t number)
{
    size_t size = 0;
    for (; number > 0x7f; number >>= 7) out[size++] = (uint8_t)(number | 0x80);
    out[size++] = (uint8_t)number;
    return size;
}

/* A bit for each of `size` places, each byte's lowest first. */
static size_t put_bitmap(uint8_t *out, const uint16_t *places, size_t count, uint32_t first,
                         size_t size)
{
    memset(out, 0, (size + 7) / 8);
    for (size_t i = 0; i < count; i++) {
        uint32_t place = places[i] - first;
        out[place / 8] |= (uint8_t)(1 << place % 8);
    }
    return (size + 7) / 8;
}

static size_t put_lengths(uint8_t *out, const uint8_t *lengths, size_t alphabet)
{
    size_t size = put_varint(out, alphabet);
    return alphabet == 1 ? size : size + dcz_write_lengths(lengths, (uint32_t)alphabet, out + size);
}

static size_t put_head(uint8_t *out, const dcz_class_room *room, size_t used, int flags)
{
    uint32_t first = room->used[0];
    size_t span = (size_t)(room->used[used - 1] - first) + 1, size = 1;
    out[0] = (uint8_t)(flags | (used < span ? BITMAP : 0));
    size += put_varint(out + size, first);
    size += put_varint(out + size, span);
    if (used < span) size += put_bitmap(out + size, room->used, used, first, span);
    return size;
}

/* ---- codes ---- */

static uint32_t length_limit(size_t alphabet)
{
    return alphabet <= 64 ? 11 : alphabet <= 256 ? 12 : DCZ_LENGTH_LIMIT;
}

static int64_t bits_of(const int64_t *counts, const uint8_t *lengths, size_t alphabet)
{
    int64_t bits = 0;
    if (alphabet > 1)
        for (size_t i = 0; i < alphabet; i++) bits += counts[i] * lengths[i];
    return bits;
}

static size_t estimate(size_t table, int64_t bits, size_t alphabet)
{
    return table + (size_t)((bits + 7) / 8) + (alphabet > 1 ? DCZ_SEGMENT_BYTES : 0);
}

/* By which a bound stays below an entropy that was rounded. */
#define MARGIN (1.0 / (1 << 20))

/* Bytes that any code for these counts takes, by their entropy. */
static size_t least_bytes(const int64_t *counts, size_t alphabet, int64_t total)
{
    double known[64] = {0}, bits = 0, log_total = dcz_log2((double)total);
    for (size_t i = 0; i < alphabet; i++) {
        int64_t count = counts[i];
        double log_count;
        if (count >= 64) {
            log_count = dcz_log2((double)count);
        } else {
            if (known[count] == 0) known[count] = dcz_log2((double)count);
            log_count = known[count];
        }
        bits += (double)count * (log_total - log_count);
    }
    return (size_t)(bits * (1 - MARGIN) / 8);
}

/* Collects the pairs that occur, with their counts at the front; 0 if they are too many. */
static size_t find_pairs(dcz_class_room *room, const uint16_t *symbols, size_t count, size_t used)
{
    size_t pairs = 0;
    memset(room->pair_counts, 0, used * used * sizeof *room->pair_counts);
    for (size_t i = 0; i < count; i++) room->pair_counts[symbols[i]]++;
    for (size_t pair = 0; pair < used * used; pair++) {
        if (room->pair_counts[pair] == 0) continue;
        if (pairs == DCZ_ALPHABET_LIMIT) return 0;
        room->pair_rank[pair] = (uint16_t)pairs;
        room->pairs[pairs] = (uint16_t)pair;
        room->pair_counts[pairs++] = room->pair_counts[pair];
    }
    return pairs;
}

/* Pairs of the ranks of neighbouring indices; an odd one out is paired with rank 0. */
static size_t pair_up(const dcz_class_room *room, const void *indices, uint32_t item_size,
                      size_t count, size_t used, uint16_t *symbols)
{
    for (size_t i = 0; i < count; i += 2) {
        size_t left = room->rank[index_at(indices, item_size, i)];
        size_t right = i + 1 < count ? room->rank[index_at(indices, item_size, i + 1)] : 0;
        symbols[i / 2] = (uint16_t)(left * used + right);
    }
    return (count + 1) / 2;
}

/* The code for pairs, if it takes less than `limit` bytes: how many pairs it has, or 0. */
static size_t code_pairs(dcz_class_room *room, const uint16_t *symbols, size_t count, size_t used,
                         size_t limit, dcz_coded_class *coded)
{
    size_t pairs = find_pairs(room, symbols, count, used), size;
    if (pairs == 0) return 0;
    size = least_bytes(room->pair_counts, pairs, (int64_t)count);
    if (used * used / 8 + pairs / 8 + size >= limit) return 0; /* bitmap, a bit a length, symbols */
    dcz_code_lengths(room->pair_counts, (uint32_t)pairs, DCZ_PAIR_LENGTH_LIMIT,
                     &room->lengths_scratch, room->pair_lengths);
    size = put_head(room->pair_table, room, used, PAIRS);
    size += put_bitmap(room->pair_table + size, room->pairs, pairs, 0, used * used);
    size += put_lengths(room->pair_table + size, room->pair_lengths, pairs);
    coded->bits = bits_of(room->pair_counts, room->pair_lengths, pairs);
    coded->table = room->pair_table;
    coded->table_bytes = size;
    return estimate(size, coded->bits, pairs) < limit ? pairs : 0;
}

static size_t code_singles(dcz_class_room *room, size_t count, const int64_t *counts,
                           uint32_t levels, dcz_coded_class *coded)
{
    size_t used = 0;
    for (uint32_t level = 0; level < levels; level++) {
        if (counts[level] == 0) continue;
        room->rank[level] = (uint16_t)used;
        room->used[used] = (uint16_t)level;
        room->used_counts[used++] = counts[level];
    }
    dcz_code_lengths(room->used_counts, (uint32_t)used, length_limit(used),
                     &room->lengths_scratch, room->lengths);
    coded->table = room->table;
    coded->table_bytes = put_head(room->table, room, used, 0);
    coded->table_bytes += put_lengths(room->table + coded->table_bytes, room->lengths, used);
    coded->bits = bits_of(room->used_counts, room->lengths, used);
    coded->least = (int64_t)least_bytes(room->used_counts, used, (int64_t)count);
    return used;
}

static size_t write_segment(dcz_class_room *room, const uint8_t *lengths, size_t alphabet,
                            const uint16_t *symbols, size_t count, uint8_t *segment)
{
    size_t written = 0;
    dcz_code code;
    if (alphabet < 2) return 0;
    dcz_read_code(lengths, (uint32_t)alphabet, &code);
    dcz_prepare_encoder(&room->encoder, &code);
    dcz_encode_segment(&room->encoder, symbols, count, 2, segment, &written);
    return written;
}

int dcz_code_class(const void *indices, uint32_t item_size, size_t count, uint32_t levels,
                   int may_pair, dcz_class_room *room, uint16_t *symbols, uint8_t *segment,
                   int64_t *counts, dcz_coded_class *coded)
{
    dcz_coded_class by_pairs = {0};
    size_t used, pairs = 0, number = 0;
    if (!count_indices(indices, item_size, count, levels, counts)) return 0;
    used = code_singles(room, count, counts, levels, coded);
    if (may_pair && used > 1 && used <= DCZ_PAIRED_LEVELS_LIMIT) {
        number = pair_up(room, indices, item_size, count, used, symbols);
        pairs = code_pairs(room, symbols, number, used,
                           estimate(coded->table_bytes, coded->bits, used), &by_pairs);
    }
    if (pairs > 0) {
        for (size_t i = 0; i < number; i++) symbols[i] = room->pair_rank[symbols[i]];
        by_pairs.least = coded->least;
        *coded = by_pairs;
        coded->segment_bytes =
            write_segment(room, room->pair_lengths, pairs, symbols, number, segment);
        return 1;
    }
    for (size_t i = 0; i < count; i++) symbols[i] = room->rank[index_at(indices, item_size, i)];
    coded->segment_bytes = write_segment(room, room->lengths, used, symbols, count, segment);
    return 1;
}
