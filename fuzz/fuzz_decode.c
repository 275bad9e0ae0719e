/* The decoding kernels under libFuzzer, as the bindings call them: every argument that a file
 * decides comes from the input, all else is as the kernels' headers ask for.
 *
 * Memory has exactly the size it needs, so that AddressSanitizer sees the first byte too far. */
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "decode.h"
#include "mixed.h"
#include "planes.h"

enum { MOST_SYMBOLS = 1 << 14 };

typedef struct {
    const uint8_t *at, *end;
} input;

static uint32_t take(input *in, uint32_t below)
{
    uint32_t number = 0;
    for (int i = 0; i < 3 && in->at < in->end; i++) number = number << 8 | *in->at++;
    return number % below;
}

static void *exactly(size_t size)
{
    void *memory = malloc(size ? size : 1);
    if (!memory) abort();
    return memory;
}

/* A copy of the rest of the input, or of as much as is wanted. */
static uint8_t *copied(input *in, size_t most, size_t *size)
{
    size_t left = (size_t)(in->end - in->at);
    uint8_t *copy;
    *size = left < most ? left : most;
    copy = exactly(*size);
    memcpy(copy, in->at, *size);
    in->at += *size;
    return copy;
}

/* ---- a code and its values ---- */

/* Reads a code table as huffman.py does; 0 if it is refused. */
static int read_code(input *in, uint32_t alphabet, uint8_t *lengths, dcz_code *code)
{
    size_t size = (size_t)(in->end - in->at), used = 0;
    if (alphabet == 1) {
        lengths[0] = 1;
    } else {
        if (dcz_read_lengths(in->at, size, alphabet, lengths, &used) != DCZ_OK) return 0;
        in->at += used;
    }
    return dcz_read_code(lengths, alphabet, code) == DCZ_OK;
}

typedef struct {
    uint8_t *lengths, *values;
    dcz_decoder decoder;
} coder;

static int make_coder(input *in, uint32_t item_size, coder *c)
{
    uint32_t alphabet = 1 + take(in, DCZ_ALPHABET_LIMIT);
    memset(c, 0, sizeof *c);
    c->lengths = exactly(alphabet);
    if (!read_code(in, alphabet, c->lengths, &c->decoder.code)) {
        free(c->lengths);
        c->lengths = NULL;
        return 0;
    }
    c->values = exactly((size_t)alphabet * item_size);
    memset(c->values, 0x5a, (size_t)alphabet * item_size);
    c->decoder.values = c->values;
    c->decoder.item_size = item_size;
    c->decoder.table = exactly(dcz_table_bytes(&c->decoder.code, item_size));
    dcz_prepare(&c->decoder);
    return 1;
}

static void drop_coder(coder *c)
{
    free(c->lengths);
    free(c->values);
    free(c->decoder.table);
}

/* ---- what a file can reach ---- */

static void segments(input *in)
{
    coder c;
    uint32_t item_size = 1u << take(in, 4), count = take(in, MOST_SYMBOLS);
    size_t size, position = 0, offset;
    uint8_t *payload, *out;
    if (!make_coder(in, item_size, &c)) return;
    offset = take(in, 16);
    payload = copied(in, SIZE_MAX, &size);
    out = exactly((size_t)count * item_size);
    if (offset <= size)
        dcz_decode_segment(&c.decoder, payload, size, offset, count, out);
    dcz_skip_segment(payload, size, count, &position);
    if (position > size) abort();
    free(out);
    free(payload);
    drop_coder(&c);
}

