/* Decoding of segments; decode.h has the interface.
 *
 * Bits are read from a 64-bit word a stream. A sentinel, the word's highest bit when it was
 * loaded, moves down with each shift: the zeros above it count the bits that are used up, so no
 * counter has to be kept. A word is good for 63 - 7 bits, as loads begin at a whole byte: that is
 * three symbols of 15 bits, or five of 11. */
#include "decode_values.h"
#include "words.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__GNUC__) || defined(__clang__)
static DCZ_ALWAYS_INLINE unsigned leading_zeros(uint64_t x)
{
    return (unsigned)__builtin_clzll(x);
}
#elif defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
static DCZ_ALWAYS_INLINE unsigned leading_zeros(uint64_t x)
{
    unsigned long highest;
    _BitScanReverse64(&highest, x);
    return 63u - (unsigned)highest;
}
#else
static unsigned leading_zeros(uint64_t x)
{
    unsigned zeros = 0;
    for (; !(x >> 63); x <<= 1) zeros++;
    return zeros;
}
#endif

#define SENTINEL ((uint64_t)1 << 63)
#define WORD_BITS 56
#define WORD_BYTES 8
/* Most bytes that a refill can move forward: 7 bits left over and WORD_BITS used. */
#define REFILL_BYTES 7

/* ---- streams ---- */

/* As dcz_load_word, with zeros for what lies after the end. */
static uint64_t load_last_word(const uint8_t *at, const uint8_t *end)
{
    uint64_t word = 0;
    for (int i = 0; i < WORD_BYTES && at + i < end; i++) word |= (uint64_t)at[i] << 8 * i;
    return word;
}

/* A fresh word in place of one that is used up in part. Where the next byte is to be found is kept
 * in memory, on purpose: the registers are for the words. */
static DCZ_ALWAYS_INLINE uint64_t refill(const uint8_t *volatile *at, uint64_t word)
{
    unsigned used = leading_zeros(word);
    const uint8_t *next = *at + (used >> 3);
    *at = next;
    return (dcz_load_word(next) | SENTINEL) >> (used & 7);
}

/* As refill, near the end of the payload. A stream that ran past the end stays there. */
static DCZ_NOINLINE void refill_carefully(dcz_segment *r, size_t stream)
{
    unsigned used = leading_zeros(r->word[stream]);
    size_t left = (size_t)(r->payload_end - r->at[stream]);
    r->at[stream] += used >> 3 < left ? used >> 3 : left;
    r->word[stream]
        = (load_last_word(r->at[stream], r->payload_end) | SENTINEL) >> (used & 7);
}

/* What decodes a symbol, in registers. */
typedef struct {
    const void *table;
    const uint8_t *lengths;
    const void *values;
    uint64_t mask;
} lookup;

static DCZ_ALWAYS_INLINE lookup lookup_of(const dcz_decoder *decoder)
{
    return (lookup){decoder->table, dcz_table_lengths(decoder), decoder->values,
                    ((uint64_t)1 << decoder->code.longest) - 1};
}

/* Takes one symbol off a word and writes its value. */
static DCZ_ALWAYS_INLINE void decode_symbol(const lookup *t, uint32_t item_size, uint64_t *word,
                                            void *out, size_t i)
{
    uint64_t bits = *word & t->mask;
    uint64_t value = dcz_value_at(t->table, dcz_entry_size(item_size), bits);
    if (item_size == 8) value = dcz_value_at(t->values, 8, value);
    dcz_put_value(out, item_size, i, value);
    *word >>= t->lengths[bits] & 63;
}

#if defined(__SSE2__)
/* Takes one symbol of 4 bytes off a word and returns its value. */
static DCZ_ALWAYS_INLINE __m128i take_value(const lookup *t, uint64_t *word)
{
    uint64_t bits = *word & t->mask;
    __m128i value = _mm_cvtsi32_si128(((const int32_t *)t->table)[bits]);
    *word >>= t->lengths[bits] & 63;
    return value;
}

