/* The arithmetic of mixed.c that works on four, eight or sixteen numbers at once, in SSE2 where there is
 * any, and plainly; both give the same bits. */
#ifndef DCZ_MIXING_H
#define DCZ_MIXING_H

#include <stdint.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define DCZ_MIXED_INPUTS 4
#define DCZ_MIXED_TERMS 16
#define DCZ_MIXED_LARGEST 24576

/* Stores eight numbers at once: a vector that was stored in parts is slow to load. */
static inline void put_eight(int16_t *out, int a, int b, int c, int d, int e, int f, int g, int h)
{
#if defined(__SSE2__)
    _mm_storeu_si128((__m128i *)out, _mm_set_epi16((short)h, (short)g, (short)f, (short)e, (short)d,
                                                   (short)c, (short)b, (short)a));
#else
    const int numbers[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) out[i] = (int16_t)numbers[i];
#endif
}

/* The sum of four products. */
static inline int32_t mix(const int16_t *inputs, const int16_t *weights)
{
#if defined(__SSE2__)
    __m128i x = _mm_loadl_epi64((const __m128i *)inputs);
    __m128i sum = _mm_madd_epi16(x, _mm_loadl_epi64((const __m128i *)weights));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x55)));
#else
    int32_t sum = 0;
    for (int i = 0; i < DCZ_MIXED_INPUTS; i++) sum += weights[i] * inputs[i];
    return sum;
#endif
}

/* Moves four weights along the inputs, by an error that was scaled to 16 bits. */
static inline void move_weights(int16_t *weights, const int16_t *inputs, int32_t error)
{
#if defined(__SSE2__)
    __m128i x = _mm_slli_epi16(_mm_loadl_epi64((const __m128i *)inputs), 3);
    __m128i step = _mm_mulhi_epi16(x, _mm_set1_epi16((short)error));
    __m128i w = _mm_loadl_epi64((const __m128i *)weights);
    step = _mm_srai_epi16(_mm_add_epi16(step, _mm_set1_epi16(1)), 1);
    _mm_storel_epi64((__m128i *)weights, _mm_add_epi16(w, step));
#else
    for (int i = 0; i < DCZ_MIXED_INPUTS; i++)
        weights[i] = (int16_t)(weights[i] + (((8 * inputs[i] * error >> 16) + 1) >> 1));
#endif
}

/* Moves four counters (probability << 10 | count) towards a bit; new ones start from `mixed`. The
 * rate of a count n is 65536 / (2 n + 3), rounded down, which division in floats gives exactly for
 * every n. The target of a 0 is the most that rounding down leads to 0 from. */
static inline void move_counters(uint32_t *counters, int bit, int32_t mixed, int32_t limit)
{
    const int32_t target = bit ? 4194303 : 127;
#if defined(__SSE2__)
    __m128i c = _mm_loadu_si128((const __m128i *)counters);
    __m128i n = _mm_and_si128(c, _mm_set1_epi32(1023)), p = _mm_srli_epi32(c, 10);
    __m128i fresh = _mm_cmpeq_epi32(n, _mm_setzero_si128());
    __m128 parts = _mm_add_ps(_mm_cvtepi32_ps(n), _mm_set1_ps(1.5f));
    __m128i rate = _mm_cvttps_epi32(_mm_div_ps(_mm_set1_ps(32768), parts)), away;
    p = _mm_or_si128(_mm_andnot_si128(fresh, p), _mm_and_si128(fresh, _mm_set1_epi32(mixed)));
    away = _mm_srai_epi32(_mm_sub_epi32(_mm_set1_epi32(target), p), 7);
    /* Both have 16 bits and a sign: the upper halves of the rates are zero. */
    away = _mm_madd_epi16(away, rate);
    p = _mm_add_epi32(p, _mm_srai_epi32(away, 8));
    n = _mm_sub_epi32(n, _mm_cmpgt_epi32(_mm_set1_epi32(limit), n));
    _mm_storeu_si128((__m128i *)counters, _mm_or_si128(_mm_slli_epi32(p, 10), n));
#else
    for (int i = 0; i < DCZ_MIXED_INPUTS; i++) {
        int32_t n = (int32_t)(counters[i] & 1023);
        int32_t p = n ? (int32_t)(counters[i] >> 10) : mixed;
        p += ((target - p) >> 7) * (65536 / (2 * n + 3)) >> 8;
        counters[i] = (uint32_t)p << 10 | (uint32_t)(n + (n < limit));
    }
#endif
}

