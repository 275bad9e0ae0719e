/* Copies that pass the cache by, for output that is larger than it: what would be read in only to
 * be overwritten is not read in, and what is in use is not thrown out. */
#ifndef DCZ_STREAM_H
#define DCZ_STREAM_H

#include <stdint.h>
#include <string.h>

#include "decode.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Data is put together in pieces of this size, in the nearest cache, and copied from there. */
enum { DCZ_PIECE_BYTES = 1 << 13 };
/* Output of this size or more is taken not to be in the cache. */
#define DCZ_STREAM_FROM ((size_t)1 << 21)
/* What the addresses of a streaming copy must be multiples of. */
enum { DCZ_STREAM_ALIGNMENT = 16 };

static DCZ_ALWAYS_INLINE void dcz_stream(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t done = 0;
#if defined(__SSE2__)
    for (; bytes - done >= 16; done += 16)
        _mm_stream_si128((__m128i *)(to + done), _mm_load_si128((const __m128i *)(from + done)));
#endif
    memcpy(to + done, from + done, bytes - done);
}

/* Makes what was streamed visible to other threads before anything that is written later. */
static DCZ_ALWAYS_INLINE void dcz_stream_end(void)
{
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

#endif
