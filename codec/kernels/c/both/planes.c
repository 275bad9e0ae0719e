/* Byte planes; planes.h has the interface. The loops are written so that compilers turn them into
 * vector instructions: constant bounds and strides, and words instead of their bytes. */
#include "planes.h"

#include <string.h>

#include "decode.h"
#include "words.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Elements at a time: all their planes stay in the nearest cache. */
enum { BLOCK = 1024 };

#define DEFINE_WORD(size)                                                                     \
    static DCZ_ALWAYS_INLINE uint##size##_t get_##size(const uint8_t *at, size_t i)           \
    {                                                                                         \
        uint##size##_t word;                                                                  \
        memcpy(&word, at + i * (size / 8), size / 8);                                         \
        return word;                                                                          \
    }                                                                                         \
    static DCZ_ALWAYS_INLINE void put_##size(uint8_t *at, size_t i, uint##size##_t word)      \
    {                                                                                         \
        memcpy(at + i * (size / 8), &word, size / 8);                                         \
    }
DEFINE_WORD(16)
DEFINE_WORD(32)
DEFINE_WORD(64)

/* ---- split ---- */

/* The byte at `shift` of each element, which is rotated by one bit first if it is `turned`. */
#define DEFINE_SPLIT_BYTES(size)                                                              \
    static DCZ_ALWAYS_INLINE void split_bytes_##size(const uint8_t *restrict elements,        \
                                                     size_t count, int turned,                \
                                                     unsigned shift, uint8_t *restrict plane) \
    {                                                                                         \
        for (size_t i = 0; i < count; i++) {                                                  \
            uint##size##_t word = get_##size(elements, i);                                    \
            if (!turned)                                                                      \
                plane[i] = (uint8_t)(word >> shift);                                          \
            else if (shift > 0)                                                               \
                plane[i] = (uint8_t)(word >> (shift - 1));                                    \
            else                                                                              \
                plane[i] = (uint8_t)(word << 1 | word >> (size - 1));                         \
        }                                                                                     \
    }
DEFINE_SPLIT_BYTES(16)
DEFINE_SPLIT_BYTES(32)
DEFINE_SPLIT_BYTES(64)

/* Shifts are constants, plane by plane, for what they leave to fit narrow lanes. */
static DCZ_ALWAYS_INLINE void split_all_16(const uint8_t *elements, size_t count, int turned,
                                           uint8_t *planes, size_t stride)
{
    split_bytes_16(elements, count, turned, 0, planes);
    split_bytes_16(elements, count, turned, 8, planes + stride);
}

static DCZ_ALWAYS_INLINE void split_all_32(const uint8_t *elements, size_t count, int turned,
                                           uint8_t *planes, size_t stride)
{
    split_bytes_32(elements, count, turned, 0, planes);
    split_bytes_32(elements, count, turned, 8, planes + stride);
    split_bytes_32(elements, count, turned, 16, planes + 2 * stride);
    split_bytes_32(elements, count, turned, 24, planes + 3 * stride);
}

static DCZ_ALWAYS_INLINE void split_all_64(const uint8_t *elements, size_t count, int turned,
                                           uint8_t *planes, size_t stride)
{
    split_bytes_64(elements, count, turned, 0, planes);
    split_bytes_64(elements, count, turned, 8, planes + stride);
    split_bytes_64(elements, count, turned, 16, planes + 2 * stride);
    split_bytes_64(elements, count, turned, 24, planes + 3 * stride);
    split_bytes_64(elements, count, turned, 32, planes + 4 * stride);
    split_bytes_64(elements, count, turned, 40, planes + 5 * stride);
    split_bytes_64(elements, count, turned, 48, planes + 6 * stride);
    split_bytes_64(elements, count, turned, 56, planes + 7 * stride);
}

