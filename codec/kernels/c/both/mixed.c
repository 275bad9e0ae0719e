/* Context mixing of quantized weights; formats/FORMAT.md defines every step. */
#include "mixed.h"

#include <string.h>

#include "mixing.h"

#define INPUTS DCZ_MIXED_INPUTS
#define HALF ((uint32_t)1 << 31)
#define COUNT_LIMIT 1020
#define INITIAL_WEIGHT 2900
#define LARGEST 32767
#define LARGEST_BASE 8388608
#define TRIED_SIGNS 16384
#define LEAST_GAIN (458 * TRIED_SIGNS)
#define MOST_RAW_BITS 16
#define LARGEST_LEVEL 131072
#define MOST_LOW_BITS 10
#define FINE_NODES 16

/* The contexts' first slots, each behind the one before. */
enum {
    SLOT_SIZE = 0,
    SLOT_VALUE = SLOT_SIZE + 242,
    SLOT_MEANS = SLOT_VALUE + 1984,
    SLOT_DEAD = SLOT_MEANS + 882,
    SLOT_SIGN = SLOT_DEAD + 512,
    SLOT_PLACE = SLOT_SIGN + 157,
    SLOT_NEAR = SLOT_PLACE + 576,
    SLOT_DENSITY = SLOT_NEAR + 64,
    SLOT_ORDER_0 = SLOT_DENSITY + 1760
};

/* ---- tables ---- */

static void make_tables(dcz_mixed *m)
{
    uint64_t power = (uint64_t)1 << 40; /* 2^40 * exp(-i / 256) */
    uint32_t x = 0;
    for (uint32_t i = 0; i <= 3071; i++) {
        uint64_t p = ((uint64_t)1 << 56) / (((uint64_t)1 << 40) + power);
        m->squash[3072 + i] = (uint16_t)p;
        m->squash[3072 - i] = (uint16_t)(65536 - p);
        power = power * 16711808 >> 24;
    }
    m->squash[0] = m->squash[1];
    for (uint32_t p = 0; p < 4096; p++) {
        while (x < 6143 && m->squash[x] < 16 * p + 8) x++;
        m->stretch[p] = (int16_t)((int)x - 3072);
    }
    for (uint32_t i = 0; i < 65; i++) m->share[i] = 65536 / (i + 1);
    for (uint32_t i = 0; i < 256; i++) m->reciprocal[i] = (uint16_t)(16777215 / (256 + i));
    for (uint32_t i = 0; i < 21; i++) m->pace[i] = (uint16_t)(2 + 20 / (i + 1));
}

static void reset(dcz_mixed *m, int grouped)
{
    make_tables(m);
    for (size_t i = 0; i < (grouped ? DCZ_MIXED_SLOTS : (size_t)SLOT_PLACE); i++)
        for (size_t j = 0; j < DCZ_MIXED_BINS; j++) m->counters[i][j] = HALF;
    for (size_t i = 0; i < DCZ_MIXED_FINE; i++) m->fine[i] = HALF;
    memset(m->sets, 0, sizeof m->sets);
    for (size_t i = 0; i < DCZ_MIXED_SETS; i++)
        for (size_t j = 0; j < INPUTS; j++) m->sets[i].weights[j] = INITIAL_WEIGHT;
    memset(m->value_weights, 0, sizeof m->value_weights);
    static const int32_t scales[DCZ_MIXED_TERMS] = {
        2621, 2621, 3932, 1311, 1311, 2621, 1311, 1311, 1311, 0, 0, 39322, 7864};
    memcpy(m->scale_weights, scales, sizeof scales);
    m->global = 256;
    m->signs = m->gain = 0;
}

/* ---- the range coder ---- */

typedef struct {
    uint64_t low;
    uint32_t range, code;
    const uint8_t *data;
    uint8_t *out;
    size_t position, size; /* position may pass size: an encoder then counts, a decoder reads zeros */
} coder;