/* Eight magnitudes times a factor, shifted and limited; and the same with the numbers' signs. */
static inline void scale_eight(const int16_t *numbers, uint32_t factor, uint32_t shift,
                               int16_t *sizes, int16_t *values)
{
#if defined(__SSE2__)
    const __m128i f = _mm_set1_epi16((short)factor), count = _mm_cvtsi32_si128((int)shift);
    __m128i x = _mm_loadu_si128((const __m128i *)numbers), sign = _mm_srai_epi16(x, 15), a, b;
    x = _mm_sub_epi16(_mm_xor_si128(x, sign), sign);
    b = _mm_mulhi_epu16(x, f);
    x = _mm_mullo_epi16(x, f);
    a = _mm_srl_epi32(_mm_unpacklo_epi16(x, b), count);
    b = _mm_srl_epi32(_mm_unpackhi_epi16(x, b), count);
    x = _mm_min_epi16(_mm_packs_epi32(a, b), _mm_set1_epi16(DCZ_MIXED_LARGEST));
    _mm_storeu_si128((__m128i *)sizes, x);
    _mm_storeu_si128((__m128i *)values, _mm_sub_epi16(_mm_xor_si128(x, sign), sign));
#else
    for (int i = 0; i < 8; i++) {
        uint32_t x = (uint32_t)(numbers[i] < 0 ? -numbers[i] : numbers[i]) * factor >> shift;
        sizes[i] = (int16_t)(x < DCZ_MIXED_LARGEST ? x : DCZ_MIXED_LARGEST);
        values[i] = (int16_t)(numbers[i] < 0 ? -sizes[i] : sizes[i]);
    }
#endif
}

/* The sum of products with weights of 16 bits of fraction, cut to 16 bits with 12 of fraction. */
static inline int32_t predict(const int32_t *weights, const int16_t *terms)
{
#if defined(__SSE2__)
    __m128i sum = _mm_setzero_si128();
    for (int i = 0; i < DCZ_MIXED_TERMS; i += 8) {
        __m128i a = _mm_srai_epi32(_mm_loadu_si128((const __m128i *)(weights + i)), 4);
        __m128i b = _mm_srai_epi32(_mm_loadu_si128((const __m128i *)(weights + i + 4)), 4);
        __m128i x = _mm_loadu_si128((const __m128i *)(terms + i));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_packs_epi32(a, b), x));
    }
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return _mm_cvtsi128_si32(sum) >> 12;
#else
    uint32_t sum = 0;
    for (int i = 0; i < DCZ_MIXED_TERMS; i++) {
        int32_t w = weights[i] >> 4;
        w = w > 32767 ? 32767 : w < -32768 ? -32768 : w;
        sum += (uint32_t)(w * terms[i]);
    }
    return (int32_t)sum >> 12;
#endif
}

/* Moves the weights of a prediction along its terms; the error has 16 bits. */
static inline void adapt(int32_t *weights, const int16_t *terms, int32_t error)
{
#if defined(__SSE2__)
    const __m128i half = _mm_set1_epi32(1 << 18), zero = _mm_setzero_si128();
    const __m128i e = _mm_set1_epi32(error);
    for (int i = 0; i < DCZ_MIXED_TERMS; i += 8) {
        __m128i x = _mm_loadu_si128((const __m128i *)(terms + i)), *w = (__m128i *)(weights + i);
        __m128i a = _mm_madd_epi16(_mm_unpacklo_epi16(x, zero), e);
        __m128i b = _mm_madd_epi16(_mm_unpackhi_epi16(x, zero), e);
        a = _mm_srai_epi32(_mm_add_epi32(a, half), 19);
        b = _mm_srai_epi32(_mm_add_epi32(b, half), 19);
        _mm_storeu_si128(w, _mm_add_epi32(_mm_loadu_si128(w), a));
        _mm_storeu_si128(w + 1, _mm_add_epi32(_mm_loadu_si128(w + 1), b));
    }
#else
    for (int i = 0; i < DCZ_MIXED_TERMS; i++)
        weights[i] = (int32_t)((uint32_t)weights[i] + (uint32_t)((error * terms[i] + 262144) >> 19));
#endif
}

#endif
