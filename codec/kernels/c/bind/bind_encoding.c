/* Python's way to the encoding kernels: every check of an argument and every allocation. The
 * results' arrays are the caller's (native_coding.py makes them with NumPy). */
#include "bind_arguments.h"

#include <string.h>

#include "coding.h"

/* ---- count_symbols ---- */

static PyObject *count_checked(Py_buffer *symbols, unsigned item_size, Py_buffer *counts)
{
    size_t alphabet = items(counts, 8);
    uint64_t *scratch;
    int known;
    if (!is_symbol_size(item_size) || !is_array(symbols, item_size) || !is_array(counts, 8))
        return NULL;
    if (alphabet < 1 || alphabet > 65536)
        return fail("the alphabet must have 1 to 65536 symbols");
    scratch = PyMem_Malloc(4 * alphabet * sizeof *scratch);
    if (!scratch) return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    known = dcz_count_symbols(symbols->buf, items(symbols, item_size), item_size,
                              (uint32_t)alphabet, scratch, counts->buf);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    if (!known) return fail("a symbol is outside the alphabet");
    Py_RETURN_NONE;
}

static PyObject *count_symbols(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    unsigned item_size;
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*Iw*", &b[0], &item_size, &b[1]))
        result = count_checked(&b[0], item_size, &b[1]);
    release(b, 2);
    return result;
}

/* ---- split_sparse ---- */

typedef struct {
    Py_buffer indices, gaps, levels, gap_starts, level_starts;
} split_buffers;

static void split_blocks(split_buffers *b, unsigned item_size, size_t span, uint32_t filler)
{
    size_t count = items(&b->indices, item_size), gaps = 0, levels = 0, block = 0;
    int64_t *gap_starts = b->gap_starts.buf, *level_starts = b->level_starts.buf;
    for (size_t begin = 0; begin < count; block++) {
        size_t length = count - begin < span ? count - begin : span;
        size_t new_gaps, new_levels;
        dcz_split_block((const uint8_t *)b->indices.buf + begin * item_size, item_size, length,
                        filler, (uint16_t *)b->gaps.buf + gaps, &new_gaps,
                        (uint8_t *)b->levels.buf + levels * item_size, &new_levels);
        gap_starts[block] = (int64_t)gaps;
        level_starts[block] = (int64_t)levels;
        gaps += new_gaps;
        levels += new_levels;
        begin += length;
    }
    gap_starts[block] = (int64_t)gaps;
    level_starts[block] = (int64_t)levels;
}

static PyObject *split_checked(split_buffers *b, unsigned item_size, Py_ssize_t span,
                               unsigned filler)
{
    size_t count, blocks;
    if (span < 1) return fail("the span must be positive");
    if (filler < 1 || filler > 65535) return fail("the filler must be 1 to 65535");
    if (!is_symbol_size(item_size) || !is_array(&b->indices, item_size)
        || !is_array(&b->gaps, 2) || !is_array(&b->levels, item_size)
        || !is_array(&b->gap_starts, 8) || !is_array(&b->level_starts, 8))
        return NULL;
    count = items(&b->indices, item_size);
    blocks = count / (size_t)span + (count % (size_t)span > 0);
    if (items(&b->gaps, 2) < count || items(&b->levels, item_size) < count
        || items(&b->gap_starts, 8) != blocks + 1 || items(&b->level_starts, 8) != blocks + 1)
        return fail("an array for the result has the wrong size");
    Py_BEGIN_ALLOW_THREADS
    split_blocks(b, item_size, (size_t)span, filler);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *split_sparse(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        split_buffers named;
        Py_buffer all[5];
    } b;
    unsigned item_size, filler;
    Py_ssize_t span;
    PyObject *result = NULL;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*InIw*w*w*w*", &b.named.indices, &item_size, &span, &filler,
                         &b.named.gaps, &b.named.levels, &b.named.gap_starts,
                         &b.named.level_starts))
        result = split_checked(&b.named, item_size, span, filler);
    release(b.all, 5);
    return result;
}

/* ---- code_lengths ---- */

static const char *bad_counts(const int64_t *counts, size_t alphabet)
{
    int64_t sum = 0;
    for (size_t i = 0; i < alphabet; i++) {
        if (counts[i] < 0) return "a count is negative";
        if (counts[i] > DCZ_COUNTS_LIMIT - sum) return "the counts are too large";
        sum += counts[i];
    }
    return NULL;
}

static PyObject *lengths_checked(Py_buffer *counts, unsigned limit, Py_buffer *lengths)
{
    size_t alphabet = items(counts, 8);
    const char *cause;
    dcz_lengths_scratch *scratch;
    int possible;
    if (!is_array(counts, 8)) return NULL;
    if (limit < 1 || limit > DCZ_LENGTH_LIMIT) return fail("the length limit must be 1 to 15");
    if (alphabet > DCZ_ALPHABET_LIMIT) return fail("an alphabet has at most 4096 symbols");
    if ((size_t)lengths->len != alphabet)
        return fail("an array for the result has the wrong size");
    cause = bad_counts(counts->buf, alphabet);
    if (cause) return fail(cause);
    scratch = PyMem_Malloc(sizeof *scratch);
    if (!scratch) return PyErr_NoMemory();
    possible = dcz_code_lengths(counts->buf, (uint32_t)alphabet, limit, scratch, lengths->buf);
    PyMem_Free(scratch);
    if (!possible) return fail("the code length limit is too small for the symbols used");
    Py_RETURN_NONE;
}

