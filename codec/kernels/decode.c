/* Decoding of segments; decode.h has the interface.
 *
 * Bits are read from a 64-bit word a stream. A sentinel, the word's highest bit when it was
 * loaded, moves down with each shift: the zeros above it count the bits that are used up, so no
 * counter has to be kept. A word is good for 63 - 7 bits, as loads begin at a whole byte: that is
 * three symbols of 15 bits, or five of 11. */
#include "decode.h"

#include <string.h>

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

const char *dcz_status_text(dcz_status status)
{
    switch (status) {
    case DCZ_OK: return "no error";
    case DCZ_BAD_ALPHABET: return "an alphabet has 1 to 4096 symbols";
    case DCZ_BAD_LENGTH: return "a code length is over 15 bits";
    case DCZ_BAD_SINGLE: return "the code of a single symbol must have length 1";
    case DCZ_INCOMPLETE_CODE: return "the code lengths are not those of a complete code";
    case DCZ_BAD_VARINT: return "a stream's size is not in its shortest form";
    case DCZ_LONG_VARINT: return "a stream's size is cut off or too large";
    case DCZ_TRUNCATED_HEADER: return "a segment's header ends after the payload";
    case DCZ_TRUNCATED_STREAM: return "a stream ends after the payload";
    case DCZ_WRONG_END: return "a stream does not end where it should";
    case DCZ_BAD_PADDING: return "a stream's padding is not zero";
    case DCZ_GAP_TOO_LONG: return "a gap leads out of its block";
    case DCZ_GAP_MISMATCH: return "gaps and survivors differ in number";
    case DCZ_LAST_FILLER: return "a block ends in a filler";
    }
    return "unknown error";
}

/* ---- codes and tables ---- */

dcz_status dcz_read_code(const uint8_t *lengths, uint32_t alphabet, dcz_code *code)
{
    uint32_t kraft = 0; /* in units of 2^-15: at most 4096 * 2^14 */
    if (alphabet < 1 || alphabet > DCZ_ALPHABET_LIMIT) return DCZ_BAD_ALPHABET;
    *code = (dcz_code){.lengths = lengths, .alphabet = alphabet};
    for (uint32_t symbol = 0; symbol < alphabet; symbol++) {
        uint32_t length = lengths[symbol];
        if (length > DCZ_LENGTH_LIMIT) return DCZ_BAD_LENGTH;
        if (length == 0) continue;
        if (length > code->longest) code->longest = length;
        kraft += 1u << (DCZ_LENGTH_LIMIT - length);
        code->last_used = symbol;
        code->used++;
    }
    if (code->used == 1) return code->longest == 1 ? DCZ_OK : DCZ_BAD_SINGLE;
    return kraft == 1u << DCZ_LENGTH_LIMIT ? DCZ_OK : DCZ_INCOMPLETE_CODE;
}

static uint32_t reverse_bits(uint32_t x, uint32_t width)
{
    x = (x & 0x5555) << 1 | (x >> 1 & 0x5555);
    x = (x & 0x3333) << 2 | (x >> 2 & 0x3333);
    x = (x & 0x0f0f) << 4 | (x >> 4 & 0x0f0f);
    x = (x & 0x00ff) << 8 | (x >> 8 & 0x00ff);
    return x >> (16 - width);
}

/* first[length] = the canonical code of the first symbol with that length, first bit highest. */
static void first_codes(const dcz_code *code, uint32_t first[DCZ_LENGTH_LIMIT + 1])
{
    uint32_t symbols[DCZ_LENGTH_LIMIT + 1] = {0};
    for (uint32_t symbol = 0; symbol < code->alphabet; symbol++) symbols[code->lengths[symbol]]++;
    symbols[0] = 0;
    first[0] = 0;
    for (uint32_t length = 1; length <= DCZ_LENGTH_LIMIT; length++)
        first[length] = (first[length - 1] + symbols[length - 1]) << 1;
}

