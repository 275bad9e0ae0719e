/* Python's way to the byte planes: every check of an argument. The results' arrays are the
 * caller's (native_planes.py makes them with NumPy). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include "bind_arguments.h"
#include "planes.h"

static PyObject *finish(int done, Py_buffer *buffers, size_t count)
{
    release(buffers, count);
    return done ? Py_NewRef(Py_None) : NULL;
}

static int is_element_size(unsigned item_size, int rotated)
{
    if (item_size == 2 || item_size == 4 || item_size == 8) return 1;
    if (!rotated && (item_size == 1 || item_size == 16)) return 1;
    return refuse("elements must have 1, 2, 4, 8 or 16 bytes; to be rotated, 2, 4 or 8");
}

static int is_low_bits(unsigned low_bits)
{
    return (low_bits >= 1 && low_bits <= 7) || refuse("the low bits must be 1 to 7");
}

static int are_pairs(const Py_buffer *buffer, size_t count)
{
    if ((size_t)buffer->len == 2 * count && (uintptr_t)buffer->buf % 2 == 0) return 1;
    return refuse("an array has the wrong size or alignment");
}

static int is_size(const Py_buffer *buffer, size_t size)
{
    return (size_t)buffer->len == size || refuse("an array has the wrong size");
}

/* Without overflow: (count * bits + 7) / 8. */
static size_t packed_size(size_t count, unsigned bits)
{
    return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

/* ---- split_planes, join_planes ---- */

static int split_checked(const Py_buffer *elements, unsigned item_size, int rotated,
                         const Py_buffer *planes)
{
    if (!is_element_size(item_size, rotated)) return 0;
    if ((size_t)elements->len % item_size) return refuse("an array has the wrong size");
    if (!is_size(planes, (size_t)elements->len)) return 0;
    Py_BEGIN_ALLOW_THREADS
    dcz_split_planes(elements->buf, (size_t)elements->len / item_size, item_size, rotated,
                     planes->buf);
    Py_END_ALLOW_THREADS
    return 1;
}

static PyObject *split_planes(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    unsigned item_size;
    int rotated, done = 0;
    if (PyArg_ParseTuple(args, "y*Ipw*", &b[0], &item_size, &rotated, &b[1]))
        done = split_checked(&b[0], item_size, rotated, &b[1]);
    return finish(done, b, 2);
}

static int join_checked(const Py_buffer *planes, unsigned item_size, int rotated,
                        const Py_buffer *out)
{
    dcz_plane list[DCZ_PLANES_LIMIT];
    size_t count;
    if ((size_t)out->len % item_size) return refuse("an array has the wrong size");
    count = (size_t)out->len / item_size;
    for (unsigned p = 0; p < item_size; p++) {
        if (planes[p].len != 1 && !is_size(&planes[p], count)) return 0;
        list[p].bytes = planes[p].buf;
        list[p].constant = planes[p].len == 1;
    }
    Py_BEGIN_ALLOW_THREADS
    dcz_join_planes(list, count, item_size, rotated, out->buf);
    Py_END_ALLOW_THREADS
    return 1;
}

static int get_planes(PyObject *sequence, unsigned item_size, Py_buffer *planes)
{
    for (unsigned p = 0; p < item_size; p++) {
        int failed;
        PyObject *plane = PySequence_GetItem(sequence, (Py_ssize_t)p);
        if (!plane) return 0;
        failed = PyObject_GetBuffer(plane, &planes[p], PyBUF_SIMPLE);
        Py_DECREF(plane);
        if (failed) return 0;
    }
    return 1;
}

static PyObject *join_planes(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[1 + DCZ_PLANES_LIMIT] = {{0}};
    PyObject *planes;
    Py_ssize_t item_size;
    int rotated, done = 0;
    if (!PyArg_ParseTuple(args, "Opw*", &planes, &rotated, &b[0])) return NULL;
    item_size = PySequence_Size(planes);
    if (item_size >= 0 && is_element_size((unsigned)(item_size > 16 ? 0 : item_size), rotated)
        && get_planes(planes, (unsigned)item_size, b + 1))
        done = join_checked(b + 1, (unsigned)item_size, rotated, &b[0]);
    return finish(done, b, 1 + DCZ_PLANES_LIMIT);
}

/* ---- count_bytes ---- */

static int count_checked(const Py_buffer *bytes, const Py_buffer *counts)
{
    if (!is_size(counts, 256 * sizeof(int64_t))) return 0;
    if ((uintptr_t)counts->buf % sizeof(int64_t)) return refuse("an array is not aligned");
    if ((size_t)bytes->len >= DCZ_COUNT_LIMIT) return refuse("the bytes are too many");
    Py_BEGIN_ALLOW_THREADS
    dcz_count_bytes(bytes->buf, (size_t)bytes->len, counts->buf);
    Py_END_ALLOW_THREADS
    return 1;
}

static PyObject *count_bytes(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    int done = 0;
    if (PyArg_ParseTuple(args, "y*w*", &b[0], &b[1])) done = count_checked(&b[0], &b[1]);
    return finish(done, b, 2);
}

/* ---- pairs of planes ---- */

static int pair_symbols_checked(const Py_buffer *b, unsigned low_bits)
{
    size_t count = (size_t)b[0].len, alphabet;
    uint32_t *scratch;
    if (!is_low_bits(low_bits) || !is_size(&b[1], count) || !are_pairs(&b[2], count)) return 0;
    alphabet = (size_t)256 << (8 - low_bits);
    if (!is_size(&b[3], alphabet * sizeof(int64_t))) return 0;
    if ((uintptr_t)b[3].buf % sizeof(int64_t)) return refuse("an array is not aligned");
    if (count >= DCZ_COUNT_LIMIT) return refuse("the bytes are too many");
    scratch = PyMem_Malloc(4 * alphabet * sizeof *scratch);
    if (!scratch) {
        PyErr_NoMemory();
        return 0;
    }
    Py_BEGIN_ALLOW_THREADS
    dcz_pair_symbols(b[0].buf, b[1].buf, count, low_bits, scratch, b[2].buf, b[3].buf);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    return 1;
}

static PyObject *pair_symbols(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[4] = {{0}};
    unsigned low_bits;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*y*Iw*w*", &b[0], &b[1], &low_bits, &b[2], &b[3]))
        done = pair_symbols_checked(b, low_bits);
    return finish(done, b, 4);
}

static PyObject *pack_bits(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    unsigned bits;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*Iw*", &b[0], &bits, &b[1]))
        done = is_low_bits(bits) && is_size(&b[1], packed_size((size_t)b[0].len, bits));
    if (done) {
        Py_BEGIN_ALLOW_THREADS
        dcz_pack_bits(b[0].buf, (size_t)b[0].len, bits, b[1].buf);
        Py_END_ALLOW_THREADS
    }
    return finish(done, b, 2);
}

static int split_pairs_checked(const Py_buffer *b, unsigned low_bits)
{
    size_t count = (size_t)b[2].len;
    if (!is_low_bits(low_bits) || !are_pairs(&b[0], count)
        || !is_size(&b[1], packed_size(count, low_bits)) || !is_size(&b[3], count))
        return 0;
    Py_BEGIN_ALLOW_THREADS
    dcz_split_pairs(b[0].buf, b[1].buf, count, low_bits, b[2].buf, b[3].buf);
    Py_END_ALLOW_THREADS
    return 1;
}

static PyObject *split_pairs(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[4] = {{0}};
    unsigned low_bits;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*y*Iw*w*", &b[0], &b[1], &low_bits, &b[2], &b[3]))
        done = split_pairs_checked(b, low_bits);
    return finish(done, b, 4);
}

PyMethodDef dcz_planes_methods[] = {
    {"split_planes", split_planes, METH_VARARGS, NULL},
    {"join_planes", join_planes, METH_VARARGS, NULL},
    {"count_bytes", count_bytes, METH_VARARGS, NULL},
    {"pair_symbols", pair_symbols, METH_VARARGS, NULL},
    {"pack_bits", pack_bits, METH_VARARGS, NULL},
    {"split_pairs", split_pairs, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
