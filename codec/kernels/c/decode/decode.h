/* Decoder of segments: canonical prefix codes, fused with the look-up of each symbol's value.
 *
 * Needs no library but <string.h>, allocates nothing and reads its input once, front to back, one
 * segment at a time: codes.c, decode.c, decode_sparse.c and their headers, decode.h and
 * decode_values.h, can be compiled for a device as they are.
 *
 * No function trusts the payload: whatever its bytes, reads stay inside it and writes inside the
 * output. The other arguments must be as documented. */
#ifndef DCZ_DECODE_H
#define DCZ_DECODE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define DCZ_ALWAYS_INLINE inline __attribute__((always_inline))
#define DCZ_NOINLINE __attribute__((noinline))
#elif defined(_MSC_VER)
#define DCZ_ALWAYS_INLINE __forceinline
#define DCZ_NOINLINE __declspec(noinline)
#else
#define DCZ_ALWAYS_INLINE inline
#define DCZ_NOINLINE
#endif

/* A second version of a hot function for processors with BMI2 and AVX2, chosen when the library
 * is loaded. That takes ifunc, which only glibc has (<stddef.h> does not say; <limits.h> does). */
#include <limits.h>
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__) \
    && !defined(__SANITIZE_ADDRESS__) && !defined(__AVX2__)
#define DCZ_FOR_NEWER_PROCESSORS __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define DCZ_FOR_NEWER_PROCESSORS
#endif

#define DCZ_ALPHABET_LIMIT 4096
#define DCZ_LENGTH_LIMIT 15
#define DCZ_STREAMS 8
#define DCZ_MANY_STREAMS_FROM 4096

/* Room for the table of any decoder, in bytes; dcz_table_bytes says what one code needs. */
#define DCZ_TABLE_BYTES_LIMIT ((size_t)5 << DCZ_LENGTH_LIMIT)

typedef enum {
    DCZ_OK = 0,
    DCZ_BAD_ALPHABET,
    DCZ_BAD_LENGTH,
    DCZ_BAD_SINGLE,
    DCZ_INCOMPLETE_CODE,
    DCZ_TRUNCATED_LENGTHS,
    DCZ_BAD_TABLE_PADDING,
    DCZ_BAD_VARINT,
    DCZ_LONG_VARINT,
    DCZ_TRUNCATED_HEADER,
    DCZ_TRUNCATED_STREAM,
    DCZ_WRONG_END,
    DCZ_BAD_PADDING,
    DCZ_BAD_GAP_COUNT,
    DCZ_BAD_SURVIVOR_COUNT,
    DCZ_GAP_TOO_LONG,
    DCZ_GAP_MISMATCH,
    DCZ_LAST_FILLER,
    DCZ_TRUNCATED_TABLE,
    DCZ_BAD_TABLE_FLAGS,
    DCZ_BAD_FIRST_INDEX,
    DCZ_BAD_SPAN,
    DCZ_BAD_INDEX_MAP,
    DCZ_BAD_PAIR_MAP,
    DCZ_BAD_PAIRS,
    DCZ_WRONG_ALPHABET
} dcz_status;

/* A cause in words. */
const char *dcz_status_text(dcz_status status);

/* A canonical code, as dcz_read_code finds it in a list of code lengths. */
typedef struct {
    const uint8_t *lengths; /* of each symbol, 0 if unused; not copied */
    uint32_t alphabet;      /* number of symbols, used or not */
    uint32_t used;
    uint32_t longest;
    uint32_t last_used; /* the symbol, if only one is used */
} dcz_code;

/* Checks that the lengths are those of a complete code, or of a single symbol. */
dcz_status dcz_read_code(const uint8_t *lengths, uint32_t alphabet, dcz_code *code);

/* The length that stands before the first one of a code table: ceil(log2 alphabet). */
int dcz_first_guess(uint32_t alphabet);