void dcz_assign_codes(const dcz_code *code, uint16_t *codes)
{
    uint32_t next[DCZ_LENGTH_LIMIT + 1];
    first_codes(code, next);
    for (uint32_t symbol = 0; symbol < code->alphabet; symbol++) {
        uint32_t length = code->lengths[symbol];
        codes[symbol] = length ? (uint16_t)reverse_bits(next[length]++, length) : 0;
    }
}

/* Table entries have the length in their low bits, where shifts look for it, and the value or
 * symbol above. The larger the value, the larger the entry; but from 8 bytes on the symbol stands
 * for the value, as tables would outgrow the cache. */
enum { SYMBOL_SHIFT = 4, NARROW_SHIFT = 16, WIDE_SHIFT = 32 };

static DCZ_ALWAYS_INLINE uint64_t value_at(const void *values, uint32_t item_size, size_t i)
{
    const uint8_t *at = (const uint8_t *)values + i * item_size;
    uint64_t x8;
    uint32_t x4;
    uint16_t x2;
    switch (item_size) {
    case 1: return *at;
    case 2: memcpy(&x2, at, 2); return x2;
    case 4: memcpy(&x4, at, 4); return x4;
    default: memcpy(&x8, at, 8); return x8;
    }
}

static DCZ_ALWAYS_INLINE void put_value(void *values, uint32_t item_size, size_t i, uint64_t value)
{
    uint8_t *at = (uint8_t *)values + i * item_size;
    uint32_t x4 = (uint32_t)value;
    uint16_t x2 = (uint16_t)value;
    switch (item_size) {
    case 1: *at = (uint8_t)value; return;
    case 2: memcpy(at, &x2, 2); return;
    case 4: memcpy(at, &x4, 4); return;
    default: memcpy(at, &value, 8);
    }
}

static DCZ_ALWAYS_INLINE void put_entry(void *table, uint32_t item_size, size_t i, uint64_t entry)
{
    switch (item_size) {
    case 1:
    case 2: ((uint32_t *)table)[i] = (uint32_t)entry; return;
    case 4: ((uint64_t *)table)[i] = entry; return;
    default: ((uint16_t *)table)[i] = (uint16_t)entry;
    }
}

static uint64_t make_entry(const dcz_decoder *decoder, uint32_t symbol, uint32_t length)
{
    uint32_t item_size = decoder->item_size;
    if (item_size == 8) return (uint64_t)symbol << SYMBOL_SHIFT | length;
    return value_at(decoder->values, item_size, symbol)
           << (item_size == 4 ? WIDE_SHIFT : NARROW_SHIFT) | length;
}

static DCZ_ALWAYS_INLINE void fill_table(const dcz_decoder *decoder, uint32_t item_size)
{
    const dcz_code *code = &decoder->code;
    uint32_t size = 1u << code->longest;
    uint32_t next[DCZ_LENGTH_LIMIT + 1];
    first_codes(code, next);
    for (uint32_t symbol = 0; symbol < code->alphabet; symbol++) {
        uint32_t length = code->lengths[symbol];
        uint64_t entry = make_entry(decoder, symbol, length);
        if (length == 0) continue;
        for (uint32_t i = reverse_bits(next[length]++, length); i < size; i += 1u << length)
            put_entry(decoder->table, item_size, i, entry);
    }
    if (code->used == 1) /* its code is 0; let 1 mean the same */
        put_entry(decoder->table, item_size, 1, make_entry(decoder, code->last_used, 1));
}

void dcz_fill_symbol_table(const dcz_code *code, uint16_t *table)
{
    dcz_decoder decoder = {.code = *code, .table = table, .item_size = 8};
    fill_table(&decoder, 8);
}

size_t dcz_table_bytes(const dcz_code *code, uint32_t item_size)
{
    size_t entry = item_size == 8 ? 2 : item_size == 4 ? 8 : 4;
    return entry << code->longest;
}

void dcz_prepare(const dcz_decoder *decoder)
{
    switch (decoder->item_size) {
    case 1:
    case 2: fill_table(decoder, 2); return;
    case 4: fill_table(decoder, 4); return;
    default: fill_table(decoder, 8);
    }
}

/* ---- streams ---- */

