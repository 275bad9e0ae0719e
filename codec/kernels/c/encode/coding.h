/* Encoder: counting, splitting sparse indices, code lengths, coded segments.
 *
 * Pure loops over memory that the caller owns; nothing is allocated. Arguments must be as
 * documented, but no symbol is trusted. */
#ifndef DCZ_CODING_H
#define DCZ_CODING_H

#include <stddef.h>
#include <stdint.h>

#include "decode.h"

#define DCZ_STREAM_BYTES_LIMIT 0xffff
/* Sums of up to 15 * 4096 weights stay within 63 bits. */
#define DCZ_COUNTS_LIMIT ((int64_t)1 << 58)

/* ---- code_lengths.c ---- */

/* A used symbol and how often it occurs. */
typedef struct {
    int64_t count;
    uint32_t symbol;
} dcz_leaf;

/* What package-merge works in. */
typedef struct {
    dcz_leaf leaves[DCZ_ALPHABET_LIMIT];
    dcz_leaf sorted[DCZ_ALPHABET_LIMIT];
    int64_t weights[2][2 * DCZ_ALPHABET_LIMIT];
    /* For each level, whether an item of its list is a package. */
    uint8_t is_package[DCZ_LENGTH_LIMIT][2 * DCZ_ALPHABET_LIMIT];
} dcz_lengths_scratch;

/* Lengths of an optimal prefix code of at most `limit` bits for nonnegative counts whose sum is
 * at most DCZ_COUNTS_LIMIT. Returns 0 if `limit` bits cannot tell the symbols apart. */
int dcz_code_lengths(const int64_t *counts, uint32_t alphabet, uint32_t limit,
                     dcz_lengths_scratch *scratch, uint8_t *lengths);

/* Most bytes that dcz_write_lengths writes. */
#define DCZ_TABLE_LIMIT (DCZ_ALPHABET_LIMIT * 7 / 8)

/* Writes the lengths of a code table, which dcz_read_lengths reads, and returns their bytes. */
size_t dcz_write_lengths(const uint8_t *lengths, uint32_t alphabet, uint8_t *out);

/* ---- encode.c ---- */

/* Adds up how often each symbol occurs, in counts[alphabet]. `scratch` holds 4 * alphabet
 * counters. Returns 0 if a symbol is outside the alphabet. */
int dcz_count_symbols(const void *symbols, size_t count, uint32_t item_size, uint32_t alphabet,
                      uint64_t *scratch, int64_t *counts);

/* Splits one block of sparse indices (0, or level + 1) into gaps and levels. Both arrays need
 * room for whatever the block may hold: `length` gaps, and `length` levels. */
void dcz_split_block(const void *indices, uint32_t item_size, size_t length, uint32_t filler,
                     uint16_t *gaps, size_t *gap_count, void *levels, size_t *level_count);

/* A code in the form the encoder reads, with entries for symbols of any alphabet. */
#define DCZ_NO_CODE ((uint32_t)1 << 31)
typedef struct {
    dcz_code code;
    uint32_t codes[DCZ_ALPHABET_LIMIT]; /* or DCZ_NO_CODE */
    uint8_t lengths[DCZ_ALPHABET_LIMIT];
} dcz_encoder;

void dcz_prepare_encoder(dcz_encoder *encoder, const dcz_code *code);

/* Most bytes that dcz_encode_segment may touch for `count` symbols with codes of at most
 * `longest` bits. */
size_t dcz_segment_bound(size_t count, uint32_t longest);

typedef enum { DCZ_ENCODED = 0, DCZ_SYMBOL_WITHOUT_CODE, DCZ_STREAM_TOO_LONG } dcz_encode_status;

/* Codes a segment at `out`, where dcz_segment_bound bytes are free. */
dcz_encode_status dcz_encode_segment(const dcz_encoder *encoder, const void *symbols,
                                     size_t count, uint32_t item_size, uint8_t *out,
                                     size_t *written);

#endif
