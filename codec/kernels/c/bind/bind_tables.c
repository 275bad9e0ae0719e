/* Python's way to what a reader does before it decodes: code tables, and finding segments. The
 * results' arrays are the caller's (native_coding.py makes them with NumPy). */
#include "bind_arguments.h"

#include <string.h>

/* ---- read_lengths ---- */

/* Keeps the GIL: it takes some microseconds. */
static PyObject *read_lengths(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*w*", &b[0], &b[1])) {
        size_t alphabet = (size_t)b[1].len, used;
        dcz_code code;
        dcz_status status = DCZ_BAD_ALPHABET;
        if (alphabet >= 2 && alphabet <= DCZ_ALPHABET_LIMIT)
            status = dcz_read_lengths(b[0].buf, (size_t)b[0].len, (uint32_t)alphabet, b[1].buf,
                                      &used);
        if (status == DCZ_OK) status = dcz_read_code(b[1].buf, (uint32_t)alphabet, &code);
        if (status == DCZ_OK)
            result = PyLong_FromSize_t(used);
        else
            refuse_status(status);
    }
    release(b, 2);
    return result;
}

/* ---- find_segments, find_blocks ---- */

typedef struct {
    Py_buffer payload, counts, coded, found;
} walk_buffers;

/* Steps over a segment of each code; offsets[code * stride] is where it begins. */
static dcz_status skip_segments(const walk_buffers *b, const uint8_t *coded, size_t codes,
                                size_t count, size_t *position, int64_t *offsets, size_t stride)
{
    for (size_t i = 0; i < codes; i++) {
        offsets[i * stride] = (int64_t)*position;
        if (coded[i]) {
            dcz_status status = dcz_skip_segment(b->payload.buf, (size_t)b->payload.len, count,
                                                 position);
            if (status != DCZ_OK) return status;
        }
    }
    return DCZ_OK;
}

/* found[segments * codes + 1]: where each segment begins, and the last one ends. */
static dcz_status walk_segments(const walk_buffers *b, size_t position)
{
    const int64_t *counts = b->counts.buf;
    size_t codes = (size_t)b->coded.len, segments = items(&b->counts, 8);
    int64_t *found = b->found.buf;
    for (size_t i = 0; i < segments; i++) {
        dcz_status status = skip_segments(b, b->coded.buf, codes, (size_t)counts[i], &position,
                                          found + i * codes, 1);
        if (status != DCZ_OK) return status;
    }
    found[segments * codes] = (int64_t)position;
    return DCZ_OK;
}

static dcz_status read_count(const walk_buffers *b, size_t *position, size_t most,
                             dcz_status too_many, size_t *count)
{
    const uint8_t *payload = b->payload.buf, *at = payload + *position;
    dcz_status status = dcz_read_varint(&at, payload + b->payload.len, count);
    *position = (size_t)(at - payload);
    return status == DCZ_OK && *count > most ? too_many : status;
}

/* found[codes + 3][blocks]: numbers of gaps and of survivors, where the segment of each code
 * begins, that of the gaps first, and where the block ends. */
static dcz_status walk_blocks(const walk_buffers *b, size_t position)
{
    const int64_t *counts = b->counts.buf;
    const uint8_t *coded = b->coded.buf;
    size_t codes = (size_t)b->coded.len, blocks = items(&b->counts, 8);
    for (size_t i = 0; i < blocks; i++) {
        int64_t *column = (int64_t *)b->found.buf + i;
        size_t gaps, survivors;
        dcz_status status = read_count(b, &position, (size_t)counts[i], DCZ_BAD_GAP_COUNT, &gaps);
        if (status == DCZ_OK)
            status = read_count(b, &position, gaps, DCZ_BAD_SURVIVOR_COUNT, &survivors);
        if (status == DCZ_OK)
            status = skip_segments(b, coded, 1, gaps, &position, column + 2 * blocks, blocks);
        if (status == DCZ_OK)
            status = skip_segments(b, coded + 1, codes - 1, survivors, &position,
                                   column + 3 * blocks, blocks);
        if (status != DCZ_OK) return status;
        column[0] = (int64_t)gaps;
        column[blocks] = (int64_t)survivors;
        column[(codes + 2) * blocks] = (int64_t)position;
    }
    return DCZ_OK;
}

static int is_walk(const walk_buffers *b, Py_ssize_t position, size_t room)
{
    const int64_t *counts = b->counts.buf;
    if (!is_array(&b->counts, 8) || !is_array(&b->found, 8)) return 0;
    if (b->coded.len < 1) return refuse("there must be a code");
    if (items(&b->found, 8) != room) return refuse("an array for the result has the wrong size");
    if (position < 0 || position > b->payload.len)
        return refuse("a segment is outside the payload");
    for (size_t i = 0; i < items(&b->counts, 8); i++)
        if (counts[i] < 0) return refuse("a count is negative");
    return 1;
}

static PyObject *find_segments(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        walk_buffers named;
        Py_buffer all[4];
    } b;
    Py_ssize_t position;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*ny*y*w*", &b.named.payload, &position, &b.named.counts,
                         &b.named.coded, &b.named.found)
        && is_walk(&b.named, position, items(&b.named.counts, 8) * (size_t)b.named.coded.len + 1)) {
        dcz_status status = walk_segments(&b.named, (size_t)position);
        done = status == DCZ_OK ? 1 : refuse_status(status);
    }
    release(b.all, 4);
    return done ? Py_NewRef(Py_None) : NULL;
}

static PyObject *find_blocks(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        walk_buffers named;
        Py_buffer all[4];
    } b;
    Py_ssize_t position;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*ny*y*w*", &b.named.payload, &position, &b.named.counts,
                         &b.named.coded, &b.named.found)
        && is_walk(&b.named, position, items(&b.named.counts, 8) * ((size_t)b.named.coded.len + 3))) {
        dcz_status status = walk_blocks(&b.named, (size_t)position);
        done = status == DCZ_OK ? 1 : refuse_status(status);
    }
    release(b.all, 4);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* ---- decoding_table ---- */

static PyObject *table_checked(Py_buffer *lengths, Py_buffer *table)
{
    dcz_code code;
    if (!read_code(lengths, &code) || !is_array(table, 2)) return NULL;
    if (items(table, 2) != (size_t)1 << code.longest)
        return fail("an array for the result has the wrong size");
    dcz_fill_symbol_table(&code, table->buf);
    Py_RETURN_NONE;
}

static PyObject *decoding_table(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*w*", &b[0], &b[1])) result = table_checked(&b[0], &b[1]);
    release(b, 2);
    return result;
}

PyMethodDef dcz_table_methods[] = {
    {"read_lengths", read_lengths, METH_VARARGS, NULL},
    {"find_segments", find_segments, METH_VARARGS, NULL},
    {"find_blocks", find_blocks, METH_VARARGS, NULL},
    {"decoding_table", decoding_table, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