typedef struct {
    const uint8_t *at[DCZ_STREAMS];  /* next byte to load */
    const uint8_t *end[DCZ_STREAMS]; /* declared end of each stream */
    uint64_t word[DCZ_STREAMS];
    const uint8_t *payload_end;
} readers;

static DCZ_ALWAYS_INLINE uint64_t load_word(const uint8_t *at)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    uint64_t word = 0;
    for (int i = 0; i < WORD_BYTES; i++) word |= (uint64_t)at[i] << 8 * i;
    return word;
#else
    uint64_t word;
    memcpy(&word, at, WORD_BYTES);
    return word;
#endif
}

/* As load_word, with zeros for what lies after the end. */
static uint64_t load_last_word(const uint8_t *at, const uint8_t *end)
{
    uint64_t word = 0;
    for (int i = 0; i < WORD_BYTES && at + i < end; i++) word |= (uint64_t)at[i] << 8 * i;
    return word;
}

/* A fresh word in place of one that is used up in part. */
static DCZ_ALWAYS_INLINE uint64_t refill(const uint8_t **at, uint64_t word)
{
    unsigned used = leading_zeros(word);
    *at += used >> 3;
    return (load_word(*at) | SENTINEL) >> (used & 7);
}

/* As refill, near the end of the payload. A stream that ran past the end stays there. */
static DCZ_NOINLINE void refill_carefully(readers *r, size_t stream)
{
    unsigned used = leading_zeros(r->word[stream]);
    size_t left = (size_t)(r->payload_end - r->at[stream]);
    r->at[stream] += used >> 3 < left ? used >> 3 : left;
    r->word[stream]
        = (load_last_word(r->at[stream], r->payload_end) | SENTINEL) >> (used & 7);
}

/* Takes one symbol off a word and writes its value. */
static DCZ_ALWAYS_INLINE void decode_symbol(const dcz_decoder *decoder, uint32_t item_size,
                                            uint64_t mask, uint64_t *word, void *out, size_t i)
{
    uint64_t bits = *word & mask;
    if (item_size == 8) {
        uint32_t entry = ((const uint16_t *)decoder->table)[bits];
        put_value(out, 8, i, value_at(decoder->values, 8, entry >> SYMBOL_SHIFT));
        *word >>= entry & 15;
    } else if (item_size == 4) {
        uint64_t entry = ((const uint64_t *)decoder->table)[bits];
        put_value(out, 4, i, entry >> WIDE_SHIFT);
        *word >>= entry & 63;
    } else {
        uint32_t entry = ((const uint32_t *)decoder->table)[bits];
        put_value(out, item_size, i, entry >> NARROW_SHIFT);
        *word >>= entry & 63;
    }
}

/* How many refills of every stream, up to `most`, cannot leave the payload. */
static size_t safe_refills(const readers *r, size_t streams, size_t most)
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
static DCZ_ALWAYS_INLINE void decode_rounds(const dcz_decoder *decoder, readers *r,
                                            uint32_t item_size, size_t per_refill, size_t refills,
                                            uint8_t *out)
{
    const dcz_decoder local = *decoder;
    const uint64_t mask = ((uint64_t)1 << local.code.longest) - 1;
#define DECLARE(s) uint64_t word##s = r->word[s];
#define REFILL(s) word##s = refill(&r->at[s], word##s);
#define DECODE(s) decode_symbol(&local, item_size, mask, &word##s, out, s);
#define SAVE(s) r->word[s] = word##s;
    EACH_STREAM(DECLARE)
    for (; refills > 0; refills--) {
        EACH_STREAM(REFILL)
        for (size_t i = 0; i < per_refill; i++) {
            EACH_STREAM(DECODE)
            out += DCZ_STREAMS * item_size;
        }
    }
    EACH_STREAM(SAVE)
#undef DECLARE
#undef REFILL
#undef DECODE
#undef SAVE
}