static void carry(coder *c)
{
    size_t i = c->position;
    while (i > 0) {
        i--;
        if (i < c->size && ++c->out[i] != 0) return;
    }
}

static inline void encode_bit(coder *c, uint32_t probability, int bit)
{
    uint32_t bound = (uint32_t)((uint64_t)c->range * probability >> 16);
    uint32_t zero = (uint32_t)(bit != 0) - 1; /* without a branch, as below */
    c->low += bound & zero;
    c->range = bound + ((c->range - 2 * bound) & zero);
    if (c->low >> 32) {
        carry(c);
        c->low &= 0xffffffff;
    }
    while (c->range < (uint32_t)1 << 24) {
        if (c->position < c->size) c->out[c->position] = (uint8_t)(c->low >> 24);
        c->position++;
        c->low = c->low << 8 & 0xffffffff;
        c->range <<= 8;
    }
}

static inline int decode_bit(coder *c, uint32_t probability)
{
    uint32_t bound = (uint32_t)((uint64_t)c->range * probability >> 16);
    int bit = c->code < bound;
    /* Without a branch: no processor could foretell it. */
    uint32_t zero = (uint32_t)bit - 1;
    c->code -= bound & zero;
    c->range = bound + ((c->range - 2 * bound) & zero);
    while (c->range < (uint32_t)1 << 24) {
        uint32_t byte = c->position < c->size ? c->data[c->position] : 0;
        c->position++;
        c->code = c->code << 8 | byte;
        c->range <<= 8;
    }
    return bit;
}

/* ---- mixing ---- */

static inline uint32_t squash(const dcz_mixed *m, int32_t x)
{
    return m->squash[3072 + (x > 3071 ? 3071 : x < -3071 ? -3071 : x)];
}

/* Everything one binary decision is predicted from. */
typedef struct {
    uint32_t *counters[INPUTS];
    uint32_t set;
} context;

static inline int32_t limited(int32_t x) { return x > 32767 ? 32767 : x < -32768 ? -32768 : x; }

#define STRETCHED(i) m->stretch[counters[i] >> 20]

static inline int code_bit(dcz_mixed *m, coder *c, const context *x, uint32_t bin, int bit,
                           int decoding)
{
    int16_t inputs[8];
    uint32_t counters[INPUTS], p;
    dcz_weights *set = &m->sets[x->set + 48 * bin];
    for (int i = 0; i < INPUTS; i++) counters[i] = x->counters[i][bin];
    put_eight(inputs, STRETCHED(0), STRETCHED(1), STRETCHED(2), STRETCHED(3), 0, 0, 0, 0);
    m->predicted = p = squash(m, mix(inputs, set->weights) >> 14);
    if (decoding) bit = decode_bit(c, p);
    else encode_bit(c, p, bit);
    move_weights(set->weights, inputs,
                 ((bit << 16) - (int32_t)p) * (int32_t)m->pace[set->seen >> 6] >> 6);
    set->seen = (uint16_t)(set->seen + (set->seen < 1343));
    move_counters(counters, bit, (int32_t)p << 6, COUNT_LIMIT);
    for (int i = 0; i < INPUTS; i++) x->counters[i][bin] = counters[i];
    return bit;
}

/* A bit that one counter predicts. */
static inline int code_simply(coder *c, uint32_t *counter, int bit, int decoding)
{
    uint32_t n = *counter & 1023, p = *counter >> 16 ? *counter >> 16 : 1;
    int32_t away;
    if (decoding) bit = decode_bit(c, p);
    else encode_bit(c, p, bit);
    away = ((bit ? 4194303 : 127) - (int32_t)(*counter >> 10)) >> 7;
    *counter += (uint32_t)(away * (int32_t)(65536 / (2 * n + 3)) >> 8) << 10;
    *counter += n < COUNT_LIMIT;
    return bit;
}

/* ---- what a weight is predicted from ---- */

