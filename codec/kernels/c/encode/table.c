/* Distinct patterns and their places in a table: open addressing. */
#include "blocks.h"

unsigned dcz_slot_bits(size_t keys)
{
    unsigned bits = 4;
    while (((size_t)1 << bits) < 2 * keys) bits++;
    return bits;
}

/* The slot of a key, or the empty slot where it belongs. */
static size_t find_slot(const dcz_table *table, uint64_t key)
{
    size_t mask = ((size_t)1 << table->slot_bits) - 1;
    size_t slot = (size_t)((key * 0x9e3779b97f4a7c15u) >> (64 - table->slot_bits));
    while (table->slots[slot] != 0 && table->keys[table->slots[slot] - 1] != key) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

/* Number of distinct patterns, left in table->keys in order of appearance; limit + 1 if more. */
size_t dcz_distinct(dcz_array patterns, size_t limit, dcz_table *table)
{
    uint64_t block[BLOCK];
    uint32_t used = 0;
    for (size_t start = 0; start < patterns.count; start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, patterns.count - start);
        dcz_load_patterns(patterns, start, count, block);
        for (size_t i = 0; i < count; i++) {
            size_t slot = find_slot(table, block[i]);
            if (table->slots[slot] != 0) continue;
            if (used == limit) return limit + 1;
            table->keys[used++] = block[i];
            table->slots[slot] = used;
        }
    }
    return used;
}

/* 0, or -1 if the keys do not ascend. */
int dcz_fill_table(dcz_table *table, dcz_array keys)
{
    dcz_load_patterns(keys, 0, keys.count, table->keys);
    for (size_t i = 0; i < keys.count; i++) {
        if (i != 0 && table->keys[i] <= table->keys[i - 1]) return -1;
        table->slots[find_slot(table, table->keys[i])] = (uint32_t)(i + 1);
    }
    return 0;
}

/* 0, or -1 if a pattern is not in the table. */
int dcz_lookup(const dcz_table *table, dcz_array patterns, void *indices, size_t index_width)
{
    uint64_t block[BLOCK];
    uint32_t found[BLOCK];
    for (size_t start = 0; start < patterns.count; start += BLOCK) {
        size_t count = dcz_smaller(BLOCK, patterns.count - start);
        uint32_t missing = 0;
        dcz_load_patterns(patterns, start, count, block);
        for (size_t i = 0; i < count; i++) {
            uint32_t entry = table->slots[find_slot(table, block[i])];
            missing |= entry == 0;
            found[i] = entry - 1;
        }
        if (missing) return -1;
        dcz_store_indices(found, start, count, indices, index_width);
    }
    return 0;
}

/* ---- take ---- */

#define DEFINE_TAKE(name, index_type, item_type)                                          \
    static void name(const void *indices, size_t count, const void *codebook, void *out)  \
    {                                                                                     \
        const index_type *from = indices;                                                 \
        const item_type *items = codebook;                                                \
        item_type *to = out;                                                              \
        for (size_t i = 0; i < count; i++) to[i] = items[from[i]];                        \
    }
DEFINE_TAKE(take_1_by_u8, uint8_t, uint8_t)
DEFINE_TAKE(take_2_by_u8, uint8_t, uint16_t)
DEFINE_TAKE(take_4_by_u8, uint8_t, uint32_t)
DEFINE_TAKE(take_8_by_u8, uint8_t, uint64_t)
DEFINE_TAKE(take_1_by_u16, uint16_t, uint8_t)
DEFINE_TAKE(take_2_by_u16, uint16_t, uint16_t)
DEFINE_TAKE(take_4_by_u16, uint16_t, uint32_t)
DEFINE_TAKE(take_8_by_u16, uint16_t, uint64_t)

void dcz_take(dcz_array indices, dcz_array codebook, void *out)
{
    int wide = indices.width == 2;
    void (*take)(const void *, size_t, const void *, void *);
    switch (codebook.width) {
    case 1: take = wide ? take_1_by_u16 : take_1_by_u8; break;
    case 2: take = wide ? take_2_by_u16 : take_2_by_u8; break;
    case 4: take = wide ? take_4_by_u16 : take_4_by_u8; break;
    default: take = wide ? take_8_by_u16 : take_8_by_u8; break;
    }
    take(indices.data, indices.count, codebook.data, out);
}