/* The same for a single stream. */
static DCZ_ALWAYS_INLINE void decode_run(const dcz_decoder *decoder, readers *r,
                                         uint32_t item_size, size_t per_refill, size_t refills,
                                         uint8_t *out)
{
    const dcz_decoder local = *decoder;
    const uint64_t mask = ((uint64_t)1 << local.code.longest) - 1;
    const uint8_t *at = r->at[0];
    uint64_t word = r->word[0];
    for (; refills > 0; refills--) {
        word = refill(&at, word);
        for (size_t i = 0; i < per_refill; i++) {
            decode_symbol(&local, item_size, mask, &word, out, 0);
            out += item_size;
        }
    }
    r->at[0] = at;
    r->word[0] = word;
}

/* Decodes the last `count` symbols, each with a refill of its own. */
static DCZ_ALWAYS_INLINE void decode_tail(const dcz_decoder *decoder, readers *r, size_t streams,
                                          uint32_t item_size, size_t count, uint8_t *out)
{
    const uint64_t mask = ((uint64_t)1 << decoder->code.longest) - 1;
    for (size_t i = 0; i < count; i++) {
        refill_carefully(r, i % streams);
        decode_symbol(decoder, item_size, mask, &r->word[i % streams], out, i);
    }
}

/* Each stream must end in its last byte, and pad it with zeros. */
static dcz_status check_ends(const readers *r, size_t streams)
{
    for (size_t s = 0; s < streams; s++) {
        unsigned used = leading_zeros(r->word[s]);
        ptrdiff_t left = (r->end[s] - r->at[s]) * 8 - (ptrdiff_t)used;
        if (left < 0 || left > 7) return DCZ_WRONG_END;
        if (left > 0 && r->end[s][-1] >> (8 - left)) return DCZ_BAD_PADDING;
    }
    return DCZ_OK;
}

/* Reads without checks while those cannot leave the payload, then with checks. A corrupt stream
 * may run into its neighbour, which check_ends notices. */
static DCZ_ALWAYS_INLINE dcz_status decode_streams(const dcz_decoder *decoder, readers *r,
                                                   size_t streams, uint32_t item_size,
                                                   size_t count, uint8_t *out)
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
    return check_ends(r, streams);
}