/* Where the model stands in a tensor. */
typedef struct {
    size_t offsets[9]; /* of the neighbours: how far they lie behind */
    int16_t *at;       /* the position that comes next, in the history */
    dcz_column *column;
    uint32_t row_mean, recent; /* magnitudes, 8 bits of fraction */
    int32_t row_drift;         /* signed, 8 bits of fraction */
    uint32_t row_count, zero_run;
    uint32_t row_nonzero, kernel_nonzero; /* seen in this row, and in this kernel */
    uint32_t in_row, in_kernel;           /* elements before this one */
    uint32_t grouped, member;             /* whether one of several tensors, and which */
    uint32_t kernel;
} place;

/* What the neighbours say about the next weight. Relative to `base` are scales, values and what is
 * predicted from them, with 12 bits of fraction. */
typedef struct {
    int16_t neighbours[9];
    int16_t scales[DCZ_MIXED_TERMS], values[DCZ_MIXED_TERMS];
    uint32_t base; /* expected magnitude from row and column, 8 bits of fraction */
    uint32_t reciprocal, shift; /* x / base is x * reciprocal >> shift */
    int32_t scale, value;
    uint32_t size, strength; /* of the magnitude and of the value predicted, as contexts have it */
} outlook;

static inline uint32_t magnitude(int32_t x) { return (uint32_t)(x < 0 ? -x : x); }

static inline uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* The place of the highest bit of a number that is not 0. */
static inline uint32_t top_bit(uint32_t x)
{
#if defined(__GNUC__)
    return 31 - (uint32_t)__builtin_clz(x);
#else
    uint32_t top = 0;
    while (x >> top > 1) top++;
    return top;
#endif
}

/* Which of 2^fine equal parts of its octave a number lies in; itself, if it is below 2^fine. */
static inline uint32_t octave(uint32_t x, uint32_t fine)
{
    uint32_t top = top_bit(x | (uint32_t)1 << fine);
    return ((top - fine + 1) << fine) + (x >> (top - fine)) - ((uint32_t)1 << fine);
}

/* x / y is about x * reciprocal >> shift. */
static inline uint32_t reciprocal_of(const dcz_mixed *m, uint32_t y, uint32_t *shift)
{
    uint32_t top = top_bit(y);
    *shift = 16 + top;
    return m->reciprocal[(top < 8 ? y << (8 - top) : y >> (top - 8)) & 255];
}

static inline int16_t relative(const outlook *o, uint32_t x)
{
    uint64_t scaled = (uint64_t)x * o->reciprocal >> (o->shift - 12);
    return (int16_t)(scaled < DCZ_MIXED_LARGEST ? scaled : DCZ_MIXED_LARGEST);
}

static inline int16_t relative_signed(const outlook *o, int32_t x)
{
    int32_t sign = -(x < 0);
    return (int16_t)((relative(o, (uint32_t)((x ^ sign) - sign)) ^ sign) - sign);
}

static inline void find_base(const dcz_mixed *m, const place *s, outlook *o)
{
    uint64_t product = (uint64_t)(s->row_mean + 8) * (s->column->mean + 8);
    uint32_t shift, reciprocal = reciprocal_of(m, m->global + 8, &shift);
    product = product * reciprocal >> shift;
    o->base = (uint32_t)(product < LARGEST_BASE ? product : LARGEST_BASE) + 16;
    o->reciprocal = reciprocal_of(m, o->base, &o->shift);
}

static inline int behind(const place *s, size_t offset) { return s->at[-(ptrdiff_t)offset]; }