/* Four symbols of 4 bytes, which take one store instead of four. */
static DCZ_ALWAYS_INLINE void decode_four(const lookup *t, uint64_t *a, uint64_t *b, uint64_t *c,
                                          uint64_t *d, uint8_t *out)
{
    __m128i first = take_value(t, a), second = take_value(t, b);
    __m128i low = _mm_unpacklo_epi32(first, second), third = take_value(t, c);
    __m128i high = _mm_unpacklo_epi32(third, take_value(t, d));
    _mm_storeu_si128((__m128i *)out, _mm_unpacklo_epi64(low, high));
}
#endif

/* How many refills of every stream, up to `most`, cannot leave the payload. */
static size_t safe_refills(const dcz_segment *r, size_t streams, size_t most)
{
    for (size_t s = 0; s < streams; s++) {
        size_t left = (size_t)(r->payload_end - r->at[s]);
        size_t refills = left < WORD_BYTES ? 0 : (left - WORD_BYTES) / REFILL_BYTES;
        if (refills < most) most = refills;
    }
    return most;
}

/* The eight words have names, not indices, to stay in registers through the loop. */
#define EACH_STREAM(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

/* Decodes `refills` times `per_refill` rounds, a round being one symbol from each of the eight
 * streams. Eight chains of look-ups are under way at any time, which hides how long each takes. */
static DCZ_ALWAYS_INLINE void decode_rounds(const dcz_decoder *decoder, dcz_segment *r,
                                            uint32_t item_size, size_t per_refill, size_t refills,
                                            uint8_t *out)
{
    const lookup t = lookup_of(decoder);
    const size_t round = DCZ_STREAMS * item_size;
#define DECLARE(s) uint64_t word##s = r->word[s];
#define REFILL(s) word##s = refill(&r->at[s], word##s);
#define DECODE(s) decode_symbol(&t, item_size, &word##s, out, s);
#define SAVE(s) r->word[s] = word##s;
    EACH_STREAM(DECLARE)
    for (; refills > 0; refills--) {
        EACH_STREAM(REFILL)
        for (const uint8_t *stop = out + per_refill * round; out != stop; out += round) {
#if defined(__SSE2__)
            if (item_size == 4) {
                decode_four(&t, &word0, &word1, &word2, &word3, out);
                decode_four(&t, &word4, &word5, &word6, &word7, out + 16);
                continue;
            }
#endif
            EACH_STREAM(DECODE)
        }
    }
    EACH_STREAM(SAVE)
#undef DECLARE
#undef REFILL
#undef DECODE
#undef SAVE
}

/* The same for a single stream. */
static DCZ_ALWAYS_INLINE void decode_run(const dcz_decoder *decoder, dcz_segment *r,
                                         uint32_t item_size, size_t per_refill, size_t refills,
                                         uint8_t *out)
{
    const lookup t = lookup_of(decoder);
    uint64_t word = r->word[0];
    for (; refills > 0; refills--) {
        word = refill(&r->at[0], word);
        for (size_t i = 0; i < per_refill; i++) {
            decode_symbol(&t, item_size, &word, out, 0);
            out += item_size;
        }
    }
    r->word[0] = word;
}

/* Decodes the last `count` symbols, each with a refill of its own. */
static DCZ_ALWAYS_INLINE void decode_tail(const dcz_decoder *decoder, dcz_segment *r,
                                          size_t streams, uint32_t item_size, size_t count,
                                          uint8_t *out)
{
    const lookup t = lookup_of(decoder);
    for (size_t i = 0; i < count; i++) {
        refill_carefully(r, i % streams);
        decode_symbol(&t, item_size, &r->word[i % streams], out, i);
    }
}

/* Reads without checks while those cannot leave the payload, then with checks. A corrupt stream
 * may run into its neighbour, which dcz_end_segment notices. */
