/* Byte planes: elements cut into their bytes and put together again.
 *
 * Pure loops over memory that the caller owns; nothing is allocated and no argument is checked
 * (bind_planes.c does both). reference/decode/planes.py defines every result. */
#ifndef DCZ_PLANES_H
#define DCZ_PLANES_H

#include <stddef.h>
#include <stdint.h>

#define DCZ_PLANES_LIMIT 16

/* Cuts elements of 1, 2, 4, 8 or 16 bytes into their bytes, least significant first: plane p is
 * planes[p * count ...]. `rotated` (2, 4 or 8 bytes only) rotates each element left by one bit
 * first, which takes the sign of a float to the lowest bit. */
void dcz_split_planes(const void *elements, size_t count, uint32_t item_size, int rotated,
                      uint8_t *planes);

/* A plane to put together: `count` bytes, or one that stands for all of them. */
typedef struct {
    const uint8_t *bytes;
    int constant;
} dcz_plane;

/* The inverse of dcz_split_planes. */
void dcz_join_planes(const dcz_plane *planes, size_t count, uint32_t item_size, int rotated,
                     void *elements);

/* How often each byte occurs. `count`, here and of pairs, is below DCZ_COUNT_LIMIT. */
#define DCZ_COUNT_LIMIT ((size_t)1 << 32)
void dcz_count_bytes(const uint8_t *bytes, size_t count, int64_t counts[256]);

/* Symbols of two planes, high << (8 - low_bits) | low >> low_bits, and how often each of them
 * occurs: there are 256 << (8 - low_bits). `scratch` holds four counters for each. */
void dcz_pair_symbols(const uint8_t *low, const uint8_t *high, size_t count, uint32_t low_bits,
                      uint32_t *scratch, uint16_t *symbols, int64_t *counts);

/* The low bits of each byte, back to back from the lowest bit up: (count * bits + 7) / 8 bytes. */
void dcz_pack_bits(const uint8_t *bytes, size_t count, uint32_t bits, uint8_t *packed);

/* Two planes out of pairs of bytes, the low one with its low bits taken from `packed`. */
void dcz_split_pairs(const uint16_t *pairs, const uint8_t *packed, size_t count, uint32_t low_bits,
                     uint8_t *low, uint8_t *high);

#endif