static inline void look(const dcz_mixed *m, const place *s, outlook *o)
{
    const size_t *at = s->offsets;
    int16_t ninth;
    if (s->column->rows == 0) s->column->mean = m->global;
    find_base(m, s, o);
    put_eight(o->neighbours, behind(s, at[0]), behind(s, at[1]), behind(s, at[2]),
              behind(s, at[3]), behind(s, at[4]), behind(s, at[5]), behind(s, at[6]),
              behind(s, at[7]));
    o->neighbours[8] = (int16_t)behind(s, at[8]);
    scale_eight(o->neighbours, o->reciprocal, o->shift - 20, o->scales, o->values);
    ninth = relative_signed(o, o->neighbours[8] * 256);
    put_eight(o->values + 8, ninth, relative_signed(o, s->row_drift),
              relative_signed(o, s->column->drift),
              relative_signed(o, behind(s, at[2] + at[1]) * 256), 0, 0, 0, 0);
    put_eight(o->scales + 8, ninth < 0 ? -ninth : ninth, relative(o, s->row_mean),
              relative(o, s->column->mean), 4096, relative(o, s->recent), relative(o, m->global),
              0, 0);
    o->scale = predict(m->scale_weights, o->scales);
    o->value = predict(m->value_weights, o->values);
    if (o->scale < 410) o->scale = 410;
    if (o->scale > 65536) o->scale = 65536;
    o->size = least(octave((uint32_t)((uint64_t)o->scale * o->base >> 14), 3), 120);
    o->strength = least(octave(magnitude(o->value) >> 7, 1), 15);
}

/* The slots and the weight set of everything but the sign. */
static inline void find_context(dcz_mixed *m, const place *s, const outlook *o, uint32_t q, context *x)
{
    uint32_t row = least(octave(s->row_mean >> 4, 2), 41) / 2;
    uint32_t column = least(octave(s->column->mean >> 4, 2), 41) / 2;
    uint32_t dead = s->column->nonzero ? 0 : 1 + least(octave(s->column->rows, 0), 6);
    uint32_t run = least(octave(s->zero_run, 1), 15);
    x->counters[0] = m->counters[SLOT_SIZE + q + 2 * o->size];
    x->counters[1] = m->counters[SLOT_VALUE + q + 2 * (o->strength + 16 * (o->size / 4))];
    x->counters[2] = m->counters[SLOT_MEANS + q + 2 * (row + 21 * column)];
    x->counters[3] = m->counters[SLOT_DEAD + q + 2 * (run + 16 * (dead + 8 * (s->row_nonzero != 0)))];
    x->set = q + 2 * least(o->size / 4, 23);
}

/* Of several tensors: the slots of whether a weight is zero, and the set of all but the sign. */
static inline void find_sparse_context(dcz_mixed *m, const place *s, const outlook *o, context *x)
{
    const int16_t *n = o->neighbours;
    uint32_t seen = s->column->nonzero;
    uint32_t near = (uint32_t)((n[0] != 0) + 2 * (n[1] != 0) + 4 * (n[2] != 0) + 8 * (n[5] != 0)
                               + 16 * (n[6] != 0) + 32 * (n[7] != 0));
    uint32_t place = s->kernel > 1
                         ? least(s->kernel_nonzero, 4) + 5 * least(s->in_kernel, 63)
                         : 320 + least(seen, 15) + 16 * least(octave(s->column->rows, 1), 15);
    uint32_t density = least(octave(s->row_nonzero, 1), 10)
                       + 11 * (least(octave(s->in_row, 0), 19) + 20 * least(seen, 7));
    x->counters[0] = m->counters[SLOT_PLACE + place];
    x->counters[1] = m->counters[SLOT_NEAR + near];
    x->counters[2] = m->counters[SLOT_DENSITY + density];
    x->set = 0;
}

/* Of several tensors: the slots of a magnitude. */
static inline void find_magnitude_context(dcz_mixed *m, const place *s, const context *all,
                                          context *x)
{
    x->counters[0] = all->counters[0];
    x->counters[2] = all->counters[2];
    x->counters[1] = m->counters[SLOT_ORDER_0];
    x->counters[3] = m->counters[SLOT_ORDER_0 + 1 + s->member];
}

static inline uint32_t three(int32_t x) { return (uint32_t)(1 + (x > 0) - (x < 0)); }

static inline uint32_t clipped(int32_t x) { return (uint32_t)((x > 8 ? 8 : x < -8 ? -8 : x) + 8); }