static void sparse_block(input *in)
{
    coder gaps, levels;
    uint16_t *symbols = NULL;
    uint8_t *values = NULL, *payload, *out;
    uint32_t item_size = 1u << take(in, 4), length = 1 + take(in, MOST_SYMBOLS);
    uint32_t count = take(in, length + 1), survivors = take(in, count + 1);
    uint16_t filler = (uint16_t)(1 + take(in, 4095));
    size_t size, position = 0;
    if (!make_coder(in, 2, &gaps)) return;
    for (uint32_t i = 0; i < gaps.decoder.code.alphabet; i++)
        memcpy(gaps.values + 2 * i, &(uint16_t){(uint16_t)i}, 2);
    dcz_prepare(&gaps.decoder);
    if (gaps.decoder.code.alphabet > filler + 1u || !make_coder(in, item_size, &levels)) {
        drop_coder(&gaps);
        return;
    }
    payload = copied(in, SIZE_MAX, &size);
    symbols = exactly((size_t)count * 2);
    values = exactly((size_t)survivors * item_size);
    out = exactly((size_t)length * item_size);
    if (dcz_decode_segment(&gaps.decoder, payload, size, 0, count, symbols) == DCZ_OK
        && dcz_check_gaps(symbols, count, filler, survivors, length) == DCZ_OK
        && (gaps.decoder.code.used == 1
            || dcz_skip_segment(payload, size, count, &position) == DCZ_OK)
        && dcz_decode_segment(&levels.decoder, payload, size, position, survivors, values)
               == DCZ_OK) {
        dcz_scatter block = {.gaps = symbols, .gap_count = count, .values = values,
                             .item_size = item_size, .filler = filler};
        uint32_t cut = take(in, length + 1);
        dcz_scatter_piece(&block, 0, cut, out);
        dcz_scatter_piece(&block, cut, length, out + (size_t)cut * item_size);
        if (block.values_done != survivors) abort();
    }
    free(out);
    free(values);
    free(symbols);
    free(payload);
    drop_coder(&gaps);
    drop_coder(&levels);
}

/* Codes that are read from the payload. */
typedef struct {
    uint8_t *lengths[DCZ_CLASS_LIMIT], *values[DCZ_CLASS_LIMIT];
    uint8_t coded[DCZ_CLASS_LIMIT];
    int64_t widths[DCZ_CLASS_LIMIT];
    dcz_class_source sources[DCZ_CLASS_LIMIT];
} class_coders;

static int make_class(dcz_bytes *payload, size_t levels, size_t item_size, size_t k,
                      class_coders *c)
{
    uint16_t *members = exactly(DCZ_ALPHABET_LIMIT * DCZ_WIDTH_LIMIT * sizeof *members);
    dcz_class_source *source = &c->sources[k];
    dcz_class_code code = {.members = members};
    dcz_status status;
    size_t bytes;
    code.lengths = c->lengths[k] = exactly(DCZ_ALPHABET_LIMIT);
    status = dcz_read_class_code(payload, levels, item_size, &code);
    for (size_t i = 0; status == DCZ_OK && i < code.alphabet * code.width; i++)
        if (members[i] >= levels) abort();
    free(members);
    if (status != DCZ_OK) return 0;
    bytes = code.alphabet * code.width * item_size;
    if (dcz_read_code(code.lengths, (uint32_t)code.alphabet, &source->decoder.code) != DCZ_OK)
        abort();
    source->decoder.values = c->values[k] = exactly(bytes);
    memset(c->values[k], 0x5a, bytes);
    source->decoder.item_size = (uint32_t)(code.width * item_size);
    source->decoder.table
        = exactly(dcz_table_bytes(&source->decoder.code, source->decoder.item_size));
    dcz_prepare(&source->decoder);
    source->width = code.width;
    c->widths[k] = (int64_t)code.width;
    c->coded[k] = (uint8_t)code.coded;
    if (code.coded != (source->decoder.code.used > 1)) abort();
    source->waiting = exactly(DCZ_WAITING_BYTES + DCZ_COPY_SLACK);
    return 1;
}

static void decode_classes(const dcz_class_runs *runs, class_coders *c, const uint8_t *payload,
                           size_t size, size_t position, size_t item_size)
{
    size_t blocks = runs->runs / runs->runs_in_block + (runs->runs % runs->runs_in_block > 0);
    uint8_t *out = exactly(runs->count * item_size);
    int64_t *offsets = exactly((blocks * runs->kinds + 1) * sizeof *offsets);
    dcz_digester digester;
    uint64_t digest;
    if (dcz_find_class_segments(runs, c->coded, c->widths, payload, size, position, offsets)
        == DCZ_OK) {
        dcz_digest_start(&digester, &digest, runs->count * item_size);
        dcz_decode_runs(runs, c->sources, payload, size, offsets, item_size, &digester, out);
    }
    free(offsets);
    free(out);
}

static void drop_classes(const class_coders *c)
{
    for (size_t k = 0; k < DCZ_CLASS_LIMIT; k++) {
        free(c->lengths[k]);
        free(c->values[k]);
        free(c->sources[k].decoder.table);
        free(c->sources[k].waiting);
    }
}

