/* Coding by classes of runs: the tables of the classes, where their segments are, and decoding.
 *
 * As in decode.h, no function trusts the payload; the other arguments must be as documented. No
 * function allocates. */
#ifndef DCZ_CLASSES_H
#define DCZ_CLASSES_H

#include "decode.h"
#include "digest.h"

#define DCZ_CLASS_LIMIT 16
/* A symbol stands for one element or two; pairs are of few values, which are not wide. */
#define DCZ_WIDTH_LIMIT 2
#define DCZ_PAIRED_LEVELS_LIMIT 128
#define DCZ_PAIRED_BYTES_LIMIT 4

/* Bytes from `at` to before `end`. */
typedef struct {
    const uint8_t *at, *end;
} dcz_bytes;

/* The code of a class, in arrays of the caller's with room for any code. */
typedef struct {
    uint8_t *lengths;  /* of each symbol, in bits: room for DCZ_ALPHABET_LIMIT */
    uint16_t *members; /* entry in the codebook of each of their elements: room for twice that */
    size_t alphabet;
    size_t width; /* elements of a symbol */
    int coded;    /* whether symbols take bits: not where only one is in use */
} dcz_class_code;

/* Reads the table of a class, for a codebook of `levels` values of `item_size` bytes, and moves on
 * behind it. On failure the array's content is unspecified. */
dcz_status dcz_read_class_code(dcz_bytes *payload, size_t levels, size_t item_size,
                               dcz_class_code *code);

/* Runs of `length` elements, the last perhaps shorter, `count` elements in all. Run i is in class
 * classes[i], below `kinds`. Those of a block are coded together, each class in a segment. */
typedef struct {
    const uint8_t *classes;
    size_t kinds;
    size_t length, count;
    size_t runs, runs_in_block; /* at least 1 */
} dcz_class_runs;

/* How many elements of each class are in the block whose first run is `first`. */
void dcz_count_block(const dcz_class_runs *runs, size_t first, size_t elements[DCZ_CLASS_LIMIT]);

/* Symbols of one width that so many elements fill; the last may stand for some more. */
static inline size_t dcz_symbols(size_t elements, size_t width)
{
    return elements / width + (elements % width > 0);
}

/* Finds where the segments of each block and class begin, and where the last one ends, from
 * `position` on, at most `size`: found[blocks * kinds + 1]. `coded` and `widths` are those of the
 * codes. */
dcz_status dcz_find_class_segments(const dcz_class_runs *runs, const uint8_t *coded,
                                   const int64_t *widths, const uint8_t *payload, size_t size,
                                   size_t position, int64_t *found);

/* Bytes in which a class's elements wait for their places, and what a copy reads after them. */
enum { DCZ_WAITING_BYTES = 1 << 13, DCZ_COPY_SLACK = 32 };

/* The elements of one class on their way from a segment into runs. */
typedef struct {
    dcz_decoder decoder;
    size_t width;
    uint8_t *waiting; /* DCZ_WAITING_BYTES + DCZ_COPY_SLACK of them */
    dcz_segment segment;
    const uint8_t *begin, *end; /* of what waits and was not taken */
} dcz_class_source;

/* Decodes runs: `sources` has one for each class, with a prepared decoder, `offsets` for each
 * block and class the place of its segment. `digester` takes what is written; it may be NULL. On
 * failure what is in `out` is unspecified. */
dcz_status dcz_decode_runs(const dcz_class_runs *runs, dcz_class_source *sources,
                           const uint8_t *payload, size_t size, const int64_t *offsets,
                           size_t item_size, dcz_digester *digester, uint8_t *out);

#endif