/* Reads the lengths of a code table whose alphabet, 2 to DCZ_ALPHABET_LIMIT, is known. `used` is
 * how many of the `size` bytes they take. Whether they make a code, dcz_read_code tells. */
dcz_status dcz_read_lengths(const uint8_t *data, size_t size, uint32_t alphabet,
                            uint8_t *lengths, size_t *used);

/* Writes the code of every used symbol, first bit lowest. */
void dcz_assign_codes(const dcz_code *code, uint16_t *codes);

/* table[next `longest` bits] = symbol << 4 | length. */
void dcz_fill_symbol_table(const dcz_code *code, uint16_t *table);

/* A code together with the values of its symbols. */
typedef struct {
    dcz_code code;
    const void *values; /* code.alphabet items */
    void *table;        /* dcz_table_bytes, aligned to 4 */
    uint32_t item_size; /* of a value: 1, 2, 4 or 8 bytes */
} dcz_decoder;

size_t dcz_table_bytes(const dcz_code *code, uint32_t item_size);

/* Fills decoder->table from the other members. */
void dcz_prepare(const dcz_decoder *decoder);

/* Reads a varint of at most three bytes, which hold any size and count within a block. */
dcz_status dcz_read_varint(const uint8_t **at, const uint8_t *end, size_t *number);

/* Moves `position`, at most `size`, from the start of a segment of `count` symbols to its end. For
 * codes of two symbols or more; segments of others take no bytes. */
dcz_status dcz_skip_segment(const uint8_t *payload, size_t size, size_t count, size_t *position);

/* Decodes the segment of `count` symbols at payload[offset], offset <= size, into `count` values
 * at `out`. On failure what is in `out` is unspecified. */
dcz_status dcz_decode_segment(const dcz_decoder *decoder, const uint8_t *payload, size_t size,
                              size_t offset, size_t count, void *out);

/* A segment on its way out, some symbols at a time. */
typedef struct {
    const uint8_t *volatile at[DCZ_STREAMS]; /* next byte to load */
    const uint8_t *end[DCZ_STREAMS];         /* declared end of each stream */
    uint64_t word[DCZ_STREAMS];
    const uint8_t *payload_end;
    size_t streams; /* none if there is nothing to read */
    size_t left;    /* symbols */
} dcz_segment;

/* Fewer symbols than a refill of all streams may yield, 8 times 56, cannot be asked for. */
#define DCZ_LEAST_SYMBOLS 512

/* Starts the segment of `count` symbols at payload[offset], offset <= size. */
dcz_status dcz_start_segment(dcz_segment *segment, const dcz_decoder *decoder,
                             const uint8_t *payload, size_t size, size_t offset, size_t count);

/* Decodes the next symbols at `out`, and returns how many: all that are left, if these are `most`
 * or fewer, or else about `most`, which is DCZ_LEAST_SYMBOLS at least then. What a corrupt segment
 * gives is unspecified. */
size_t dcz_next_symbols(dcz_segment *segment, const dcz_decoder *decoder, size_t most, void *out);

/* When no symbol is left: whether the segment was well-formed. */
dcz_status dcz_end_segment(const dcz_segment *segment);

/* Checks that gaps leave room for `survivors` values in a block of `length` positions. */
dcz_status dcz_check_gaps(const uint16_t *gaps, size_t count, uint16_t filler, size_t survivors,
                          size_t length);

/* A decoded block on its way out, piece by piece: the values where the gaps say, zero between
 * them. The gaps are checked; all progress starts at 0. */
typedef struct {
    const uint16_t *gaps;
    size_t gap_count;
    const void *values;
    uint32_t item_size; /* of a value: 1, 2, 4 or 8 bytes */
    uint16_t filler;
    size_t gaps_done, values_done, position;
} dcz_scatter;

/* Writes positions begin to end of the block at `out`. Pieces come in order, without holes. */
void dcz_scatter_piece(dcz_scatter *block, size_t begin, size_t end, void *out);

#endif