static void runs_of_classes(input *in)
{
    uint32_t item_size = 1u << take(in, 4), levels = 1 + take(in, DCZ_ALPHABET_LIMIT);
    dcz_class_runs runs = {.kinds = 1 + take(in, DCZ_CLASS_LIMIT), .length = 1 + take(in, 4096)};
    uint32_t most = 1 + MOST_SYMBOLS / (uint32_t)runs.length;
    size_t missing = take(in, (uint32_t)runs.length), given, size;
    uint8_t *classes, *payload;
    dcz_bytes rest;
    class_coders c;
    int made = 1;
    runs.runs = 1 + take(in, most);
    runs.runs_in_block = 1 + take(in, most);
    runs.count = runs.runs * runs.length - missing;
    runs.classes = classes = copied(in, runs.runs, &given);
    payload = copied(in, SIZE_MAX, &size);
    rest = (dcz_bytes){payload, payload + size};
    memset(&c, 0, sizeof c);
    for (size_t i = 0; i < given; i++) classes[i] = (uint8_t)(classes[i] % runs.kinds);
    for (size_t k = 0; k < runs.kinds && made; k++)
        made = make_class(&rest, levels, item_size, k, &c);
    if (made && given == runs.runs)
        decode_classes(&runs, &c, payload, size, (size_t)(rest.at - payload), item_size);
    drop_classes(&c);
    free(payload);
    free(classes);
}

static void planes(input *in)
{
    uint32_t item_size = 1u << take(in, 5), low_bits = 1 + take(in, 7), base = take(in, 256);
    int rotated = item_size > 1 && item_size < 16 && take(in, 2);
    size_t bytes, count;
    uint8_t *data = copied(in, MOST_SYMBOLS, &bytes), *out, *packed, *low;
    uint16_t *symbols;
    dcz_plane list[DCZ_PLANES_LIMIT];
    count = bytes / item_size;
    for (uint32_t p = 0; p < item_size; p++) {
        list[p].constant = base >> (p % 8) & 1 && count > 0;
        list[p].bytes = data + p * count;
    }
    out = exactly(count * item_size);
    dcz_join_planes(list, count, item_size, rotated, out);
    free(out);
    symbols = exactly(2 * count);
    for (size_t i = 0; i < count; i++) symbols[i] = (uint16_t)(data[i] << 8 | base);
    packed = exactly((count * low_bits + 7) / 8);
    memset(packed, 0xa5, (count * low_bits + 7) / 8);
    low = exactly(2 * count);
    dcz_split_pairs(symbols, packed, count, low_bits, low, low + count);
    free(low);
    free(packed);
    free(symbols);
    free(data);
}

/* One chunk of a tensor, or the same several times as the members of a group. */
static void mixed_chunk(input *in)
{
    uint32_t width = 1 + take(in, 8), kernel = width * (1 + take(in, 8));
    uint32_t row = kernel * (1 + take(in, 40)), several = take(in, 4);
    dcz_chunk chunk = {.row = row, .kernel = kernel, .width = width}, all[3];
    dcz_trellis trellis = {take(in, 64), take(in, 64)};
    dcz_mixed *model = exactly(sizeof *model);
    dcz_column *columns = exactly(row * sizeof *columns);
    dcz_chunks chunks = {all, several ? several : 1, several > 0, NULL, columns};
    int16_t *history;
    int32_t *positions;
    size_t size, numel;
    uint8_t *data;
    chunk.start = several ? 0 : take(in, 1 << 20);
    chunk.numel = 1 + take(in, 1 << 11);
    for (size_t i = 0; i < chunks.count; i++) all[i] = chunk;
    numel = chunks.count * chunk.numel;
    history = exactly((chunk.numel + 2 * chunk.row + DCZ_MIXED_MARGIN) * sizeof *history);
    positions = exactly(numel * sizeof *positions);
    data = copied(in, SIZE_MAX, &size);
    chunks.history = history;
    dcz_mixed_decode(model, &chunks, trellis, data, size, positions);
    for (size_t i = 0; i < numel; i++)
        if (positions[i] < -(1 << 19) || positions[i] > 1 << 19) abort();
    free(data);
    free(positions);
    free(history);
    free(columns);
    free(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, data + size};
    switch (take(&in, 8)) {
    case 0: runs_of_classes(&in); break;
    case 1: planes(&in); break;
    case 2:
    case 3:
    case 4: sparse_block(&in); break;
    case 6: mixed_chunk(&in); break;
    default: segments(&in);
    }
    return 0;
}
