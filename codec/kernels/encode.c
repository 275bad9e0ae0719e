/* Encoding of symbols; coding.h has the interface. */
#include "coding.h"

#include <string.h>

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
    memcpy(encoder->lengths, code->lengths, code->alphabet);
    for (uint32_t i = 0; i < DCZ_ENCODER_ENTRIES; i++) encoder->codes[i] = DCZ_NO_CODE;
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

static DCZ_ALWAYS_INLINE void store_word(uint8_t *at, uint64_t word)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int i = 0; i < WORD_BYTES; i++) at[i] = (uint8_t)(word >> 8 * i);
#else
    memcpy(at, &word, WORD_BYTES);
#endif
}

/* Every `stride`-th symbol from `first` on goes into one stream. */
typedef struct {
    const uint8_t *symbols;
    size_t count;
    const dcz_encoder *encoder;
    uint32_t seen; /* all codes used, OR-ed: shows whether a symbol had none */
} writer;

/* Writes a stream and returns its size in bytes. With at most 7 bits left over from the store
 * before, a word has room for `per_store` codes. */
static DCZ_ALWAYS_INLINE size_t write_stream(writer *w, uint32_t item_size, size_t first,
                                             size_t stride, size_t per_store, uint8_t *out)
{
    const uint32_t *codes = w->encoder->codes;
    const uint8_t *lengths = w->encoder->lengths;
    const uint32_t alphabet = w->encoder->code.alphabet;
    const uint8_t *symbols = w->symbols + first * item_size;
    size_t left = (w->count - first + stride - 1) / stride;
    uint8_t *at = out;
    uint64_t word = 0;
    uint32_t used = 0, seen = 0;
    while (left > 0) {
        size_t now = left < per_store ? left : per_store;
        for (size_t i = 0; i < now; i++) {
            uint32_t symbol = symbol_at(symbols, item_size, i * stride);
            if (item_size > 1 && symbol > alphabet) symbol = alphabet;
            seen |= codes[symbol];
            word |= (uint64_t)codes[symbol] << used;
            used += lengths[symbol];
        }
        store_word(at, word);
        at += used >> 3;
        word >>= used & ~7u;
        used &= 7;
        left -= now;
        symbols += now * stride * item_size;
    }
    w->seen |= seen;
    return (size_t)(at - out) + (used > 0);
}

static DCZ_ALWAYS_INLINE size_t write_items(writer *w, uint32_t item_size, size_t first,
                                            size_t stride, uint8_t *out)
{
    if (w->encoder->code.longest <= 11) return write_stream(w, item_size, first, stride, 5, out);
    if (w->encoder->code.longest <= 14) return write_stream(w, item_size, first, stride, 4, out);
    return write_stream(w, item_size, first, stride, 3, out);
}

DCZ_FOR_NEWER_PROCESSORS
static size_t write_bytes(writer *w, size_t first, size_t stride, uint8_t *out)
{
    return write_items(w, 1, first, stride, out);
}

DCZ_FOR_NEWER_PROCESSORS
static size_t write_pairs(writer *w, size_t first, size_t stride, uint8_t *out)
{
    return write_items(w, 2, first, stride, out);
}

static size_t write_symbols(writer *w, uint32_t item_size, size_t first, size_t stride,
                            uint8_t *out)
{
    if (item_size == 1) return write_bytes(w, first, stride, out);
    return write_pairs(w, first, stride, out);
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
static size_t encode_single(writer *w, uint32_t item_size, uint8_t *out)
{
    size_t size = write_symbols(w, item_size, 0, 1, out + LONGEST_VARINT);
    size_t header = write_varint(out, size);
    memmove(out + header, out + LONGEST_VARINT, size);
    return header + size;
}

/* Each stream is written where the one before ended, so that nothing has to be moved. Returns 0
 * if one is too long. */
static size_t encode_many(writer *w, uint32_t item_size, uint8_t *out)
{
    uint8_t *at = out + 2 * DCZ_STREAMS;
    for (size_t stream = 0; stream < DCZ_STREAMS; stream++) {
        size_t size = write_symbols(w, item_size, stream, DCZ_STREAMS, at);
        if (size > DCZ_STREAM_BYTES_LIMIT) return 0;
        out[2 * stream] = (uint8_t)size;
        out[2 * stream + 1] = (uint8_t)(size >> 8);
        at += size;
    }
    return (size_t)(at - out);
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
    writer w = {.symbols = symbols, .count = count, .encoder = encoder};
    *written = 0;
    if (count == 0) return DCZ_ENCODED;
    if (encoder->code.used == 1)
        return all_are(symbols, count, item_size, encoder->code.last_used)
                   ? DCZ_ENCODED
                   : DCZ_SYMBOL_WITHOUT_CODE;
    if (count < DCZ_MANY_STREAMS_FROM)
        *written = encode_single(&w, item_size, out);
    else
        *written = encode_many(&w, item_size, out);
    if (w.seen & DCZ_NO_CODE) return DCZ_SYMBOL_WITHOUT_CODE;
    return *written == 0 ? DCZ_STREAM_TOO_LONG : DCZ_ENCODED;
}