#define DEFINE_SPLIT(size)                                                                    \
    DCZ_FOR_NEWER_PROCESSORS                                                                  \
    static void split_##size(const uint8_t *elements, size_t count, int rotated,              \
                             uint8_t *planes, size_t stride)                                  \
    {                                                                                         \
        if (rotated)                                                                          \
            split_all_##size(elements, count, 1, planes, stride);                             \
        else                                                                                  \
            split_all_##size(elements, count, 0, planes, stride);                             \
    }
DEFINE_SPLIT(16)
DEFINE_SPLIT(32)
DEFINE_SPLIT(64)

static void split_any(const uint8_t *elements, size_t count, uint32_t item_size, uint8_t *planes,
                      size_t stride)
{
    for (size_t p = 0; p < item_size; p++)
        for (size_t i = 0; i < count; i++) planes[p * stride + i] = elements[i * item_size + p];
}

void dcz_split_planes(const void *elements, size_t count, uint32_t item_size, int rotated,
                      uint8_t *planes)
{
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        const uint8_t *at = (const uint8_t *)elements + begin * item_size;
        size_t length = count - begin < BLOCK ? count - begin : BLOCK;
        switch (item_size) {
        case 1: memcpy(planes + begin, at, length); break;
        case 2: split_16(at, length, rotated, planes + begin, count); break;
        case 4: split_32(at, length, rotated, planes + begin, count); break;
        case 8: split_64(at, length, rotated, planes + begin, count); break;
        default: split_any(at, length, item_size, planes + begin, count);
        }
    }
}

/* ---- join ---- */

#define DEFINE_TURN_BACK(size)                                                                \
    static DCZ_ALWAYS_INLINE uint##size##_t turn_back_##size(uint##size##_t word, int turned) \
    {                                                                                         \
        return turned ? (uint##size##_t)(word >> 1 | word << (size - 1)) : word;              \
    }
DEFINE_TURN_BACK(16)
DEFINE_TURN_BACK(32)
DEFINE_TURN_BACK(64)

static DCZ_ALWAYS_INLINE void join_bytes_16(const uint8_t *const *planes, size_t count, int turned,
                                            uint8_t *restrict out)
{
    const uint8_t *restrict a = planes[0], *restrict b = planes[1];
    for (size_t i = 0; i < count; i++)
        put_16(out, i, turn_back_16((uint16_t)(a[i] | b[i] << 8), turned));
}

#if defined(__SSE2__)
static DCZ_ALWAYS_INLINE void put_four(__m128i words, int turned, uint8_t *out)
{
    if (turned) words = _mm_or_si128(_mm_srli_epi32(words, 1), _mm_slli_epi32(words, 31));
    _mm_storeu_si128((__m128i *)out, words);
}

/* Sixteen words from as many bytes of each plane. */
static DCZ_ALWAYS_INLINE void join_sixteen(__m128i a, __m128i b, __m128i c, __m128i d, int turned,
                                           uint8_t *out)
{
    __m128i low = _mm_unpacklo_epi8(a, b), high = _mm_unpacklo_epi8(c, d);
    put_four(_mm_unpacklo_epi16(low, high), turned, out);
    put_four(_mm_unpackhi_epi16(low, high), turned, out + 16);
    low = _mm_unpackhi_epi8(a, b);
    high = _mm_unpackhi_epi8(c, d);
    put_four(_mm_unpacklo_epi16(low, high), turned, out + 32);
    put_four(_mm_unpackhi_epi16(low, high), turned, out + 48);
}

static DCZ_ALWAYS_INLINE __m128i get_sixteen(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}
#endif

static DCZ_ALWAYS_INLINE void join_bytes_32(const uint8_t *const *planes, size_t count, int turned,
                                            uint8_t *restrict out)
{
    const uint8_t *restrict a = planes[0], *restrict b = planes[1], *restrict c = planes[2],
                           *restrict d = planes[3];
    size_t i = 0;
#if defined(__SSE2__)
    for (; i + 16 <= count; i += 16)
        join_sixteen(get_sixteen(a + i), get_sixteen(b + i), get_sixteen(c + i),
                     get_sixteen(d + i), turned, out + 4 * i);
#endif
    for (; i < count; i++) {
        uint32_t word = a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24;
        put_32(out, i, turn_back_32(word, turned));
    }
}

/* Halves first: eight planes at once are more than there are registers for. */
static DCZ_ALWAYS_INLINE void join_bytes_64(const uint8_t *const *planes, size_t count, int turned,
                                            uint8_t *restrict out)
{
    uint8_t low[4 * BLOCK], high[4 * BLOCK];
    join_bytes_32(planes, count, 0, low);
    join_bytes_32(planes + 4, count, 0, high);
    for (size_t i = 0; i < count; i++) {
        uint64_t word = get_32(low, i) | (uint64_t)get_32(high, i) << 32;
        put_64(out, i, turn_back_64(word, turned));
    }
}

#define DEFINE_JOIN(size)                                                                     \
    DCZ_FOR_NEWER_PROCESSORS                                                                  \
    static void join_##size(const uint8_t *const *planes, size_t count, int rotated,          \
                            uint8_t *out)                                                     \
    {                                                                                         \
        if (rotated)                                                                          \
            join_bytes_##size(planes, count, 1, out);                                         \
        else                                                                                  \
            join_bytes_##size(planes, count, 0, out);                                         \
    }
