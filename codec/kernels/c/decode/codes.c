/* Codes and decoding tables; decode.h has the interface. */
#include "decode_values.h"

const char *dcz_status_text(dcz_status status)
{
    switch (status) {
    case DCZ_OK: return "no error";
    case DCZ_BAD_ALPHABET: return "an alphabet has 1 to 4096 symbols";
    case DCZ_BAD_LENGTH: return "a code length is outside 0 to 15 bits";
    case DCZ_BAD_SINGLE: return "the code of a single symbol must have length 1";
    case DCZ_INCOMPLETE_CODE: return "the code lengths are not those of a complete code";
    case DCZ_TRUNCATED_LENGTHS: return "they end too early";
    case DCZ_BAD_TABLE_PADDING: return "padding is not zero";
    case DCZ_BAD_VARINT: return "a stream's size is not in its shortest form";
    case DCZ_LONG_VARINT: return "a stream's size is cut off or too large";
    case DCZ_TRUNCATED_HEADER: return "a segment's header ends after the payload";
    case DCZ_TRUNCATED_STREAM: return "a stream ends after the payload";
    case DCZ_WRONG_END: return "a stream does not end where it should";
    case DCZ_BAD_PADDING: return "a stream's padding is not zero";
    case DCZ_BAD_GAP_COUNT: return "a block has more gaps than positions";
    case DCZ_BAD_SURVIVOR_COUNT: return "a block has too few gaps";
    case DCZ_GAP_TOO_LONG: return "a gap leads out of its block";
    case DCZ_GAP_MISMATCH: return "gaps and survivors differ in number";
    case DCZ_LAST_FILLER: return "a block ends in a filler";
    case DCZ_TRUNCATED_TABLE: return "a table ends after the payload";
    case DCZ_BAD_TABLE_FLAGS: return "table flags: there are 0 to 3";
    case DCZ_BAD_FIRST_INDEX: return "first index: it is outside the codebook";
    case DCZ_BAD_SPAN: return "span of indices: it is outside the codebook";
    case DCZ_BAD_INDEX_MAP: return "indices in use: there are none, too many, or bits past the end";
    case DCZ_BAD_PAIR_MAP: return "pairs in use: there are none, too many, or bits past the end";
    case DCZ_BAD_PAIRS: return "table flags: pairs are of up to 128 values of up to 4 bytes";
    case DCZ_WRONG_ALPHABET: return "index alphabet: the symbols do not fit those in use";
    }
    return "unknown error";
}

/* ---- codes ---- */

dcz_status dcz_read_code(const uint8_t *lengths, uint32_t alphabet, dcz_code *code)
{
    uint32_t kraft = 0; /* in units of 2^-15: at most 4096 * 2^14 */
    if (alphabet < 1 || alphabet > DCZ_ALPHABET_LIMIT) return DCZ_BAD_ALPHABET;
    *code = (dcz_code){.lengths = lengths, .alphabet = alphabet};
    for (uint32_t symbol = 0; symbol < alphabet; symbol++) {
        uint32_t length = lengths[symbol];
        if (length > DCZ_LENGTH_LIMIT) return DCZ_BAD_LENGTH;
        if (length == 0) continue;
        if (length > code->longest) code->longest = length;
        kraft += 1u << (DCZ_LENGTH_LIMIT - length);
        code->last_used = symbol;
        code->used++;
    }
    if (code->used == 1) return code->longest == 1 ? DCZ_OK : DCZ_BAD_SINGLE;
    return kraft == 1u << DCZ_LENGTH_LIMIT ? DCZ_OK : DCZ_INCOMPLETE_CODE;
}

static uint32_t reverse_bits(uint32_t x, uint32_t width)
{
    x = (x & 0x5555) << 1 | (x >> 1 & 0x5555);
    x = (x & 0x3333) << 2 | (x >> 2 & 0x3333);
    x = (x & 0x0f0f) << 4 | (x >> 4 & 0x0f0f);
    x = (x & 0x00ff) << 8 | (x >> 8 & 0x00ff);
    return x >> (16 - width);
}

/* first[length] = the canonical code of the first symbol with that length, first bit highest. */
static void first_codes(const dcz_code *code, uint32_t first[DCZ_LENGTH_LIMIT + 1])
{
    uint32_t symbols[DCZ_LENGTH_LIMIT + 1] = {0};
    for (uint32_t symbol = 0; symbol < code->alphabet; symbol++) symbols[code->lengths[symbol]]++;
    symbols[0] = 0;
    first[0] = 0;
    for (uint32_t length = 1; length <= DCZ_LENGTH_LIMIT; length++)
        first[length] = (first[length - 1] + symbols[length - 1]) << 1;
}

void dcz_assign_codes(const dcz_code *code, uint16_t *codes)
{
    uint32_t next[DCZ_LENGTH_LIMIT + 1];
    first_codes(code, next);
    for (uint32_t symbol = 0; symbol < code->alphabet; symbol++) {
        uint32_t length = code->lengths[symbol];
        codes[symbol] = length ? (uint16_t)reverse_bits(next[length]++, length) : 0;
    }
}

/* ---- code tables in the file ---- */

/* Bits of a buffer, lowest first; zeros after its end. */
typedef struct {
    const uint8_t *data;
    size_t bits, at;
} bit_reader;

