/* Context mixing of quantized weights; formats/FORMAT.md defines every step. */
#include "mixed.h"

#include <string.h>

#define INPUTS DCZ_MIXED_INPUTS
#define HALF ((uint32_t)1 << 31)
#define COUNT_LIMIT 1020
#define INITIAL_WEIGHT 1966
#define LARGEST 32767
#define LARGEST_BASE 8388608
#define MOST_RAW_BITS 16

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
        m->stretch[p] = (int16_t)(x < 1025 ? -2047 : x > 5119 ? 2047 : (int)x - 3072);
    }
    for (uint32_t i = 0; i < 21; i++) m->pace[i] = (uint16_t)(2 + 20 / (i + 1));
    for (uint32_t i = 0; i < DCZ_MIXED_RECIPROCALS; i++) {
        m->reciprocal[i] = 65536 / (i + 1);
        m->rate[i] = 655360 / (10 * i + 16);
    }
}

static void reset(dcz_mixed *m)
{
    make_tables(m);
    for (size_t i = 0; i < DCZ_MIXED_SLOTS; i++)
        for (size_t j = 0; j < DCZ_MIXED_BINS; j++) m->counters[i][j] = HALF;
    for (size_t i = 0; i < DCZ_MIXED_SETS; i++)
        for (size_t j = 0; j < INPUTS; j++)
            m->weights[0][i][j] = m->weights[1][i][j] = INITIAL_WEIGHT;
    memset(m->seen, 0, sizeof m->seen);
    memset(m->signed_weights, 0, sizeof m->signed_weights);
    static const int32_t scales[DCZ_MIXED_SCALES] = {0,    0,    39322, 2621, 2621, 3932, 1311,
                                                     1311, 2621, 1311,  1311, 1311, 7864, 0};
    memcpy(m->scale_weights, scales, sizeof scales);
    m->global = 256;
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
    if (bit) {
        c->range = bound;
    } else {
        c->low += bound;
        c->range -= bound;
        if (c->low >> 32) {
            carry(c);
            c->low &= 0xffffffff;
        }
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
    if (bit) {
        c->range = bound;
    } else {
        c->code -= bound;
        c->range -= bound;
    }
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
    uint32_t sets[2];
} context;

static inline int32_t limited(int32_t x) { return x > 32767 ? 32767 : x < -32768 ? -32768 : x; }

static inline void learn_weights(dcz_mixed *m, int which, uint32_t set, const int16_t *inputs,
                                 int32_t error)
{
    int16_t *weights = m->weights[which][set];
    uint32_t seen = m->seen[which][set];
    int16_t scaled = (int16_t)limited(error * (int32_t)m->pace[seen >> 6] >> 5);
    for (int i = 0; i < INPUTS; i++) {
        int16_t step = (int16_t)((int16_t)(16 * inputs[i]) * scaled >> 16);
        weights[i] = (int16_t)(weights[i] + ((step + 4) >> 3));
    }
    m->seen[which][set] = (uint16_t)(seen + (seen < 1343));
}

static inline void learn_counter(const dcz_mixed *m, uint32_t *counter, uint32_t mixed, int bit)
{
    uint32_t count = *counter & 1023;
    int32_t p = (int32_t)(count ? *counter >> 10 : mixed << 6);
    int32_t target = bit ? 4194303 : 0;
    p += (int32_t)((int64_t)(target - p) * m->rate[count] >> 16);
    *counter = (uint32_t)p << 10 | (count < COUNT_LIMIT ? count + 1 : count);
}

static inline int32_t mix(const int16_t *weights, const int16_t *inputs)
{
    int32_t sum = 0;
    for (int i = 0; i < INPUTS; i++) sum += weights[i] * inputs[i];
    return sum >> 14;
}

static inline int code_bit(dcz_mixed *m, coder *c, const context *x, uint32_t bin, int bit,
                           int decoding)
{
    int16_t inputs[INPUTS];
    uint32_t first = x->sets[0] + 48 * bin, second = x->sets[1] + 48 * bin;
    int32_t sum_one, sum_two;
    uint32_t p_one, p_two, p;
    for (int i = 0; i < INPUTS; i++) inputs[i] = m->stretch[x->counters[i][bin] >> 20];
    sum_one = mix(m->weights[0][first], inputs);
    sum_two = mix(m->weights[1][second], inputs);
    p_one = squash(m, sum_one);
    p_two = squash(m, sum_two);
    p = squash(m, (sum_one + sum_two) >> 1);
    if (decoding) bit = decode_bit(c, p);
    else encode_bit(c, p, bit);
    learn_weights(m, 0, first, inputs, (bit << 16) - (int32_t)p_one);
    learn_weights(m, 1, second, inputs, (bit << 16) - (int32_t)p_two);
    for (int i = 0; i < INPUTS; i++) learn_counter(m, &x->counters[i][bin], p, bit);
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
    uint32_t row_count, row_alive, zero_run, kernel_position;
} place;

/* What the neighbours say about the next weight. */
typedef struct {
    int32_t neighbours[9];
    int32_t scales[DCZ_MIXED_SCALES], values[DCZ_MIXED_SIGNED]; /* relative to `base`, 12 bits of fraction */
    uint32_t base;      /* expected magnitude from row and column, 8 bits of fraction */
    uint32_t reciprocal; /* 2^32 / base */
    int64_t scale, value; /* predicted, relative to `base`, 12 bits of fraction */
} outlook;

static inline uint32_t magnitude(int32_t x) { return (uint32_t)(x < 0 ? -x : x); }

static inline uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Which of 2^fine equal parts of its octave a number lies in. */
static inline uint32_t octave(uint32_t x, uint32_t fine)
{
    uint32_t top = fine;
    if (x < (uint32_t)1 << fine) return x;
#if defined(__GNUC__)
    top = 31 - (uint32_t)__builtin_clz(x);
#else
    while (x >> top > 1) top++;
#endif
    return ((top - fine + 1) << fine) + (x >> (top - fine)) - ((uint32_t)1 << fine);
}

static inline int32_t relative(const outlook *o, uint64_t x)
{
    uint64_t scaled = x * o->reciprocal >> 20;
    return scaled < 24576 ? (int32_t)scaled : 24576;
}

static inline int32_t relative_signed(const outlook *o, int64_t x)
{
    return x < 0 ? -relative(o, (uint64_t)-x) : relative(o, (uint64_t)x);
}

static inline int64_t dot(const int32_t *weights, const int32_t *values, int count)
{
    int64_t sum = 0;
    for (int i = 0; i < count; i++) sum += (int64_t)weights[i] * values[i];
    return sum >> 16;
}

static inline void look(const dcz_mixed *m, const place *s, outlook *o)
{
    uint64_t row = s->row_mean + 8, column = s->column->mean + 8;
    uint64_t product = row * column / (m->global + 8);
    o->base = (uint32_t)(product < LARGEST_BASE ? product : LARGEST_BASE) + 16;
    o->reciprocal = (uint32_t)(((uint64_t)1 << 32) / o->base);
    for (int i = 0; i < 9; i++) {
        int32_t x = s->at[-(ptrdiff_t)s->offsets[i]];
        o->neighbours[i] = x;
        o->scales[3 + i] = relative(o, (uint64_t)magnitude(x) << 8);
        o->values[i] = x < 0 ? -o->scales[3 + i] : o->scales[3 + i];
    }
    o->scales[0] = relative(o, s->row_mean);
    o->scales[1] = relative(o, s->column->mean);
    o->scales[2] = 4096;
    o->scales[12] = relative(o, s->recent);
    o->scales[13] = relative(o, m->global);
    o->values[9] = relative_signed(o, s->row_drift);
    o->values[10] = relative_signed(o, s->column->drift);
    o->values[11] = relative_signed(o, (int64_t)s->at[-(ptrdiff_t)(s->offsets[2] + s->offsets[1])] * 256);
    o->scale = dot(m->scale_weights, o->scales, DCZ_MIXED_SCALES);
    o->value = dot(m->signed_weights, o->values, DCZ_MIXED_SIGNED);
    if (o->scale < 410) o->scale = 410;
    if (o->scale > 65536) o->scale = 65536;
    if (o->value > 65536) o->value = 65536;
    if (o->value < -65536) o->value = -65536;
}

/* The contexts' first slots, each behind the one before. */
enum {
    SLOT_MEANS = 0,
    SLOT_LOCAL = SLOT_MEANS + 882,
    SLOT_LEFT = SLOT_LOCAL + 714,
    SLOT_ABOVE = SLOT_LEFT + 1024,
    SLOT_KERNEL = SLOT_ABOVE + 1024,
    SLOT_SCALE = SLOT_KERNEL + 1568,
    SLOT_VALUE = SLOT_SCALE + 242,
    SLOT_DEAD = SLOT_VALUE + 1984,
    SLOT_SIGN = SLOT_DEAD + 512
};

static inline uint32_t sevens(uint32_t a, uint32_t b, uint32_t c)
{
    return least(a, 7) + 8 * least(b, 7) + 64 * least(c, 7);
}

/* The slots and weight sets of everything but the sign. */
static inline void find_context(dcz_mixed *m, const place *s, const outlook *o, uint32_t q, context *x)
{
    const int32_t *n = o->neighbours;
    uint32_t left = magnitude(n[0]), back = magnitude(n[1]), above = magnitude(n[2]);
    uint32_t corner = magnitude(n[3]), other = magnitude(n[4]), higher = magnitude(n[5]);
    uint32_t second = magnitude(n[6]);
    uint32_t row = least(octave(s->row_mean >> 4, 2), 41), column = least(octave(s->column->mean >> 4, 2), 41);
    uint32_t means = least(octave(o->base >> 3, 3), 100);
    uint32_t local = least(octave((2 * left + second + back + 2 * above + corner + other + higher) * 4, 2), 50);
    uint32_t predicted = (uint32_t)((uint64_t)o->scale * o->base >> 12);
    uint32_t scale = least(octave(predicted >> 2, 3), 120);
    uint32_t value = least(octave((uint32_t)(o->value < 0 ? -o->value : o->value) >> 7, 1), 15);
    uint32_t dead = s->column->alive ? 0 : 1 + least(octave(s->column->rows, 0), 6);
    uint32_t slots[INPUTS] = {
        SLOT_MEANS + q + 2 * (row / 2 + 21 * (column / 2)),
        SLOT_LOCAL + q + 2 * (local + 51 * (means / 16)),
        SLOT_LEFT + q + 2 * sevens(left, back, second),
        SLOT_ABOVE + q + 2 * sevens(above, higher, corner),
        SLOT_KERNEL + q + 2 * (least(octave(left + above, 2), 15) + 16 * s->kernel_position),
        SLOT_SCALE + q + 2 * scale,
        SLOT_VALUE + q + 2 * (value + 16 * (scale / 4)),
        SLOT_DEAD + q + 2 * (least(octave(s->zero_run, 1), 15) + 16 * (dead + 8 * s->row_alive)),
    };
    for (int i = 0; i < INPUTS; i++) x->counters[i] = m->counters[slots[i]];
    x->sets[0] = q + 2 * least(scale / 4, 23);
    x->sets[1] = q + 2 * least(local / 2, 23);
}

static inline uint32_t three(int32_t x) { return (uint32_t)(1 + (x > 0) - (x < 0)); }

static inline uint32_t clipped(int32_t x) { return (uint32_t)((x > 8 ? 8 : x < -8 ? -8 : x) + 8); }

static inline void find_sign_context(dcz_mixed *m, const place *s, const outlook *o, context *x)
{
    const int32_t *n = o->neighbours;
    uint32_t size = least(octave((uint32_t)(o->value < 0 ? -o->value : o->value) >> 7, 1), 15);
    uint32_t value = o->value < 0 ? 15 - size : 16 + size;
    uint32_t slots[INPUTS] = {
        three(n[0]) + 3 * three(n[1]) + 9 * three(n[2]) + 27 * three(n[6]),
        81 + three(n[2]) + 3 * three(n[3]) + 9 * three(n[4]) + 27 * three(n[5]),
        162 + value,
        194 + three(n[2]) + 3 * s->kernel_position,
        341 + clipped(n[0]),
        358 + clipped(n[2]),
        375 + clipped(n[1]),
        392 + three(n[7]) + 3 * three(n[8]) + 9 * three(n[0]),
    };
    for (int i = 0; i < INPUTS; i++) x->counters[i] = m->counters[SLOT_SIGN + slots[i]];
    x->sets[0] = 768;
    x->sets[1] = 768 + value;
}

/* ---- learning from a weight ---- */

static inline void adapt(int32_t *weights, const int32_t *values, int count, int64_t error)
{
    for (int i = 0; i < count; i++)
        weights[i] = (int32_t)((uint32_t)weights[i] + (uint32_t)(int32_t)((error * values[i] + 262144) >> 19));
}

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
    adapt(m->scale_weights, o->scales, DCZ_MIXED_SCALES, target - o->scale);
    adapt(m->signed_weights, o->values, DCZ_MIXED_SIGNED, (x < 0 ? -target : target) - o->value);
    s->row_count += s->row_count < 64;
    share = m->reciprocal[s->row_count];
    s->row_mean = (uint32_t)towards(s->row_mean, size, share);
    s->row_drift = towards(s->row_drift, (int64_t)x * 256, share);
    s->row_alive |= x != 0;
    s->recent = (uint32_t)towards(s->recent, size, 6554);
    s->zero_run = x ? 0 : s->zero_run + 1;
    column->alive |= x != 0;
    share = m->reciprocal[least(column->rows + 1u, 32)];
    column->mean = (uint32_t)towards(column->mean, size, share);
    column->drift = towards(column->drift, (int64_t)x * 256, share);
    column->rows = (uint16_t)(column->rows + (column->rows < 65535));
    m->global = (uint32_t)towards(m->global, size, 256);
    *s->at++ = (int16_t)x;
}