static inline void find_sign_context(dcz_mixed *m, const outlook *o, context *x)
{
    const int16_t *n = o->neighbours;
    uint32_t value = o->value < 0 ? 15 - o->strength : 16 + o->strength;
    uint32_t slots[INPUTS] = {
        value,
        32 + three(n[0]) + 3 * three(n[1]) + 9 * three(n[2]) + 27 * three(n[6]),
        113 + clipped(n[2]),
        130 + three(n[7]) + 3 * three(n[8]) + 9 * three(n[0]),
    };
    for (int i = 0; i < INPUTS; i++) x->counters[i] = m->counters[SLOT_SIGN + slots[i]];
    x->set = 768;
}

/* ---- learning from a weight ---- */

/* Moves a mean towards a value by the share `reciprocal` / 65536. */
static inline int32_t towards(int64_t mean, int64_t value, uint32_t reciprocal)
{
    return (int32_t)(mean + ((value - mean) * reciprocal >> 16));
}

static inline void learn(dcz_mixed *m, place *s, const outlook *o, int32_t position)
{
    int32_t x = position > LARGEST ? LARGEST : position < -LARGEST ? -LARGEST : position;
    uint32_t size = magnitude(x) << 8;
    int32_t target = relative(o, size);
    dcz_column *column = s->column;
    uint32_t share;
    adapt(m->scale_weights, o->scales, limited(target - o->scale));
    adapt(m->value_weights, o->values, limited((x < 0 ? -target : target) - o->value));
    s->row_count += s->row_count < 64;
    share = m->share[s->row_count];
    s->row_mean = (uint32_t)towards(s->row_mean, size, share);
    s->row_drift = towards(s->row_drift, (int64_t)x * 256, share);
    s->row_nonzero += x != 0;
    s->kernel_nonzero += x != 0;
    s->recent = (uint32_t)towards(s->recent, size, 6554);
    s->zero_run = x ? 0 : s->zero_run + 1;
    column->nonzero = (uint16_t)(column->nonzero + (x != 0 && column->nonzero < 65535));
    share = m->share[least(column->rows + 2u, 64)];
    column->mean = (uint32_t)towards(column->mean, size, share);
    column->drift = towards(column->drift, (int64_t)x * 256, share);
    column->rows = (uint16_t)(column->rows + (column->rows < 65535));
    m->global = (uint32_t)towards(m->global, size, 256);
    *s->at++ = (int16_t)x;
}

/* ---- one weight ---- */

/* A number above 0: one by one up to 8, then in intervals of 2, 2, 4, 4, 8, 8, ... */
static inline uint32_t code_number(dcz_mixed *m, coder *c, const context *x, uint32_t number,
                                   int decoding)
{
    uint32_t bin = 1, low = 1, bits = 1;
    for (; bin < 8; bin++, low++)
        if (!code_bit(m, c, x, bin, number > low, decoding)) return low;
    for (;; bin++) {
        if (bin > 8 && (bin & 1) == 0) bits++;
        if (bits == MOST_RAW_BITS) break;
        if (!code_bit(m, c, x, least(bin, 15), number >= low + ((uint32_t)1 << bits), decoding)) break;
        low += (uint32_t)1 << bits;
    }
    for (uint32_t i = bits; i-- > 0;) {
        if (decoding) low += (uint32_t)decode_bit(c, 32768) << i;
        else encode_bit(c, 32768, (number - low) >> i & 1);
    }
    return decoding ? low : number;
}

