/* Encoding of symbols; coding.h has the interface. */
#include "coding.h"

#include <string.h>

#include "words.h"

static DCZ_ALWAYS_INLINE uint32_t symbol_at(const void *symbols, uint32_t item_size, size_t i)
{
    uint16_t wide;
    if (item_size == 1) return ((const uint8_t *)symbols)[i];
    memcpy(&wide, (const uint8_t *)symbols + 2 * i, 2);
    return wide;
}

/* ---- counting ---- */

/* Four histograms side by side: a run of one symbol would otherwise wait for its own counter. */
static DCZ_ALWAYS_INLINE int count_items(const void *symbols, size_t count, uint32_t item_size,
                                         uint32_t alphabet, uint64_t *histograms)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t symbol = symbol_at(symbols, item_size, i);
        if (symbol >= alphabet) return 0;
        histograms[(i & 3) * alphabet + symbol]++;
    }
    return 1;
}

int dcz_count_symbols(const void *symbols, size_t count, uint32_t item_size, uint32_t alphabet,
                      uint64_t *scratch, int64_t *counts)
{
    int known;
    memset(scratch, 0, 4 * (size_t)alphabet * sizeof *scratch);
    if (item_size == 1)
        known = count_items(symbols, count, 1, alphabet, scratch);
    else
        known = count_items(symbols, count, 2, alphabet, scratch);
    for (size_t symbol = 0; symbol < alphabet; symbol++)
        counts[symbol] = (int64_t)(scratch[symbol] + scratch[alphabet + symbol]
                                   + scratch[2 * (size_t)alphabet + symbol]
                                   + scratch[3 * (size_t)alphabet + symbol]);
    return known;
}

/* ---- splitting sparse indices ---- */

enum { CHUNK = 4096 };

/* Positions of the survivors among at most CHUNK indices. Writes every position and moves on only
 * after a survivor: a branch here would be mispredicted at every other survivor. */
static DCZ_ALWAYS_INLINE size_t find_survivors(const void *indices, uint32_t item_size,
                                               size_t begin, size_t length, uint16_t *positions)
{
    size_t found = 0;
    for (size_t i = 0; i < length; i++) {
        positions[found] = (uint16_t)i;
        found += symbol_at(indices, item_size, begin + i) != 0;
    }
    return found;
}

static DCZ_ALWAYS_INLINE void put_level(void *levels, uint32_t item_size, size_t i, uint32_t level)
{
    uint16_t wide = (uint16_t)level;
    if (item_size == 1)
        ((uint8_t *)levels)[i] = (uint8_t)level;
    else
        memcpy((uint8_t *)levels + 2 * i, &wide, 2);
}

static DCZ_ALWAYS_INLINE void split_items(const void *indices, uint32_t item_size, size_t length,
                                          uint32_t filler, uint16_t *gaps, size_t *gap_count,
                                          void *levels, size_t *level_count)
{
    uint16_t positions[CHUNK];
    size_t next = 0; /* the position after the last survivor */
    size_t gaps_done = 0, levels_done = 0;
    for (size_t begin = 0; begin < length; begin += CHUNK) {
        size_t size = length - begin < CHUNK ? length - begin : CHUNK;
        size_t found = find_survivors(indices, item_size, begin, size, positions);
        for (size_t i = 0; i < found; i++) {
            size_t position = begin + positions[i];
            size_t gap = position - next;
            for (; gap >= filler; gap -= filler) gaps[gaps_done++] = (uint16_t)filler;
            gaps[gaps_done++] = (uint16_t)gap;
            put_level(levels, item_size, levels_done++,
                      symbol_at(indices, item_size, position) - 1);
            next = position + 1;
        }
    }
    *gap_count = gaps_done;
    *level_count = levels_done;
}

void dcz_split_block(const void *indices, uint32_t item_size, size_t length, uint32_t filler,
                     uint16_t *gaps, size_t *gap_count, void *levels, size_t *level_count)
{
    if (item_size == 1)
        split_items(indices, 1, length, filler, gaps, gap_count, levels, level_count);
    else
        split_items(indices, 2, length, filler, gaps, gap_count, levels, level_count);
}

/* ---- coded segments ---- */

enum { WORD_BYTES = 8, LONGEST_VARINT = 3 };

