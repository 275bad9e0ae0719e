/* Code tables as a file holds them: FORMAT.md, Code tables. */
#ifndef DCZ_TABLES_H
#define DCZ_TABLES_H

#include <stddef.h>
#include <stdint.h>

/* Reads `alphabet` code lengths from bits[size]; before the first stands `guess`. Returns how many
 * bits they take, over 8 * size if they are cut off, or SIZE_MAX if a length is over `longest`. */
size_t dcz_read_lengths(const uint8_t *bits, size_t size, size_t alphabet, unsigned guess,
                        unsigned longest, uint8_t *lengths);

#endif
