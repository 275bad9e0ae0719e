/* XXH3-64 with seed 0, for inputs over 240 bytes: eight lanes of 64 bits take in stripes of 64
 * bytes; after each block of 16 stripes they are scrambled, and in the end folded into one. The
 * algorithm and its constants are those of the XXH3 specification
 * (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). */
#include "digest.h"

#include <string.h>

#include "decode.h"
#include "words.h"

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#define DCZ_AVX2 __attribute__((target("avx2")))
#endif

enum { STRIPES = DCZ_DIGEST_BLOCK / DCZ_DIGEST_STRIPE, SECRET_BYTES = 192 };
/* Where the scrambling, the last stripe and the folding find their part of the secret. */
enum { SCRAMBLING_SECRET = 128, LAST_SECRET = 121, FOLDING_SECRET = 11 };

#define PRIME32_1 0x9e3779b1u
#define PRIME32_2 0x85ebca77u
#define PRIME32_3 0xc2b2ae3du
#define PRIME64_1 0x9e3779b185ebca87u
#define PRIME64_2 0xc2b2ae3d27d4eb4fu
#define PRIME64_3 0x165667b19e3779f9u
#define PRIME64_4 0x85ebca77c2b2ae63u
#define PRIME64_5 0x27d4eb2f165667c5u
#define AVALANCHE 0x165667919e3779f9u

static const uint8_t SECRET[SECRET_BYTES] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static const uint64_t FIRST_LANES[8] = {PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3,
                                        PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1};

/* ---- stripes and blocks ---- */

static void take_stripe(uint64_t lanes[8], const uint8_t *data, const uint8_t *secret)
{
    for (int i = 0; i < 8; i++) {
        uint64_t word = dcz_load_word(data + 8 * i), mixed = word ^ dcz_load_word(secret + 8 * i);
        lanes[i ^ 1] += word;
        lanes[i] += (mixed & 0xffffffff) * (mixed >> 32);
    }
}

static void take_blocks_anywhere(uint64_t lanes[8], const uint8_t *data, size_t blocks)
{
    for (; blocks > 0; blocks--) {
        for (int i = 0; i < STRIPES; i++, data += DCZ_DIGEST_STRIPE)
            take_stripe(lanes, data, SECRET + 8 * i);
        for (int i = 0; i < 8; i++) {
            lanes[i] ^= lanes[i] >> 47 ^ dcz_load_word(SECRET + SCRAMBLING_SECRET + 8 * i);
            lanes[i] *= PRIME32_1;
        }
    }
}

#if defined(DCZ_AVX2)
DCZ_AVX2 static inline __m256i taken(__m256i lanes, const uint8_t *data, const uint8_t *secret)
{
    __m256i words = _mm256_loadu_si256((const __m256i *)data);
    __m256i mixed = _mm256_xor_si256(words, _mm256_loadu_si256((const __m256i *)secret));
    __m256i product = _mm256_mul_epu32(mixed, _mm256_srli_epi64(mixed, 32));
    __m256i swapped = _mm256_shuffle_epi32(words, _MM_SHUFFLE(1, 0, 3, 2));
    return _mm256_add_epi64(lanes, _mm256_add_epi64(product, swapped));
}

DCZ_AVX2 static inline __m256i scrambled(__m256i lanes, const uint8_t *secret)
{
    const __m256i prime = _mm256_set1_epi32((int)PRIME32_1);
    __m256i mixed = _mm256_xor_si256(lanes, _mm256_srli_epi64(lanes, 47));
    __m256i low, high;
    mixed = _mm256_xor_si256(mixed, _mm256_loadu_si256((const __m256i *)secret));
    low = _mm256_mul_epu32(mixed, prime);
    high = _mm256_mul_epu32(_mm256_srli_epi64(mixed, 32), prime);
    return _mm256_add_epi64(low, _mm256_slli_epi64(high, 32));
}

DCZ_AVX2 static void take_blocks_avx2(uint64_t lanes[8], const uint8_t *data, size_t blocks)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)lanes);
    __m256i b = _mm256_loadu_si256((const __m256i *)(lanes + 4));
    for (; blocks > 0; blocks--) {
        for (int i = 0; i < STRIPES; i++, data += DCZ_DIGEST_STRIPE) {
            a = taken(a, data, SECRET + 8 * i);
            b = taken(b, data + 32, SECRET + 8 * i + 32);
        }
        a = scrambled(a, SECRET + SCRAMBLING_SECRET);
        b = scrambled(b, SECRET + SCRAMBLING_SECRET + 32);
    }
    _mm256_storeu_si256((__m256i *)lanes, a);
    _mm256_storeu_si256((__m256i *)(lanes + 4), b);
}
#endif