/* The next 8 bits at least, which are not used up. */
static unsigned next_bits(const bit_reader *r)
{
    size_t byte = r->at >> 3, bytes = r->bits >> 3;
    unsigned low = byte < bytes ? r->data[byte] : 0;
    unsigned high = byte + 1 < bytes ? r->data[byte + 1] : 0;
    return (low | high << 8) >> (r->at & 7);
}

/* Reads one length, given the one before it; below 0 or over 15 if it is corrupt. No branch hangs
 * on what it is, as nobody could foresee it. */
static int next_length(bit_reader *r, int length)
{
    static const uint8_t used[8] = {1, 2, 1, 3, 1, 2, 1, 7};
    static const int8_t change[8] = {0, 1, 0, -1, 0, 1, 0, 0};
    unsigned bits = next_bits(r), kind = bits & 7;
    int itself = (int)(bits >> 3 & 15), changed = length + change[kind];
    r->at += used[kind];
    return kind == 7 ? itself : changed;
}

int dcz_first_guess(uint32_t alphabet)
{
    int width = 0;
    while ((alphabet - 1) >> width) width++;
    return width;
}

dcz_status dcz_read_lengths(const uint8_t *data, size_t size, uint32_t alphabet,
                            uint8_t *lengths, size_t *used)
{
    bit_reader r = {data, 0, 0};
    int length = dcz_first_guess(alphabet);
    r.bits = 8 * (size < DCZ_ALPHABET_LIMIT ? size : DCZ_ALPHABET_LIMIT);
    for (uint32_t symbol = 0; symbol < alphabet; symbol++) {
        length = next_length(&r, length);
        if (length < 0 || length > DCZ_LENGTH_LIMIT) return DCZ_BAD_LENGTH;
        if (r.at > r.bits) return DCZ_TRUNCATED_LENGTHS;
        lengths[symbol] = (uint8_t)length;
    }
    *used = (r.at + 7) / 8;
    if (r.at & 7 && r.data[r.at >> 3] >> (r.at & 7)) return DCZ_BAD_TABLE_PADDING;
    return DCZ_OK;
}

/* ---- decoding tables ---- */

/* The symbols in use in the order of their codes: by length, those of one length ascending. */
typedef struct {
    uint32_t end[DCZ_LENGTH_LIMIT + 1]; /* of each length in `symbols` */
    uint16_t symbols[DCZ_ALPHABET_LIMIT];
} code_order;

static void sort_symbols(const dcz_code *code, code_order *order)
{
    uint32_t counts[DCZ_LENGTH_LIMIT + 1] = {0}, before = 0;
    for (uint32_t symbol = 0; symbol < code->alphabet; symbol++) counts[code->lengths[symbol]]++;
    order->end[0] = 0;
    for (uint32_t length = 1; length <= DCZ_LENGTH_LIMIT; length++) {
        order->end[length] = before;
        before += counts[length];
    }
    for (uint32_t symbol = 0; symbol < code->alphabet; symbol++)
        if (code->lengths[symbol])
            order->symbols[order->end[code->lengths[symbol]]++] = (uint16_t)symbol;
}

static void repeat(uint8_t *table, size_t bytes)
{
    memcpy(table + bytes, table, bytes);
}

/* From length to length the table is repeated, which tells shorter codes apart from one more bit
 * in the same way, and the codes of that length get their places. */
static DCZ_ALWAYS_INLINE void fill_table(const dcz_decoder *decoder, uint32_t item_size)
{
    const uint32_t entry_size = dcz_entry_size(item_size);
    uint8_t *lengths = dcz_table_lengths(decoder);
    uint32_t done = 0, next = 0;
    code_order order;
    sort_symbols(&decoder->code, &order);
    for (uint32_t length = 1; length <= decoder->code.longest; length++) {
        repeat(decoder->table, (size_t)entry_size << (length - 1));
        repeat(lengths, (size_t)1 << (length - 1));
        next <<= 1;
        for (; done < order.end[length]; done++) {
            uint32_t symbol = order.symbols[done], i = reverse_bits(next++, length);
            uint64_t value = item_size == 8 ? symbol
                                            : dcz_value_at(decoder->values, item_size, symbol);
            dcz_put_value(decoder->table, entry_size, i, value);
            lengths[i] = (uint8_t)length;
        }
    }
}

void dcz_fill_symbol_table(const dcz_code *code, uint16_t *table)
{
    uint32_t done = 0, next = 0;
    code_order order;
    sort_symbols(code, &order);
    for (uint32_t length = 1; length <= code->longest; length++) {
        repeat((uint8_t *)table, sizeof *table << (length - 1));
        next <<= 1;
        for (; done < order.end[length]; done++) {
            uint32_t symbol = order.symbols[done];
            table[reverse_bits(next++, length)] = (uint16_t)(symbol << 4 | length);
        }
    }
    if (code->used == 1) table[1] = table[0]; /* its code is 0; let 1 mean the same */
}

size_t dcz_table_bytes(const dcz_code *code, uint32_t item_size)
{
    return (size_t)(dcz_entry_size(item_size) + 1) << code->longest;
}

void dcz_prepare(const dcz_decoder *decoder)
{
    switch (decoder->item_size) {
    case 1: fill_table(decoder, 1); return;
    case 2: fill_table(decoder, 2); return;
    case 4: fill_table(decoder, 4); return;
    default: fill_table(decoder, 8);
    }
}