DEFINE_JOIN(16)
DEFINE_JOIN(32)
DEFINE_JOIN(64)

static void join_any(const uint8_t *const *planes, size_t count, uint32_t item_size, uint8_t *out)
{
    for (size_t p = 0; p < item_size; p++)
        for (size_t i = 0; i < count; i++) out[i * item_size + p] = planes[p][i];
}

void dcz_join_planes(const dcz_plane *planes, size_t count, uint32_t item_size, int rotated,
                     void *elements)
{
    uint8_t constants[DCZ_PLANES_LIMIT][BLOCK];
    const uint8_t *at[DCZ_PLANES_LIMIT];
    for (size_t p = 0; p < item_size; p++)
        if (planes[p].constant) memset(constants[p], planes[p].bytes[0], BLOCK);
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        uint8_t *out = (uint8_t *)elements + begin * item_size;
        size_t length = count - begin < BLOCK ? count - begin : BLOCK;
        for (size_t p = 0; p < item_size; p++)
            at[p] = planes[p].constant ? constants[p] : planes[p].bytes + begin;
        switch (item_size) {
        case 1: memcpy(out, at[0], length); break;
        case 2: join_16(at, length, rotated, out); break;
        case 4: join_32(at, length, rotated, out); break;
        case 8: join_64(at, length, rotated, out); break;
        default: join_any(at, length, item_size, out);
        }
    }
}

/* ---- counting ---- */

/* Four histograms side by side: a run of one byte would otherwise wait for its own counter. */
void dcz_count_bytes(const uint8_t *bytes, size_t count, int64_t counts[256])
{
    uint32_t side[4][256] = {{0}};
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        uint64_t word = get_64(bytes + i, 0);
        for (unsigned k = 0; k < 8; k++) side[k & 3][word >> 8 * k & 0xff]++;
    }
    for (; i < count; i++) side[0][bytes[i]]++;
    for (size_t b = 0; b < 256; b++)
        counts[b] = (int64_t)side[0][b] + side[1][b] + side[2][b] + side[3][b];
}

/* ---- pairs of planes ---- */

/* A constant number of bits keeps all that is done in lanes of 16 bits. */
static DCZ_ALWAYS_INLINE void pair_width(const uint8_t *restrict low, const uint8_t *restrict high,
                                         size_t count, uint32_t low_bits,
                                         uint16_t *restrict symbols)
{
    for (size_t i = 0; i < count; i++)
        symbols[i] = (uint16_t)((uint16_t)(high[i] << (8 - low_bits)) | low[i] >> low_bits);
}

