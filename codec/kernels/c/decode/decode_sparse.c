/* Sparse blocks: survivors between their gaps; decode.h has the interface. */
#include "decode_values.h"

/* So many gaps of 16 bits can be added up in 32 bits, which compilers do many at a time. */
enum { SUMMED_AT_ONCE = 1 << 15 };

DCZ_FOR_NEWER_PROCESSORS
static void add_up(const uint16_t *gaps, size_t count, uint16_t filler, uint64_t *zeros,
                   size_t *fillers)
{
    uint32_t sum = 0, found = 0;
    for (size_t i = 0; i < count; i++) {
        sum += gaps[i];
        found += gaps[i] == filler;
    }
    *zeros += sum;
    *fillers += found;
}

dcz_status dcz_check_gaps(const uint16_t *gaps, size_t count, uint16_t filler, size_t survivors,
                          size_t length)
{
    uint64_t zeros = 0;
    size_t fillers = 0;
    for (size_t i = 0; i < count; i += SUMMED_AT_ONCE) {
        size_t left = count - i;
        add_up(gaps + i, left < SUMMED_AT_ONCE ? left : SUMMED_AT_ONCE, filler, &zeros, &fillers);
    }
    if (zeros + (count - fillers) > length) return DCZ_GAP_TOO_LONG;
    if (count - fillers != survivors) return DCZ_GAP_MISMATCH;
    if (count > 0 && gaps[count - 1] == filler) return DCZ_LAST_FILLER;
    return DCZ_OK;
}

static DCZ_ALWAYS_INLINE void scatter_items(dcz_scatter *block, uint32_t item_size, size_t begin,
                                            size_t end, void *out)
{
    const uint16_t *gap = block->gaps + block->gaps_done;
    const uint16_t *last = block->gaps + block->gap_count;
    const uint16_t filler = block->filler;
    size_t position = block->position, survivor = block->values_done;
    memset(out, 0, (end - begin) * item_size);
    for (; gap < last && position + *gap < end; gap++) {
        position += *gap;
        if (*gap == filler) continue;
        dcz_put_value(out, item_size, position++ - begin,
                      dcz_value_at(block->values, item_size, survivor++));
    }
    block->gaps_done = (size_t)(gap - block->gaps);
    block->values_done = survivor;
    block->position = position;
}

void dcz_scatter_piece(dcz_scatter *block, size_t begin, size_t end, void *out)
{
    switch (block->item_size) {
    case 1: scatter_items(block, 1, begin, end, out); return;
    case 2: scatter_items(block, 2, begin, end, out); return;
    case 4: scatter_items(block, 4, begin, end, out); return;
    default: scatter_items(block, 8, begin, end, out);
    }
}