/* A magnitude above 0: as many of its lower bits as the prediction makes nearly uniform apart. */
static inline uint32_t code_magnitude(dcz_mixed *m, coder *c, const context *x, const outlook *o,
                                      uint32_t magnitude, int decoding)
{
    uint32_t predicted = (uint32_t)((uint64_t)o->scale * o->base >> 21);
    uint32_t bits = least(top_bit(predicted | 1), MOST_LOW_BITS), node = 1, rest = magnitude - 1;
    uint32_t upper = code_number(m, c, x, (rest >> bits) + 1, decoding) - 1, found = upper;
    uint32_t *counters = m->fine + FINE_NODES * (4 * o->size + least(upper, 3));
    for (uint32_t i = bits; i-- > 0;) {
        int bit = (int)(rest >> i & 1);
        if (node < FINE_NODES) bit = code_simply(c, counters + node, bit, decoding);
        else if (decoding) bit = decode_bit(c, 32768);
        else encode_bit(c, 32768, bit);
        node = 2 * node + (uint32_t)bit;
        found = 2 * found + (uint32_t)bit;
    }
    return least(found + 1, LARGEST_LEVEL);
}

/* A sign; once enough of them have shown that nothing foretells them, without a context. */
static inline int code_sign(dcz_mixed *m, coder *c, const outlook *o, int negative, int decoding)
{
    context x;
    if (m->signs == TRIED_SIGNS && m->gain < LEAST_GAIN) {
        if (decoding) return decode_bit(c, 32768);
        encode_bit(c, 32768, negative);
        return negative;
    }
    find_sign_context(m, o, &x);
    negative = code_bit(m, c, &x, 0, negative, decoding);
    if (m->signs < TRIED_SIGNS) {
        m->signs++;
        m->gain += negative ? (int32_t)m->predicted - 32768 : 32768 - (int32_t)m->predicted;
    }
    return negative;
}

static inline int32_t code_level(dcz_mixed *m, coder *c, const place *s, const outlook *o,
                                 uint32_t q, int32_t level, int decoding)
{
    context x, of_sizes;
    int negative;
    uint32_t size = magnitude(level);
    find_context(m, s, o, q, &x);
    if (s->grouped) {
        of_sizes = x;
        find_sparse_context(m, s, o, &x);
    }
    if (!code_bit(m, c, &x, 0, level != 0, decoding)) return 0;
    negative = code_sign(m, c, o, level < 0, decoding);
    if (s->grouped) find_magnitude_context(m, s, &of_sizes, &x);
    else if (negative != (o->value < 0)) x.counters[1] += 992 * DCZ_MIXED_BINS;
    size = code_magnitude(m, c, &x, o, size, decoding);
    return ((int32_t)size ^ -negative) + negative;
}

/* ---- chunks ---- */

static void start_chunk(place *s, const dcz_chunk *g, int16_t *history, dcz_column *columns)
{
    size_t kernel = g->kernel, row = g->row;
    size_t offsets[9] = {1, kernel > 1 ? kernel : 3, row, row - 1, row + 1, 2 * row, 2,
                         g->width < kernel && g->width > 1 ? g->width : 4,
                         kernel > 1 ? kernel - 1 : row + 2};
    size_t before = 2 * row + DCZ_MIXED_MARGIN / 2;
    memset(s, 0, sizeof *s);
    memcpy(s->offsets, offsets, sizeof offsets);
    memset(history, 0, (g->numel + before + DCZ_MIXED_MARGIN / 2) * sizeof *history);
    memset(columns, 0, row * sizeof *columns);
    s->kernel = (uint32_t)kernel;
    s->in_row = (uint32_t)(g->start % row);
    s->in_kernel = (uint32_t)(g->start % kernel);
    s->at = history + before;
}

/* Goes to another one of several tensors: the weights learn quickly again. */
static void start_member(dcz_mixed *m, place *s, size_t number)
{
    s->grouped = 1;
    s->member = (uint32_t)(number < 22 ? number : 22);
    for (size_t bin = 0; bin < DCZ_MIXED_BINS; bin++) m->sets[48 * bin].seen = 0;
}

static inline uint32_t next_state(dcz_trellis t, uint32_t state, int32_t level)
{
    return state >> 1 ^ (level & 1 ? t.odd : 0) ^ (state & 1 ? t.low : 0);
}

static inline int32_t position_of(int32_t level, uint32_t state)
{
    int32_t low = (int32_t)(state & 1);
    return 2 * level - low * ((level > 0) - (level < 0));
}