DCZ_FOR_NEWER_PROCESSORS
static void pair_block(const uint8_t *low, const uint8_t *high, size_t count, uint32_t low_bits,
                       uint16_t *symbols)
{
    switch (low_bits) {
    case 1: pair_width(low, high, count, 1, symbols); return;
    case 2: pair_width(low, high, count, 2, symbols); return;
    case 3: pair_width(low, high, count, 3, symbols); return;
    case 4: pair_width(low, high, count, 4, symbols); return;
    case 5: pair_width(low, high, count, 5, symbols); return;
    case 6: pair_width(low, high, count, 6, symbols); return;
    default: pair_width(low, high, count, 7, symbols);
    }
}

/* Symbols are made a block at a time, by vector instructions, and counted in four histograms. */
void dcz_pair_symbols(const uint8_t *low, const uint8_t *high, size_t count, uint32_t low_bits,
                      uint32_t *scratch, uint16_t *symbols, int64_t *counts)
{
    const size_t alphabet = (size_t)256 << (8 - low_bits);
    uint32_t *side[4];
    for (size_t k = 0; k < 4; k++) side[k] = scratch + k * alphabet;
    memset(scratch, 0, 4 * alphabet * sizeof *scratch);
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        size_t length = count - begin < BLOCK ? count - begin : BLOCK, i = 0;
        const uint16_t *own = symbols + begin;
        pair_block(low + begin, high + begin, length, low_bits, symbols + begin);
        for (; i + 4 <= length; i += 4)
            for (size_t k = 0; k < 4; k++) side[k][own[i + k]]++;
        for (; i < length; i++) side[0][own[i]]++;
    }
    for (size_t s = 0; s < alphabet; s++)
        counts[s] = (int64_t)side[0][s] + side[1][s] + side[2][s] + side[3][s];
}

/* Up to eight bytes, the first lowest. */
static DCZ_ALWAYS_INLINE uint64_t load_bytes(const uint8_t *at, size_t size)
{
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++) word |= (uint64_t)at[i] << 8 * i;
    return word;
}

static DCZ_ALWAYS_INLINE void store_bytes(uint8_t *at, size_t size, uint64_t word)
{
    for (size_t i = 0; i < size; i++) at[i] = (uint8_t)(word >> 8 * i);
}

/* `width` ones in every lane of `lane` bits, from the lane's lowest on. */
static DCZ_ALWAYS_INLINE uint64_t lanes(uint32_t width, uint32_t lane)
{
    uint64_t mask = 0;
    for (uint32_t at = 0; at < 64; at += lane) mask |= (((uint64_t)1 << width) - 1) << at;
    return mask;
}

/* Moves the upper half of each lane down to where the lower half's `width` bits end. */
static DCZ_ALWAYS_INLINE uint64_t close_gap(uint64_t word, uint32_t width, uint32_t lane)
{
    uint64_t lower = word & lanes(width, lane);
    return lower | (word & lanes(width, lane) << lane / 2) >> (lane / 2 - width);
}

/* The inverse of close_gap. */
static DCZ_ALWAYS_INLINE uint64_t open_gap(uint64_t word, uint32_t width, uint32_t lane)
{
    uint64_t lower = word & lanes(width, lane);
    return lower | (word & lanes(width, lane) << width) << (lane / 2 - width);
}

/* The low bits of eight bytes, back to back. */
static DCZ_ALWAYS_INLINE uint64_t gather_bits(uint64_t word, uint32_t bits)
{
    word = close_gap(word, bits, 16);
    word = close_gap(word, 2 * bits, 32);
    return (word & 0xffffffff) | word >> 32 << 4 * bits;
}

/* The inverse of gather_bits. */
static DCZ_ALWAYS_INLINE uint64_t spread_bits(uint64_t word, uint32_t bits)
{
    word = (word & (((uint64_t)1 << 4 * bits) - 1)) | word >> 4 * bits << 32;
    word = open_gap(word, 2 * bits, 32);
    return open_gap(word, bits, 16);
}

