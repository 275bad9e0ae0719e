/* One class of a tensor in one segment: its table and its symbols, coded. Memory is the caller's;
 * arguments must be as documented, but no symbol is trusted. */
#ifndef DCZ_CLASS_STREAMS_H
#define DCZ_CLASS_STREAMS_H

#include "coding.h"

#define DCZ_PAIRED_LEVELS_LIMIT 128
#define DCZ_PAIR_LENGTH_LIMIT 14
/* What a segment takes beside its symbols, in the choice between single indices and pairs. */
#define DCZ_SEGMENT_BYTES 20
/* Most bytes of a class's table: flags, two varints, two bitmaps, a varint, lengths. */
#define DCZ_CLASS_TABLE_LIMIT (16 + DCZ_ALPHABET_LIMIT / 8 + 2048 + DCZ_TABLE_LIMIT)

/* What dcz_code_class works in. */
typedef struct {
    dcz_lengths_scratch lengths_scratch;
    dcz_encoder encoder;
    int64_t used_counts[DCZ_ALPHABET_LIMIT];
    int64_t pair_counts[DCZ_PAIRED_LEVELS_LIMIT * DCZ_PAIRED_LEVELS_LIMIT];
    uint16_t used[DCZ_ALPHABET_LIMIT], rank[DCZ_ALPHABET_LIMIT];
    uint16_t pairs[DCZ_ALPHABET_LIMIT];
    uint16_t pair_rank[DCZ_PAIRED_LEVELS_LIMIT * DCZ_PAIRED_LEVELS_LIMIT];
    uint8_t lengths[DCZ_ALPHABET_LIMIT], pair_lengths[DCZ_ALPHABET_LIMIT];
    uint8_t table[DCZ_CLASS_TABLE_LIMIT], pair_table[DCZ_CLASS_TABLE_LIMIT];
} dcz_class_room;

typedef struct {
    const uint8_t *table; /* in the room */
    size_t table_bytes, segment_bytes;
    int64_t bits; /* of the symbols, without framing */
    int64_t least; /* bytes that any code for single indices takes, by their entropy */
} dcz_coded_class;

/* Codes indices by the shorter of a code for single ones and, where `may_pair`, one for pairs, and
 * counts them in counts[levels]. `symbols` has room for `count` items, at least one, and `segment`
 * for dcz_segment_bound(count, DCZ_LENGTH_LIMIT) bytes. Returns 0 if an index is no level. */
int dcz_code_class(const void *indices, uint32_t item_size, size_t count, uint32_t levels,
                   int may_pair, dcz_class_room *room, uint16_t *symbols, uint8_t *segment,
                   int64_t *counts, dcz_coded_class *coded);

#endif