/* ---- one weight ---- */

/* The magnitude above 1: one by one up to 8, then in intervals of 2, 2, 4, 4, 8, 8, ... */
static inline uint32_t code_magnitude(dcz_mixed *m, coder *c, const context *x, uint32_t size, int decoding)
{
    uint32_t bin = 1, low = 1, bits = 0;
    for (; bin < 8; bin++, low++)
        if (!code_bit(m, c, x, bin, size > low, decoding)) return low;
    for (bits = 1;; bin++) {
        if (bin > 8 && (bin & 1) == 0) bits++;
        if (bits == MOST_RAW_BITS) break;
        if (!code_bit(m, c, x, least(bin, 15), size >= low + ((uint32_t)1 << bits), decoding)) break;
        low += (uint32_t)1 << bits;
    }
    for (uint32_t i = bits; i-- > 0;) {
        if (decoding) low += (uint32_t)decode_bit(c, 32768) << i;
        else encode_bit(c, 32768, (size - low) >> i & 1);
    }
    return decoding ? low : size;
}

static inline int32_t code_level(dcz_mixed *m, coder *c, const place *s, const outlook *o,
                                 uint32_t q, int32_t level, int decoding)
{
    context x, sign;
    int negative;
    uint32_t size = magnitude(level);
    find_context(m, s, o, q, &x);
    if (!code_bit(m, c, &x, 0, level != 0, decoding)) return 0;
    find_sign_context(m, s, o, &sign);
    negative = code_bit(m, c, &sign, 0, level < 0, decoding);
    if (negative != (o->value < 0)) x.counters[6] += 992 * DCZ_MIXED_BINS;
    size = code_magnitude(m, c, &x, size, decoding);
    return negative ? -(int32_t)size : (int32_t)size;
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
    s->at = history + before;
}