static DCZ_ALWAYS_INLINE void decode_streams(const dcz_decoder *decoder, dcz_segment *r,
                                             size_t streams, uint32_t item_size, size_t count,
                                             uint8_t *out)
{
    const size_t per_refill = WORD_BITS / decoder->code.longest;
    size_t refills;
    while ((refills = safe_refills(r, streams, count / (per_refill * streams))) > 0) {
        size_t symbols = refills * per_refill * streams;
        if (streams == 1)
            decode_run(decoder, r, item_size, per_refill, refills, out);
        else
            decode_rounds(decoder, r, item_size, per_refill, refills, out);
        out += symbols * item_size;
        count -= symbols;
    }
    decode_tail(decoder, r, streams, item_size, count, out);
}

/* One function for each item size and number of streams, with loops of constant bounds. */
#define DEFINE_DECODE_STREAMS(streams, item_size)                                   \
    DCZ_FOR_NEWER_PROCESSORS                                                        \
    static void decode_##streams##_streams_##item_size(                             \
        const dcz_decoder *decoder, dcz_segment *r, size_t count, void *out)        \
    {                                                                               \
        decode_streams(decoder, r, streams, item_size, count, out);                 \
    }
DEFINE_DECODE_STREAMS(1, 1)
DEFINE_DECODE_STREAMS(1, 2)
DEFINE_DECODE_STREAMS(1, 4)
DEFINE_DECODE_STREAMS(1, 8)
DEFINE_DECODE_STREAMS(8, 1)
DEFINE_DECODE_STREAMS(8, 2)
DEFINE_DECODE_STREAMS(8, 4)
DEFINE_DECODE_STREAMS(8, 8)

/* ---- segments ---- */

static void start_stream(dcz_segment *r, int stream, const uint8_t *at, size_t size)
{
    r->at[stream] = at;
    r->end[stream] = at + size;
    r->word[stream] = SENTINEL; /* nothing used yet, so that the first refill loads from `at` */
}

dcz_status dcz_read_varint(const uint8_t **at, const uint8_t *end, size_t *number)
{
    *number = 0;
    for (int i = 0; i < 3 && *at < end; i++) {
        uint8_t byte = *(*at)++;
        *number |= (size_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80) return byte == 0 && i > 0 ? DCZ_BAD_VARINT : DCZ_OK;
    }
    return DCZ_LONG_VARINT;
}

static dcz_status start_single(dcz_segment *r, const uint8_t *at)
{
    size_t size;
    dcz_status status = dcz_read_varint(&at, r->payload_end, &size);
    if (status != DCZ_OK) return status;
    if (size > (size_t)(r->payload_end - at)) return DCZ_TRUNCATED_STREAM;
    start_stream(r, 0, at, size);
    return DCZ_OK;
}

static dcz_status start_many(dcz_segment *r, const uint8_t *at)
{
    const uint8_t *header = at;
    if ((size_t)(r->payload_end - at) < 2 * DCZ_STREAMS) return DCZ_TRUNCATED_HEADER;
    at += 2 * DCZ_STREAMS;
    for (int s = 0; s < DCZ_STREAMS; s++) {
        size_t size = header[2 * s] | (size_t)header[2 * s + 1] << 8;
        if (size > (size_t)(r->payload_end - at)) return DCZ_TRUNCATED_STREAM;
        start_stream(r, s, at, size);
        at += size;
    }
    return DCZ_OK;
}

dcz_status dcz_start_segment(dcz_segment *segment, const dcz_decoder *decoder,
                             const uint8_t *payload, size_t size, size_t offset, size_t count)
{
    segment->payload_end = payload + size;
    segment->left = count;
    segment->streams = 0;
    if (count == 0 || decoder->code.used == 1) return DCZ_OK;
    segment->streams = count < DCZ_MANY_STREAMS_FROM ? 1 : DCZ_STREAMS;
    return segment->streams == 1 ? start_single(segment, payload + offset)
                                 : start_many(segment, payload + offset);
}