static inline int32_t level_of(int32_t position, uint32_t state)
{
    int32_t size = (int32_t)((magnitude(position) + (state & 1)) >> 1);
    return position < 0 ? -size : size;
}

int dcz_mixed_codable(dcz_trellis trellis, const int32_t *positions, size_t numel)
{
    uint32_t state = 0;
    for (size_t i = 0; i < numel; i++) {
        int32_t level, position = positions[i];
        if (position > DCZ_MIXED_POSITION_LIMIT || position < -DCZ_MIXED_POSITION_LIMIT) return 0;
        level = level_of(position, state);
        if (position_of(level, state) != position) return 0;
        state = next_state(trellis, state, level);
    }
    return 1;
}

static inline void code_chunk(dcz_mixed *m, coder *c, const dcz_chunk *g, dcz_trellis trellis,
                              place *s, dcz_column *columns, const int32_t *given,
                              int32_t *positions, int decoding)
{
    uint32_t state = 0;
    for (size_t i = 0; i < g->numel; i++) {
        outlook o;
        int32_t level;
        if (s->in_row == g->row) s->in_row = s->row_count = s->row_nonzero = 0;
        if (s->in_kernel == g->kernel) s->in_kernel = s->kernel_nonzero = 0;
        s->column = columns + s->in_row;
        look(m, s, &o);
        level = code_level(m, c, s, &o, state & 1, decoding ? 0 : level_of(given[i], state),
                           decoding);
        learn(m, s, &o, position_of(level, state));
        if (decoding) positions[i] = position_of(level, state);
        state = next_state(trellis, state, level);
        s->in_row++;
        s->in_kernel++;
    }
}

/* Ends the code with the fewest bytes that decode with zeros behind them. */
static size_t finish(coder *c)
{
    uint64_t last = c->low + c->range - 1;
    for (uint32_t bits = 32; bits > 0; bits -= 8) {
        uint64_t rounded = last >> bits << bits;
        if (rounded < c->low) continue;
        c->low = rounded;
        break;
    }
    if (c->low >> 32) carry(c);
    for (int i = 0; i < 4; i++, c->position++, c->low <<= 8)
        if (c->position < c->size) c->out[c->position] = (uint8_t)(c->low >> 24);
    if (c->position > c->size) return c->position;
    while (c->position > 0 && c->out[c->position - 1] == 0) c->position--;
    return c->position;
}

size_t dcz_mixed_encode(dcz_mixed *model, const dcz_chunks *chunks, dcz_trellis trellis,
                        const int32_t *positions, uint8_t *out, size_t capacity)
{
    coder c = {0, 0xffffffff, 0, NULL, out, 0, capacity};
    reset(model, chunks->grouped);
    for (size_t i = 0; i < chunks->count; i++) {
        const dcz_chunk *chunk = chunks->all + i;
        place s;
        start_chunk(&s, chunk, chunks->history, chunks->columns);
        if (chunks->grouped) start_member(model, &s, i);
        code_chunk(model, &c, chunk, trellis, &s, chunks->columns, positions, NULL, 0);
        positions += chunk->numel;
    }
    return finish(&c);
}

int dcz_mixed_decode(dcz_mixed *model, const dcz_chunks *chunks, dcz_trellis trellis,
                     const uint8_t *data, size_t size, int32_t *positions)
{
    coder c = {0, 0xffffffff, 0, data, NULL, 0, size};
    reset(model, chunks->grouped);
    for (int i = 0; i < 4; i++, c.position++)
        c.code = c.code << 8 | (c.position < size ? data[c.position] : 0u);
    for (size_t i = 0; i < chunks->count; i++) {
        const dcz_chunk *chunk = chunks->all + i;
        place s;
        start_chunk(&s, chunk, chunks->history, chunks->columns);
        if (chunks->grouped) start_member(model, &s, i);
        code_chunk(model, &c, chunk, trellis, &s, chunks->columns, NULL, positions, 1);
        positions += chunk->numel;
    }
    return c.position >= size;
}