/* A constant number of bits makes whole stores of what would be loops. */
static DCZ_ALWAYS_INLINE void pack_width(const uint8_t *bytes, size_t count, uint32_t bits,
                                         uint8_t *packed)
{
    /* A whole word takes one store; what it has too much is overwritten by the next. */
    for (; count * bits >= 64; count -= 8, bytes += 8, packed += bits)
        dcz_store_word(packed, gather_bits(dcz_load_word(bytes), bits));
    for (; count >= 8; count -= 8, bytes += 8, packed += bits)
        store_bytes(packed, bits, gather_bits(load_bytes(bytes, 8), bits));
    store_bytes(packed, (count * bits + 7) / 8, gather_bits(load_bytes(bytes, count), bits));
}

DCZ_FOR_NEWER_PROCESSORS
void dcz_pack_bits(const uint8_t *bytes, size_t count, uint32_t bits, uint8_t *packed)
{
    switch (bits) {
    case 1: pack_width(bytes, count, 1, packed); return;
    case 2: pack_width(bytes, count, 2, packed); return;
    case 3: pack_width(bytes, count, 3, packed); return;
    case 4: pack_width(bytes, count, 4, packed); return;
    case 5: pack_width(bytes, count, 5, packed); return;
    case 6: pack_width(bytes, count, 6, packed); return;
    default: pack_width(bytes, count, 7, packed);
    }
}

static DCZ_ALWAYS_INLINE void unpack_width(const uint8_t *packed, size_t count, uint32_t bits,
                                           uint8_t *bytes)
{
    /* As long as a whole word can be loaded. */
    for (; count * bits >= 64; count -= 8, bytes += 8, packed += bits) {
        uint64_t word = dcz_load_word(packed) & (((uint64_t)1 << 8 * bits) - 1);
        dcz_store_word(bytes, spread_bits(word, bits));
    }
    for (; count >= 8; count -= 8, bytes += 8, packed += bits)
        store_bytes(bytes, 8, spread_bits(load_bytes(packed, bits), bits));
    store_bytes(bytes, count, spread_bits(load_bytes(packed, (count * bits + 7) / 8), bits));
}

static DCZ_ALWAYS_INLINE void unpack_bits(const uint8_t *packed, size_t count, uint32_t bits,
                                          uint8_t *bytes)
{
    switch (bits) {
    case 1: unpack_width(packed, count, 1, bytes); return;
    case 2: unpack_width(packed, count, 2, bytes); return;
    case 3: unpack_width(packed, count, 3, bytes); return;
    case 4: unpack_width(packed, count, 4, bytes); return;
    case 5: unpack_width(packed, count, 5, bytes); return;
    case 6: unpack_width(packed, count, 6, bytes); return;
    default: unpack_width(packed, count, 7, bytes);
    }
}

DCZ_FOR_NEWER_PROCESSORS
static void split_pair_block(const uint16_t *restrict pairs, const uint8_t *packed, size_t count,
                        uint32_t low_bits, uint8_t *restrict low, uint8_t *restrict high)
{
    unpack_bits(packed, count, low_bits, low);
    for (size_t i = 0; i < count; i++) low[i] = (uint8_t)(low[i] | pairs[i]);
    for (size_t i = 0; i < count; i++) high[i] = (uint8_t)(pairs[i] >> 8);
}

void dcz_split_pairs(const uint16_t *pairs, const uint8_t *packed, size_t count,
                     uint32_t low_bits, uint8_t *low, uint8_t *high)
{
    for (size_t begin = 0; begin < count; begin += BLOCK)
        split_pair_block(pairs + begin, packed + begin / 8 * low_bits,
                    count - begin < BLOCK ? count - begin : BLOCK, low_bits, low + begin,
                    high + begin);
}