/* Keeps the GIL: it takes less than a millisecond. */
static PyObject *code_lengths(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    unsigned limit;
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*Iw*", &b[0], &limit, &b[1]))
        result = lengths_checked(&b[0], limit, &b[1]);
    release(b, 2);
    return result;
}

/* ---- write_lengths ---- */

/* Keeps the GIL: it takes some microseconds. */
static PyObject *write_lengths(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer lengths = {0};
    uint8_t table[DCZ_TABLE_LIMIT];
    PyObject *result = NULL;
    dcz_code code;
    if (PyArg_ParseTuple(args, "y*", &lengths) && read_code(&lengths, &code)) {
        size_t size = dcz_write_lengths(code.lengths, code.alphabet, table);
        result = PyBytes_FromStringAndSize((const char *)table, (Py_ssize_t)size);
    }
    release(&lengths, 1);
    return result;
}

/* ---- encode_segments ---- */

typedef struct {
    Py_buffer symbols, starts, lengths, offsets;
} encode_buffers;

/* Finds the most bytes the payload can take. */
static int find_bound(const encode_buffers *b, size_t symbols, uint32_t longest, size_t *bound)
{
    const int64_t *starts = b->starts.buf;
    size_t segments = items(&b->starts, 8) - 1;
    *bound = 0;
    if (starts[0] < 0) return refuse("a segment is outside the symbols");
    for (size_t i = 0; i < segments; i++) {
        size_t own;
        if (starts[i + 1] < starts[i]) return refuse("the segments' starts are not ascending");
        if ((uint64_t)starts[i + 1] > symbols) return refuse("a segment is outside the symbols");
        own = dcz_segment_bound((size_t)(starts[i + 1] - starts[i]), longest);
        if (own > (size_t)PY_SSIZE_T_MAX - *bound) return refuse("the symbols are too many");
        *bound += own;
    }
    return (uint64_t)starts[0] <= symbols ? 1 : refuse("a segment is outside the symbols");
}

static dcz_encode_status encode_all(const encode_buffers *b, const int64_t *starts,
                                    unsigned item_size, const dcz_encoder *encoder, uint8_t *out)
{
    size_t segments = items(&b->offsets, 8) - 1, at = 0;
    int64_t *offsets = b->offsets.buf;
    for (size_t i = 0; i < segments; i++) {
        size_t written;
        dcz_encode_status status = dcz_encode_segment(
            encoder, (const uint8_t *)b->symbols.buf + (size_t)starts[i] * item_size,
            (size_t)(starts[i + 1] - starts[i]), item_size, out + at, &written);
        if (status != DCZ_ENCODED) return status;
        offsets[i] = (int64_t)at;
        at += written;
    }
    offsets[segments] = (int64_t)at;
    return DCZ_ENCODED;
}

static PyObject *encode_bounded(encode_buffers *b, unsigned item_size, dcz_encoder *encoder,
                                uint8_t *out)
{
    const int64_t *offsets = b->offsets.buf;
    dcz_encode_status status;
    Py_BEGIN_ALLOW_THREADS
    status = encode_all(b, b->starts.buf, item_size, encoder, out);
    Py_END_ALLOW_THREADS
    if (status == DCZ_STREAM_TOO_LONG) return fail("a stream is longer than 65535 bytes");
    if (status != DCZ_ENCODED) return fail("a symbol has no code");
    return PyBytes_FromStringAndSize((const char *)out,
                                     (Py_ssize_t)offsets[items(&b->offsets, 8) - 1]);
}

static PyObject *encode_checked(encode_buffers *b, unsigned item_size)
{
    const int64_t *starts = b->starts.buf;
    size_t segments = items(&b->starts, 8);
    dcz_code code = {0};
    dcz_encoder *encoder;
    uint8_t *out;
    size_t bound;
    PyObject *payload = NULL;
    if (!is_symbol_size(item_size) || !is_array(&b->symbols, item_size)
        || !is_array(&b->starts, 8) || !is_array(&b->offsets, 8))
        return NULL;
    if (segments < 1) return fail("the starts must end with the end of the last segment");
    if (b->offsets.len != b->starts.len)
        return fail("an array for the result has the wrong size");
    segments--;
    /* Without symbols there need not be a code. */
    if (starts[0] != starts[segments] && !read_code(&b->lengths, &code)) return NULL;
    if (!find_bound(b, items(&b->symbols, item_size), code.longest, &bound)) return NULL;
    encoder = PyMem_Malloc(sizeof *encoder);
    out = PyMem_Malloc(bound);
    if (encoder && out) {
        dcz_prepare_encoder(encoder, &code);
        payload = encode_bounded(b, item_size, encoder, out);
    } else {
        PyErr_NoMemory();
    }
    PyMem_Free(encoder);
    PyMem_Free(out);
    return payload;
}

static PyObject *encode_segments(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        encode_buffers named;
        Py_buffer all[4];
    } b;
    unsigned item_size;
    PyObject *result = NULL;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*Iy*y*w*", &b.named.symbols, &item_size, &b.named.starts,
                         &b.named.lengths, &b.named.offsets))
        result = encode_checked(&b.named, item_size);
    release(b.all, 4);
    return result;
}

PyMethodDef dcz_encoding_methods[] = {
    {"count_symbols", count_symbols, METH_VARARGS, NULL},
    {"split_sparse", split_sparse, METH_VARARGS, NULL},
    {"code_lengths", code_lengths, METH_VARARGS, NULL},
    {"write_lengths", write_lengths, METH_VARARGS, NULL},
    {"encode_segments", encode_segments, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