/* One function for each item size and number of streams, with loops of constant bounds. */
#define DEFINE_DECODE_STREAMS(streams, item_size)                                   \
    DCZ_FOR_NEWER_PROCESSORS                                                        \
    static dcz_status decode_##streams##_streams_##item_size(                       \
        const dcz_decoder *decoder, readers *r, size_t count, void *out)            \
    {                                                                               \
        return decode_streams(decoder, r, streams, item_size, count, out);          \
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

static void start_reader(readers *r, int stream, const uint8_t *at, size_t size)
{
    r->at[stream] = at;
    r->end[stream] = at + size;
    r->word[stream] = SENTINEL; /* nothing used yet, so that the first refill loads from `at` */
}

/* The size of a single stream; at most 4095 symbols of 15 bits, so three groups hold it. */
static dcz_status read_varint(const uint8_t **at, const uint8_t *end, size_t *number)
{
    *number = 0;
    for (int i = 0; i < 3 && *at < end; i++) {
        uint8_t byte = *(*at)++;
        *number |= (size_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80) return byte == 0 && i > 0 ? DCZ_BAD_VARINT : DCZ_OK;
    }
    return DCZ_LONG_VARINT;
}

static dcz_status decode_single(const dcz_decoder *decoder, readers *r, const uint8_t *at,
                                size_t count, void *out)
{
    size_t size;
    dcz_status status = read_varint(&at, r->payload_end, &size);
    if (status != DCZ_OK) return status;
    if (size > (size_t)(r->payload_end - at)) return DCZ_TRUNCATED_STREAM;
    start_reader(r, 0, at, size);
    switch (decoder->item_size) {
    case 1: return decode_1_streams_1(decoder, r, count, out);
    case 2: return decode_1_streams_2(decoder, r, count, out);
    case 4: return decode_1_streams_4(decoder, r, count, out);
    default: return decode_1_streams_8(decoder, r, count, out);
    }
}

static dcz_status decode_many(const dcz_decoder *decoder, readers *r, const uint8_t *at,
                              size_t count, void *out)
{
    const uint8_t *header = at;
    if ((size_t)(r->payload_end - at) < 2 * DCZ_STREAMS) return DCZ_TRUNCATED_HEADER;
    at += 2 * DCZ_STREAMS;
    for (int s = 0; s < DCZ_STREAMS; s++) {
        size_t size = header[2 * s] | (size_t)header[2 * s + 1] << 8;
        if (size > (size_t)(r->payload_end - at)) return DCZ_TRUNCATED_STREAM;
        start_reader(r, s, at, size);
        at += size;
    }
    switch (decoder->item_size) {
    case 1: return decode_8_streams_1(decoder, r, count, out);
    case 2: return decode_8_streams_2(decoder, r, count, out);
    case 4: return decode_8_streams_4(decoder, r, count, out);
    default: return decode_8_streams_8(decoder, r, count, out);
    }
}

static void fill_with_single(const dcz_decoder *decoder, size_t count, void *out)
{
    uint64_t value = value_at(decoder->values, decoder->item_size, decoder->code.last_used);
    for (size_t i = 0; i < count; i++) put_value(out, decoder->item_size, i, value);
}

dcz_status dcz_decode_segment(const dcz_decoder *decoder, const uint8_t *payload, size_t size,
                              size_t offset, size_t count, void *out)
{
    readers r;
    r.payload_end = payload + size;
    if (count == 0) return DCZ_OK;
    if (decoder->code.used == 1) {
        fill_with_single(decoder, count, out);
        return DCZ_OK;
    }
    if (count < DCZ_MANY_STREAMS_FROM)
        return decode_single(decoder, &r, payload + offset, count, out);
    return decode_many(decoder, &r, payload + offset, count, out);
}

/* ---- sparse blocks ---- */

DCZ_FOR_NEWER_PROCESSORS
dcz_status dcz_check_gaps(const uint16_t *gaps, size_t count, uint16_t filler, size_t survivors,
                          size_t length)
{
    uint64_t positions = 0;
    size_t fillers = 0;
    for (size_t i = 0; i < count; i++) {
        positions += gaps[i];
        fillers += gaps[i] == filler;
    }
    if (positions + (count - fillers) > length) return DCZ_GAP_TOO_LONG;
    if (count - fillers != survivors) return DCZ_GAP_MISMATCH;
    if (count > 0 && gaps[count - 1] == filler) return DCZ_LAST_FILLER;
    return DCZ_OK;
}

enum { PIECE_BYTES = 1 << 12 };

static size_t zero_piece(void *out, uint32_t item_size, size_t begin, size_t piece, size_t length)
{
    size_t end = length - begin < piece ? length : begin + piece;
    memset((uint8_t *)out + begin * item_size, 0, (end - begin) * item_size);
    return end;
}

/* Zeros are written a piece ahead of the values, so that these go into the nearest cache. */
static DCZ_ALWAYS_INLINE void scatter_items(const uint16_t *gaps, size_t count, uint16_t filler,
                                            const void *values, uint32_t item_size, void *out,
                                            size_t length)
{
    const size_t piece = PIECE_BYTES / item_size;
    size_t position = 0, survivor = 0, zeroed = 0;
    for (size_t i = 0; i < count; i++) {
        position += gaps[i];
        if (gaps[i] == filler) continue;
        while (position >= zeroed) zeroed = zero_piece(out, item_size, zeroed, piece, length);
        put_value(out, item_size, position++, value_at(values, item_size, survivor++));
    }
    while (zeroed < length) zeroed = zero_piece(out, item_size, zeroed, piece, length);
}

void dcz_scatter(const uint16_t *gaps, size_t count, uint16_t filler, const void *values,
                 uint32_t item_size, void *out, size_t length)
{
    switch (item_size) {
    case 1: scatter_items(gaps, count, filler, values, 1, out, length); return;
    case 2: scatter_items(gaps, count, filler, values, 2, out, length); return;
    case 4: scatter_items(gaps, count, filler, values, 4, out, length); return;
    default: scatter_items(gaps, count, filler, values, 8, out, length);
    }
}
