/* The tables of classes, and what a block has of each; classes.h has the interface. */
#include <string.h>

#include "classes.h"

/* ---- fields ---- */

/* Reads a number from `low` to `high`, which is below 2^21. */
static dcz_status read_number(dcz_bytes *payload, size_t low, size_t high, dcz_status outside,
                              size_t *number)
{
    size_t left = (size_t)(payload->end - payload->at);
    dcz_status status = dcz_read_varint(&payload->at, payload->end, number);
    if (status == DCZ_LONG_VARINT && left < 3) return DCZ_TRUNCATED_TABLE;
    if (status != DCZ_OK) return outside;
    return *number < low || *number > high ? outside : DCZ_OK;
}

/* Reads a bitmap of `size` bits, each byte's lowest first: which of the places are taken. */
static dcz_status read_bitmap(dcz_bytes *payload, size_t size, dcz_status wrong, uint16_t *places,
                           size_t room, size_t *taken)
{
    size_t bytes = (size + 7) / 8;
    if ((size_t)(payload->end - payload->at) < bytes) return DCZ_TRUNCATED_TABLE;
    *taken = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned bits = payload->at[i];
        for (size_t place = 8 * i; bits != 0; bits >>= 1, place++) {
            if (!(bits & 1)) continue;
            if (place >= size || *taken == room) return wrong;
            places[(*taken)++] = (uint16_t)place;
        }
    }
    payload->at += bytes;
    return *taken == 0 ? wrong : DCZ_OK;
}

/* ---- tables ---- */

enum { PAIRS = 1, BITMAP = 2 };

/* Reads which indices are in use: used[n], ascending. */
static dcz_status read_used(dcz_bytes *payload, unsigned flags, size_t levels, uint16_t *used,
                            size_t *n)
{
    size_t first, span;
    dcz_status status = read_number(payload, 0, levels - 1, DCZ_BAD_FIRST_INDEX, &first);
    if (status == DCZ_OK) status = read_number(payload, 1, levels - first, DCZ_BAD_SPAN, &span);
    if (status != DCZ_OK) return status;
    *n = span;
    if (flags & BITMAP)
        status = read_bitmap(payload, span, DCZ_BAD_INDEX_MAP, used, DCZ_ALPHABET_LIMIT, n);
    else
        for (size_t i = 0; i < span; i++) used[i] = (uint16_t)i;
    if (status != DCZ_OK) return status;
    for (size_t i = 0; i < *n; i++) used[i] = (uint16_t)(used[i] + first);
    return DCZ_OK;
}

/* Reads which pairs of the n indices in use have a code. */
static dcz_status read_pairs(dcz_bytes *payload, const uint16_t *used, size_t n, size_t item_size,
                             dcz_class_code *code)
{
    uint16_t places[DCZ_ALPHABET_LIMIT];
    size_t row = 0;
    dcz_status status;
    if (n > DCZ_PAIRED_LEVELS_LIMIT || item_size > DCZ_PAIRED_BYTES_LIMIT) return DCZ_BAD_PAIRS;
    status = read_bitmap(payload, n * n, DCZ_BAD_PAIR_MAP, places, DCZ_ALPHABET_LIMIT,
                      &code->alphabet);
    if (status != DCZ_OK) return status;
    for (size_t i = 0; i < code->alphabet; i++) {
        while (places[i] >= (row + 1) * n) row++;
        code->members[2 * i] = used[row];
        code->members[2 * i + 1] = used[places[i] - row * n];
    }
    code->width = 2;
    return DCZ_OK;
}

static dcz_status read_code_lengths(dcz_bytes *payload, dcz_class_code *code)
{
    size_t alphabet, bytes;
    dcz_code checked;
    dcz_status status = read_number(payload, 1, DCZ_ALPHABET_LIMIT, DCZ_BAD_ALPHABET, &alphabet);
    if (status != DCZ_OK) return status;
    if (alphabet != code->alphabet) return DCZ_WRONG_ALPHABET;
    code->lengths[0] = 1;
    code->coded = 0;
    if (alphabet == 1) return DCZ_OK;
    status = dcz_read_lengths(payload->at, (size_t)(payload->end - payload->at),
                              (uint32_t)alphabet, code->lengths, &bytes);
    if (status != DCZ_OK) return status;
    payload->at += bytes;
    status = dcz_read_code(code->lengths, (uint32_t)alphabet, &checked);
    code->coded = checked.used > 1;
    return status;
}

dcz_status dcz_read_class_code(dcz_bytes *payload, size_t levels, size_t item_size,
                               dcz_class_code *code)
{
    uint16_t used[DCZ_ALPHABET_LIMIT];
    unsigned flags;
    size_t n;
    dcz_status status;
    if (payload->at == payload->end) return DCZ_TRUNCATED_TABLE;
    flags = *payload->at++;
    if (flags > (PAIRS | BITMAP)) return DCZ_BAD_TABLE_FLAGS;
    status = read_used(payload, flags, levels, used, &n);
    if (status != DCZ_OK) return status;
    if (flags & PAIRS) {
        status = read_pairs(payload, used, n, item_size, code);
        if (status != DCZ_OK) return status;
    } else {
        memcpy(code->members, used, n * sizeof *used);
        code->alphabet = n;
        code->width = 1;
    }
    return read_code_lengths(payload, code);
}

/* ---- blocks ---- */

void dcz_count_block(const dcz_class_runs *runs, size_t first, size_t elements[DCZ_CLASS_LIMIT])
{
    size_t left = runs->runs - first, last = first;
    last += left < runs->runs_in_block ? left : runs->runs_in_block;
    memset(elements, 0, DCZ_CLASS_LIMIT * sizeof *elements);
    for (size_t i = first; i < last; i++) elements[runs->classes[i]] += runs->length;
    if (last == runs->runs)
        elements[runs->classes[last - 1]] -= runs->runs * runs->length - runs->count;
}

dcz_status dcz_find_class_segments(const dcz_class_runs *runs, const uint8_t *coded,
                                   const int64_t *widths, const uint8_t *payload, size_t size,
                                   size_t position, int64_t *found)
{
    for (size_t first = 0; first < runs->runs; first += runs->runs_in_block) {
        size_t elements[DCZ_CLASS_LIMIT];
        dcz_count_block(runs, first, elements);
        for (size_t k = 0; k < runs->kinds; k++) {
            dcz_status status = DCZ_OK;
            *found++ = (int64_t)position;
            if (coded[k])
                status = dcz_skip_segment(payload, size,
                                          dcz_symbols(elements[k], (size_t)widths[k]), &position);
            if (status != DCZ_OK) return status;
        }
    }
    *found = (int64_t)position;
    return DCZ_OK;
}