void dcz_prepare_encoder(dcz_encoder *encoder, const dcz_code *code)
{
    uint16_t codes[DCZ_ALPHABET_LIMIT];
    encoder->code = *code;
    dcz_assign_codes(code, codes);
    memset(encoder->lengths, 0, sizeof encoder->lengths);
    if (code->alphabet) memcpy(encoder->lengths, code->lengths, code->alphabet);
    for (uint32_t i = 0; i < DCZ_ALPHABET_LIMIT; i++) encoder->codes[i] = DCZ_NO_CODE;
    for (uint32_t i = 0; i < code->alphabet; i++)
        if (code->lengths[i]) encoder->codes[i] = codes[i];
}

static size_t stream_bound(size_t count, uint32_t longest)
{
    /* The last store may reach a word past the last code. */
    return count / 8 * longest + (count % 8 * longest + 7) / 8 + WORD_BYTES;
}

size_t dcz_segment_bound(size_t count, uint32_t longest)
{
    if (count == 0) return 0;
    if (count < DCZ_MANY_STREAMS_FROM) return LONGEST_VARINT + stream_bound(count, longest);
    return 2 * DCZ_STREAMS + DCZ_STREAMS * stream_bound(count / DCZ_STREAMS + 1, longest);
}

/* A stream on its way out. */
typedef struct {
    uint8_t *at;   /* the next byte */
    uint64_t word; /* what is not written yet: `used` bits, at most 7 between two calls */
    uint32_t used;
} stream;

/* Adds the codes of `count` symbols, every `stride`-th one, to a stream, for which its word has
 * room. Returns all of these codes, OR-ed, which shows whether a symbol had none. */
static DCZ_ALWAYS_INLINE uint32_t write_some(const dcz_encoder *encoder, const void *symbols,
                                             uint32_t item_size, size_t first, size_t stride,
                                             size_t count, stream *s)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t symbol = symbol_at(symbols, item_size, first + i * stride);
        uint32_t code = encoder->codes[symbol];
        seen |= code;
        s->word |= (uint64_t)code << s->used;
        s->used += encoder->lengths[symbol];
    }
    dcz_store_word(s->at, s->word);
    s->at += s->used >> 3;
    s->word >>= s->used & ~7u;
    s->used &= 7;
    return seen;
}

/* Writes every `stride`-th symbol from `first` to before `end`. With at most 7 bits left over from
 * the store before, a word has room for `per_store` codes. */
static DCZ_ALWAYS_INLINE uint32_t write_codes(const dcz_encoder *encoder, const void *symbols,
                                              uint32_t item_size, size_t first, size_t end,
                                              size_t stride, size_t per_store, stream *to)
{
    stream s = *to;
    uint32_t seen = 0;
    size_t left = first < end ? (end - first + stride - 1) / stride : 0;
    for (; left >= per_store; left -= per_store, first += per_store * stride)
        seen |= write_some(encoder, symbols, item_size, first, stride, per_store, &s);
    if (left > 0) seen |= write_some(encoder, symbols, item_size, first, stride, left, &s);
    *to = s;
    return seen;
}

static DCZ_ALWAYS_INLINE uint32_t write_items(const dcz_encoder *encoder, const void *symbols,
                                              uint32_t item_size, size_t first, size_t end,
                                              size_t stride, stream *s)
{
    const uint32_t longest = encoder->code.longest;
    if (longest <= 11) return write_codes(encoder, symbols, item_size, first, end, stride, 5, s);
    if (longest <= 14) return write_codes(encoder, symbols, item_size, first, end, stride, 4, s);
    return write_codes(encoder, symbols, item_size, first, end, stride, 3, s);
}

DCZ_FOR_NEWER_PROCESSORS
static uint32_t largest_of(const uint16_t *symbols, size_t count)
{
    uint16_t largest = 0;
    for (size_t i = 0; i < count; i++) largest = symbols[i] > largest ? symbols[i] : largest;
    return largest;
}

/* Symbols are coded a block at a time: all streams find them in the nearest cache. */
enum { BLOCK_SYMBOLS = 4096 };

/* Writes symbols that take turns in `count` streams. */
static DCZ_ALWAYS_INLINE uint32_t write_streams(const dcz_encoder *encoder, const void *symbols,
                                                uint32_t item_size, size_t size, stream *streams,
                                                size_t count)
{
    uint32_t seen = 0;
    for (size_t begin = 0; begin < size; begin += BLOCK_SYMBOLS) {
        size_t end = size - begin < BLOCK_SYMBOLS ? size : begin + BLOCK_SYMBOLS;
        if (item_size == 2
            && largest_of((const uint16_t *)symbols + begin, end - begin) >= encoder->code.alphabet)
            return DCZ_NO_CODE;
        for (size_t i = 0; i < count; i++)
            seen |= write_items(encoder, symbols, item_size, begin + i, end, count, &streams[i]);
    }
    return seen;
}