static void take_blocks(uint64_t lanes[8], const uint8_t *data, size_t blocks)
{
#if defined(DCZ_AVX2)
    if (__builtin_cpu_supports("avx2")) {
        take_blocks_avx2(lanes, data, blocks);
        return;
    }
#endif
    take_blocks_anywhere(lanes, data, blocks);
}

/* ---- the end of a chunk ---- */

/* The two halves of the product of 128 bits, one XOR the other. */
static uint64_t folded_product(uint64_t x, uint64_t y)
{
#if defined(__SIZEOF_INT128__)
    __extension__ unsigned __int128 product = (unsigned __int128)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t x0 = x & 0xffffffff, x1 = x >> 32, y0 = y & 0xffffffff, y1 = y >> 32;
    uint64_t low = x0 * y0, middle = x1 * y0 + (low >> 32), other = x0 * y1 + (middle & 0xffffffff);
    uint64_t high = x1 * y1 + (middle >> 32) + (other >> 32);
    return high ^ (other << 32 | (low & 0xffffffff));
#endif
}

static uint64_t fold(const uint64_t lanes[8], size_t size)
{
    uint64_t digest = size * PRIME64_1;
    for (int i = 0; i < 8; i += 2)
        digest += folded_product(lanes[i] ^ dcz_load_word(SECRET + FOLDING_SECRET + 8 * i),
                                 lanes[i + 1] ^ dcz_load_word(SECRET + FOLDING_SECRET + 8 * i + 8));
    digest ^= digest >> 37;
    digest *= AVALANCHE;
    return digest ^ digest >> 32;
}

/* ---- chunks ---- */

static void remember(dcz_digester *d, const uint8_t *data, size_t size)
{
    if (size >= DCZ_DIGEST_STRIPE) {
        memcpy(d->last, data + size - DCZ_DIGEST_STRIPE, DCZ_DIGEST_STRIPE);
        return;
    }
    memmove(d->last, d->last + size, DCZ_DIGEST_STRIPE - size);
    memcpy(d->last + DCZ_DIGEST_STRIPE - size, data, size);
}

/* Takes bytes of one chunk of `chunk` bytes. Its last block, even if it is whole, is not
 * scrambled, and ends in a stripe that may overlap the one before. */
static void update_chunk(dcz_digester *d, const uint8_t *data, size_t size, size_t chunk)
{
    size_t start = d->done % DCZ_DIGEST_CHUNK;
    size_t left = (chunk - 1 - start) / DCZ_DIGEST_BLOCK, blocks = size / DCZ_DIGEST_BLOCK;
    if (start == 0) memcpy(d->lanes, FIRST_LANES, sizeof d->lanes);
    if (blocks > left) blocks = left;
    take_blocks(d->lanes, data, blocks);
    remember(d, data, size);
    d->done += size;
    if (start + size < chunk) return;
    data += blocks * DCZ_DIGEST_BLOCK;
    size -= blocks * DCZ_DIGEST_BLOCK;
    for (size_t i = 0; i < (size - 1) / DCZ_DIGEST_STRIPE; i++)
        take_stripe(d->lanes, data + i * DCZ_DIGEST_STRIPE, SECRET + 8 * i);
    take_stripe(d->lanes, d->last, SECRET + LAST_SECRET);
    d->digests[(d->done - 1) / DCZ_DIGEST_CHUNK] = fold(d->lanes, chunk);
}

void dcz_digest_start(dcz_digester *d, uint64_t *digests, size_t size)
{
    d->digests = digests;
    d->size = size;
    d->done = 0;
}

void dcz_digest_update(dcz_digester *d, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t start = d->done / DCZ_DIGEST_CHUNK * DCZ_DIGEST_CHUNK;
        size_t chunk = d->size - start < DCZ_DIGEST_CHUNK ? d->size - start : DCZ_DIGEST_CHUNK;
        size_t part = start + chunk - d->done;
        if (chunk <= DCZ_DIGEST_SHORT) return;
        if (part > size) part = size;
        update_chunk(d, data, part, chunk);
        data += part;
        size -= part;
    }
}