static inline uint32_t next_state(dcz_trellis t, uint32_t state, int32_t level)
{
    return state >> 1 ^ (level & 1 ? t.odd : 0) ^ (state & 1 ? t.low : 0);
}

static inline int32_t position_of(int32_t level, uint32_t state)
{
    int32_t low = (int32_t)(state & 1);
    return 2 * level - (level > 0 ? low : level < 0 ? -low : 0);
}

static inline int32_t level_of(int32_t position, uint32_t state)
{
    int32_t low = (int32_t)(state & 1);
    return position < 0 ? -((low - position) >> 1) : (position + low) >> 1;
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
    size_t column = g->start % g->row, in_kernel = column % g->kernel;
    for (size_t i = 0; i < g->numel; i++) {
        outlook o;
        int32_t level;
        if (column == g->row) {
            column = 0;
            s->row_count = s->row_alive = 0;
        }
        if (in_kernel == g->kernel) in_kernel = 0;
        s->column = columns + column;
        s->kernel_position = least((uint32_t)in_kernel, 48);
        look(m, s, &o);
        level = code_level(m, c, s, &o, state & 1, decoding ? 0 : level_of(given[i], state),
                           decoding);
        learn(m, s, &o, position_of(level, state));
        if (decoding) positions[i] = position_of(level, state);
        state = next_state(trellis, state, level);
        column++;
        in_kernel++;
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

size_t dcz_mixed_encode(dcz_mixed *model, const dcz_chunk *chunk, dcz_trellis trellis,
                        int16_t *history, dcz_column *columns, const int32_t *positions,
                        uint8_t *out, size_t capacity)
{
    coder c = {0, 0xffffffff, 0, NULL, out, 0, capacity};
    place s;
    reset(model);
    start_chunk(&s, chunk, history, columns);
    code_chunk(model, &c, chunk, trellis, &s, columns, positions, NULL, 0);
    return finish(&c);
}

int dcz_mixed_decode(dcz_mixed *model, const dcz_chunk *chunk, dcz_trellis trellis,
                     int16_t *history, dcz_column *columns, const uint8_t *data, size_t size,
                     int32_t *positions)
{
    coder c = {0, 0xffffffff, 0, data, NULL, 0, size};
    place s;
    reset(model);
    start_chunk(&s, chunk, history, columns);
    for (int i = 0; i < 4; i++, c.position++)
        c.code = c.code << 8 | (c.position < size ? data[c.position] : 0u);
    code_chunk(model, &c, chunk, trellis, &s, columns, NULL, positions, 1);
    return c.position >= size;
}
