/* Digests of what is decoded, taken while it is in the nearest cache: XXH3-64 of every chunk. */
#ifndef DCZ_DIGEST_H
#define DCZ_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* The format's chunks, in bytes. */
#define DCZ_DIGEST_CHUNK ((size_t)1 << 20)
/* XXH3 treats inputs up to this size differently; such a chunk, which can only be the last, gets
 * no digest here. */
#define DCZ_DIGEST_SHORT 240
/* Data comes in multiples of this many bytes, but for the last. */
#define DCZ_DIGEST_BLOCK 1024
/* What is digested as soon as it is decoded: so much stays in the nearest cache beside tables. */
#define DCZ_DIGEST_PIECE 4096

#define DCZ_DIGEST_STRIPE 64

typedef struct {
    uint64_t *digests; /* of each chunk */
    size_t size;       /* of all data, in bytes */
    size_t done;
    uint64_t lanes[8];
    uint8_t last[DCZ_DIGEST_STRIPE]; /* the last bytes done */
} dcz_digester;

/* Starts the digests of `size` bytes: one for each chunk. */
void dcz_digest_start(dcz_digester *d, uint64_t *digests, size_t size);

/* Takes the next bytes; all together `size` of them. */
void dcz_digest_update(dcz_digester *d, const uint8_t *data, size_t size);

#endif