DCZ_FOR_NEWER_PROCESSORS
static uint32_t write_bytes(const dcz_encoder *encoder, const void *symbols, size_t size,
                            stream *streams, size_t count)
{
    return write_streams(encoder, symbols, 1, size, streams, count);
}

DCZ_FOR_NEWER_PROCESSORS
static uint32_t write_wide(const dcz_encoder *encoder, const void *symbols, size_t size,
                            stream *streams, size_t count)
{
    return write_streams(encoder, symbols, 2, size, streams, count);
}

/* Returns 0 if a symbol has no code. */
static int write_symbols(const dcz_encoder *encoder, const void *symbols, uint32_t item_size,
                         size_t size, stream *streams, size_t count)
{
    uint32_t seen = item_size == 1 ? write_bytes(encoder, symbols, size, streams, count)
                                   : write_wide(encoder, symbols, size, streams, count);
    return !(seen & DCZ_NO_CODE);
}

static size_t write_varint(uint8_t *out, size_t number)
{
    size_t size = 0;
    for (; number > 0x7f; number >>= 7) out[size++] = (uint8_t)(number | 0x80);
    out[size++] = (uint8_t)number;
    return size;
}

/* The size comes before the stream and is known after it: the stream is written as far on as the
 * longest size takes, and moved. */
static dcz_encode_status encode_single(const dcz_encoder *encoder, const void *symbols,
                                       size_t count, uint32_t item_size, uint8_t *out,
                                       size_t *written)
{
    uint8_t *from = out + LONGEST_VARINT;
    stream only = {from, 0, 0};
    size_t size, header;
    if (!write_symbols(encoder, symbols, item_size, count, &only, 1))
        return DCZ_SYMBOL_WITHOUT_CODE;
    size = (size_t)(only.at - from) + (only.used > 0);
    header = write_varint(out, size);
    memmove(out + header, from, size);
    *written = header + size;
    return DCZ_ENCODED;
}

/* Each stream is written where it fits whatever the others take, and moved. */
static dcz_encode_status encode_many(const dcz_encoder *encoder, const void *symbols,
                                     size_t count, uint32_t item_size, uint8_t *out,
                                     size_t *written)
{
    const size_t room = stream_bound(count / DCZ_STREAMS + 1, encoder->code.longest);
    uint8_t *from = out + 2 * DCZ_STREAMS, *at = from;
    stream streams[DCZ_STREAMS];
    for (size_t i = 0; i < DCZ_STREAMS; i++) streams[i] = (stream){from + i * room, 0, 0};
    if (!write_symbols(encoder, symbols, item_size, count, streams, DCZ_STREAMS))
        return DCZ_SYMBOL_WITHOUT_CODE;
    for (size_t i = 0; i < DCZ_STREAMS; i++, from += room) {
        size_t size = (size_t)(streams[i].at - from) + (streams[i].used > 0);
        if (size > DCZ_STREAM_BYTES_LIMIT) return DCZ_STREAM_TOO_LONG;
        out[2 * i] = (uint8_t)size;
        out[2 * i + 1] = (uint8_t)(size >> 8);
        memmove(at, from, size);
        at += size;
    }
    *written = (size_t)(at - out);
    return DCZ_ENCODED;
}

static int all_are(const void *symbols, size_t count, uint32_t item_size, uint32_t symbol)
{
    for (size_t i = 0; i < count; i++)
        if (symbol_at(symbols, item_size, i) != symbol) return 0;
    return 1;
}

dcz_encode_status dcz_encode_segment(const dcz_encoder *encoder, const void *symbols,
                                     size_t count, uint32_t item_size, uint8_t *out,
                                     size_t *written)
{
    *written = 0;
    if (count == 0) return DCZ_ENCODED;
    if (encoder->code.used == 1)
        return all_are(symbols, count, item_size, encoder->code.last_used)
                   ? DCZ_ENCODED
                   : DCZ_SYMBOL_WITHOUT_CODE;
    if (count < DCZ_MANY_STREAMS_FROM)
        return encode_single(encoder, symbols, count, item_size, out, written);
    return encode_many(encoder, symbols, count, item_size, out, written);
}