static void decode_single(const dcz_decoder *decoder, dcz_segment *r, size_t count, void *out)
{
    switch (decoder->item_size) {
    case 1: decode_1_streams_1(decoder, r, count, out); return;
    case 2: decode_1_streams_2(decoder, r, count, out); return;
    case 4: decode_1_streams_4(decoder, r, count, out); return;
    default: decode_1_streams_8(decoder, r, count, out);
    }
}

static void decode_many(const dcz_decoder *decoder, dcz_segment *r, size_t count, void *out)
{
    switch (decoder->item_size) {
    case 1: decode_8_streams_1(decoder, r, count, out); return;
    case 2: decode_8_streams_2(decoder, r, count, out); return;
    case 4: decode_8_streams_4(decoder, r, count, out); return;
    default: decode_8_streams_8(decoder, r, count, out);
    }
}

static void repeat_value(const dcz_decoder *decoder, size_t count, void *out)
{
    uint64_t value = dcz_value_at(decoder->values, decoder->item_size, decoder->code.last_used);
    for (size_t i = 0; i < count; i++) dcz_put_value(out, decoder->item_size, i, value);
}

size_t dcz_next_symbols(dcz_segment *segment, const dcz_decoder *decoder, size_t most, void *out)
{
    size_t count = segment->left;
    if (count > most) {
        /* Whole refills of all streams: what is left over would be decoded slowly. */
        size_t unit = segment->streams ? WORD_BITS / decoder->code.longest * segment->streams : 1;
        count = most / unit * unit;
    }
    segment->left -= count;
    switch (segment->streams) {
    case 0: repeat_value(decoder, count, out); break;
    case 1: decode_single(decoder, segment, count, out); break;
    default: decode_many(decoder, segment, count, out);
    }
    return count;
}

/* Each stream must end in its last byte, and pad it with zeros. */
dcz_status dcz_end_segment(const dcz_segment *segment)
{
    for (size_t s = 0; s < segment->streams; s++) {
        unsigned used = leading_zeros(segment->word[s]);
        ptrdiff_t left = (segment->end[s] - segment->at[s]) * 8 - (ptrdiff_t)used;
        if (left < 0 || left > 7) return DCZ_WRONG_END;
        if (left > 0 && segment->end[s][-1] >> (8 - left)) return DCZ_BAD_PADDING;
    }
    return DCZ_OK;
}

dcz_status dcz_decode_segment(const dcz_decoder *decoder, const uint8_t *payload, size_t size,
                              size_t offset, size_t count, void *out)
{
    dcz_segment segment;
    dcz_status status = dcz_start_segment(&segment, decoder, payload, size, offset, count);
    if (status != DCZ_OK) return status;
    dcz_next_symbols(&segment, decoder, count, out);
    return dcz_end_segment(&segment);
}

dcz_status dcz_skip_segment(const uint8_t *payload, size_t size, size_t count, size_t *position)
{
    const uint8_t *at = payload + *position, *end = payload + size;
    size_t bytes = 0;
    dcz_status status;
    if (count == 0) return DCZ_OK;
    if (count < DCZ_MANY_STREAMS_FROM) {
        status = dcz_read_varint(&at, end, &bytes);
        if (status != DCZ_OK) return status;
    } else {
        if (end - at < 2 * DCZ_STREAMS) return DCZ_TRUNCATED_HEADER;
        for (int s = 0; s < DCZ_STREAMS; s++) bytes += at[2 * s] | (size_t)at[2 * s + 1] << 8;
        at += 2 * DCZ_STREAMS;
    }
    if (bytes > (size_t)(end - at)) return DCZ_TRUNCATED_STREAM;
    *position = (size_t)(at - payload) + bytes;
    return DCZ_OK;
}
