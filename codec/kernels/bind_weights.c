/* Python's side of the weight kernels: every check of arguments and every allocation. */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <math.h>
#include <string.h>

#include "weights.h"

#define VALUES "fd"
#define PATTERNS "BHILQ"
#define INDICES "BH"
#define COUNTS "lq"
#define MOST_LEVELS 65536

/* ---- arguments ---- */

/* A contiguous buffer of one of the kinds, in the machine's byte order. */
static int get_array(PyObject *object, Py_buffer *view, const char *kinds, int flags)
{
    const char *format;
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags) != 0) return -1;
    format = view->format == NULL ? "B" : view->format;
    if (strchr("@=^<", format[0]) != NULL && format[0] != '\0') format++;
    if (strlen(format) == 1 && strchr(kinds, format[0]) != NULL) return 0;
    PyErr_Format(PyExc_ValueError, "array of type '%s' instead of one of '%s'", format, kinds);
    PyBuffer_Release(view);
    return -1;
}

static dcz_array as_array(const Py_buffer *view)
{
    dcz_array array = {view->buf, (size_t)(view->len / view->itemsize), (size_t)view->itemsize};
    return array;
}

static size_t length(const Py_buffer *view) { return (size_t)(view->len / view->itemsize); }

/* Up to three arrays of a call, released together. */
typedef struct {
    Py_buffer view[3];
    int count;
} array_list;

static int add_array(array_list *arrays, PyObject *object, const char *kinds, int flags)
{
    if (get_array(object, &arrays->view[arrays->count], kinds, flags) != 0) return -1;
    arrays->count++;
    return 0;
}

static PyObject *release(array_list *arrays, PyObject *result)
{
    while (arrays->count > 0) PyBuffer_Release(&arrays->view[--arrays->count]);
    return result;
}

static PyObject *refuse(array_list *arrays, const char *cause)
{
    PyErr_SetString(PyExc_ValueError, cause);
    return release(arrays, NULL);
}

static PyObject *out_of_memory(array_list *arrays)
{
    PyErr_NoMemory();
    return release(arrays, NULL);
}

static int ascending(const double *x, size_t count, int strictly)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) return 0;
        if (i != 0 && (x[i] < x[i - 1] || (strictly && x[i] == x[i - 1]))) return 0;
    }
    return 1;
}

static int aligned(const Py_buffer *view)
{
    return view->len == 0 || (uintptr_t)view->buf % 8 == 0;
}

/* ---- statistics ---- */

static PyObject *summarize(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values;
    dcz_summary summary;
    (void)module;
    if (!PyArg_ParseTuple(args, "O", &values)) return NULL;
    if (add_array(&arrays, values, VALUES, 0) != 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    summary = dcz_summarize(as_array(&arrays.view[0]));
    Py_END_ALLOW_THREADS
    return release(&arrays, Py_BuildValue("(ddLNd)", summary.minimum, summary.maximum,
                                          (long long)summary.zeros,
                                          PyBool_FromLong(summary.finite), summary.energy));
}

static PyObject *count_magnitudes(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values, *counts;
    unsigned int shift;
    unsigned long long prefix;
    (void)module;
    if (!PyArg_ParseTuple(args, "OIKO", &values, &shift, &prefix, &counts)) return NULL;
    if (add_array(&arrays, values, VALUES, 0) != 0
        || add_array(&arrays, counts, COUNTS, PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    if (shift > 8 * as_array(&arrays.view[0]).width) return refuse(&arrays, "shift beyond a key");
    if (length(&arrays.view[1]) != DCZ_BINS || !aligned(&arrays.view[1])) {
        return refuse(&arrays, "counts are not 65536 aligned integers");
    }
    Py_BEGIN_ALLOW_THREADS
    dcz_count_magnitudes(as_array(&arrays.view[0]), shift, prefix, arrays.view[1].buf);
    Py_END_ALLOW_THREADS
    return release(&arrays, Py_NewRef(Py_None));
}

static PyObject *histogram(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values, *counts, *sums;
    double cutoff, low, scale;
    size_t used;
    dcz_histogram_scratch *scratch;
    (void)module;
    if (!PyArg_ParseTuple(args, "OdddOO", &values, &cutoff, &low, &scale, &counts, &sums)) {
        return NULL;
    }
    if (add_array(&arrays, values, VALUES, 0) != 0
        || add_array(&arrays, counts, COUNTS, PyBUF_WRITABLE) != 0
        || add_array(&arrays, sums, COUNTS, PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    for (int i = 1; i <= 2; i++) {
        if (length(&arrays.view[i]) == DCZ_BINS && aligned(&arrays.view[i])) continue;
        return refuse(&arrays, "results are not 65536 aligned integers");
    }
    if (isnan(cutoff)) return refuse(&arrays, "cutoff is not a number");
    if (!isfinite(low) || !isfinite(scale) || scale < 0.0) {
        return refuse(&arrays, "low or scale is not finite, or scale is negative");
    }
    if (length(&arrays.view[0]) > UINT32_MAX) return refuse(&arrays, "more than 2^32 - 1 values");
    scratch = PyMem_Malloc(sizeof *scratch);
    if (scratch == NULL) return out_of_memory(&arrays);
    Py_BEGIN_ALLOW_THREADS
    used = dcz_histogram(as_array(&arrays.view[0]), cutoff, low, scale, arrays.view[1].buf,
                         arrays.view[2].buf, scratch);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    return release(&arrays, PyLong_FromSize_t(used));
}

/* ---- clusters ---- */

/* Takes counts, sums and centroids; NULL with an exception set if they make no histogram. */
static void *open_histogram(array_list *arrays, PyObject *counts, PyObject *sums,
                            PyObject *centroids)
{
    size_t used, bins, levels;
    void *scratch;
    if (add_array(arrays, counts, COUNTS, 0) != 0 || add_array(arrays, sums, COUNTS, 0) != 0
        || add_array(arrays, centroids, "d", PyBUF_WRITABLE) != 0) {
        return release(arrays, NULL);
    }
    bins = length(&arrays->view[0]);
    levels = length(&arrays->view[2]);
    if (!aligned(&arrays->view[0]) || !aligned(&arrays->view[1]) || !aligned(&arrays->view[2])) {
        return refuse(arrays, "arrays are not aligned");
    }
    if (bins > DCZ_BINS || length(&arrays->view[1]) != bins
        || !dcz_valid_histogram(arrays->view[0].buf, arrays->view[1].buf, bins, &used)) {
        return refuse(arrays, "counts and sums are not a histogram");
    }
    if (levels == 0 || levels > MOST_LEVELS) return refuse(arrays, "levels not in 1..65536");
    scratch = PyMem_Malloc(dcz_cluster_scratch(used, levels));
    if (scratch == NULL) return out_of_memory(arrays);
    return scratch;
}

static PyObject *cluster(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *counts, *sums, *centroids;
    size_t found;
    void *scratch;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &counts, &sums, &centroids)) return NULL;
    scratch = open_histogram(&arrays, counts, sums, centroids);
    if (scratch == NULL) return NULL;
    Py_BEGIN_ALLOW_THREADS
    found = dcz_cluster(arrays.view[0].buf, arrays.view[1].buf, length(&arrays.view[0]),
                        length(&arrays.view[2]), arrays.view[2].buf, scratch);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    return release(&arrays, PyLong_FromSize_t(found));
}

static PyObject *lloyd(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *counts, *sums, *centroids;
    unsigned int steps;
    size_t found, levels;
    void *scratch;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOI", &counts, &sums, &centroids, &steps)) return NULL;
    scratch = open_histogram(&arrays, counts, sums, centroids);
    if (scratch == NULL) return NULL;
    levels = length(&arrays.view[2]);
    if (!ascending(arrays.view[2].buf, levels, 1)) {
        PyMem_Free(scratch);
        return refuse(&arrays, "centroids are not finite and ascending");
    }
    Py_BEGIN_ALLOW_THREADS
    found = dcz_lloyd(arrays.view[0].buf, arrays.view[1].buf, length(&arrays.view[0]),
                      arrays.view[2].buf, levels, steps, scratch);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    return release(&arrays, PyLong_FromSize_t(found));
}

/* ---- assign and measure ---- */

static const char *unassignable(const array_list *arrays, double cutoff, unsigned first)
{
    size_t levels = length(&arrays->view[1]) + 1;
    size_t limit = (size_t)1 << (8 * arrays->view[2].itemsize);
    if (isnan(cutoff)) return "cutoff is not a number";
    if (first > 1) return "first is neither 0 nor 1";
    if (first + levels > limit) return "more levels than the indices can tell apart";
    if (length(&arrays->view[2]) != length(&arrays->view[0])) return "lengths differ";
    if (!aligned(&arrays->view[1])) return "thresholds are not aligned";
    if ((uintptr_t)arrays->view[2].buf % (uintptr_t)arrays->view[2].itemsize != 0) {
        return "indices are not aligned";
    }
    if (!ascending(arrays->view[1].buf, levels - 1, 0)) {
        return "thresholds are not finite and ascending";
    }
    return NULL;
}

static PyObject *assign(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values, *thresholds, *indices;
    double cutoff;
    unsigned int first;
    const char *cause;
    dcz_assigner *assigner;
    (void)module;
    if (!PyArg_ParseTuple(args, "OdOIO", &values, &cutoff, &thresholds, &first, &indices)) {
        return NULL;
    }
    if (add_array(&arrays, values, VALUES, 0) != 0 || add_array(&arrays, thresholds, "d", 0) != 0
        || add_array(&arrays, indices, INDICES, PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    cause = unassignable(&arrays, cutoff, first);
    if (cause != NULL) return refuse(&arrays, cause);
    assigner = PyMem_Malloc(
        sizeof *assigner + sizeof(double) * dcz_padded_thresholds(length(&arrays.view[1])));
    if (assigner == NULL) return out_of_memory(&arrays);
    assigner->thresholds = (double *)(assigner + 1);
    Py_BEGIN_ALLOW_THREADS
    dcz_prepare_assigner(assigner, as_array(&arrays.view[1]));
    dcz_assign(assigner, as_array(&arrays.view[0]), cutoff, first, arrays.view[2].buf,
               (size_t)arrays.view[2].itemsize);
    Py_END_ALLOW_THREADS
    PyMem_Free(assigner);
    return release(&arrays, Py_NewRef(Py_None));
}

static PyObject *measure(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values, *indices, *codebook;
    double error = 0.0;
    int inside;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &values, &indices, &codebook)) return NULL;
    if (add_array(&arrays, values, VALUES, 0) != 0 || add_array(&arrays, indices, INDICES, 0) != 0
        || add_array(&arrays, codebook, "d", 0) != 0) {
        return release(&arrays, NULL);
    }
    if (length(&arrays.view[0]) != length(&arrays.view[1])) {
        return refuse(&arrays, "lengths differ");
    }
    if (!aligned(&arrays.view[2])) return refuse(&arrays, "codebook is not aligned");
    Py_BEGIN_ALLOW_THREADS
    inside = length(&arrays.view[1]) == 0
             || dcz_largest(as_array(&arrays.view[1])) < length(&arrays.view[2]);
    if (inside) {
        error = dcz_measure(as_array(&arrays.view[0]), as_array(&arrays.view[1]),
                            arrays.view[2].buf);
    }
    Py_END_ALLOW_THREADS
    if (!inside) return refuse(&arrays, "index outside the codebook");
    return release(&arrays, PyFloat_FromDouble(error));
}

/* ---- distinct and lookup ---- */

static dcz_table *new_table(size_t keys)
{
    unsigned bits = dcz_slot_bits(keys);
    dcz_table *table = PyMem_Malloc(sizeof *table);
    if (table == NULL) return NULL;
    table->slot_bits = bits;
    table->keys = NULL;
    table->slots = PyMem_Calloc((size_t)1 << bits, sizeof *table->slots);
    if (table->slots != NULL) return table;
    PyMem_Free(table);
    return NULL;
}

static void free_table(dcz_table *table)
{
    PyMem_Free(table->slots);
    PyMem_Free(table);
}

static PyObject *distinct(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *patterns, *keys;
    dcz_table *table;
    size_t limit, found;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &patterns, &keys)) return NULL;
    if (add_array(&arrays, patterns, PATTERNS, 0) != 0
        || add_array(&arrays, keys, "LQ", PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    limit = length(&arrays.view[1]);
    if (limit > MOST_LEVELS) return refuse(&arrays, "limit beyond 65536");
    if (arrays.view[1].itemsize != 8 || !aligned(&arrays.view[1])) {
        return refuse(&arrays, "keys are not aligned 64-bit integers");
    }
    table = new_table(limit);
    if (table == NULL) return out_of_memory(&arrays);
    table->keys = arrays.view[1].buf;
    Py_BEGIN_ALLOW_THREADS
    found = dcz_distinct(as_array(&arrays.view[0]), limit, table);
    Py_END_ALLOW_THREADS
    free_table(table);
    return release(&arrays, PyLong_FromSize_t(found));
}

static const char *not_a_table(const array_list *arrays)
{
    size_t keys = length(&arrays->view[1]);
    size_t width = (size_t)arrays->view[2].itemsize;
    if (arrays->view[0].itemsize != arrays->view[1].itemsize) return "types differ";
    if (length(&arrays->view[0]) != length(&arrays->view[2])) return "lengths differ";
    if (keys > (size_t)1 << (8 * width)) return "table longer than the indices can tell apart";
    if ((uintptr_t)arrays->view[2].buf % width != 0) return "indices are not aligned";
    return NULL;
}

static PyObject *lookup(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *patterns, *keys, *indices;
    const char *cause;
    dcz_table *table;
    int missing, unsorted;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &patterns, &keys, &indices)) return NULL;
    if (add_array(&arrays, patterns, PATTERNS, 0) != 0 || add_array(&arrays, keys, PATTERNS, 0) != 0
        || add_array(&arrays, indices, INDICES, PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    cause = not_a_table(&arrays);
    if (cause != NULL) return refuse(&arrays, cause);
    table = new_table(length(&arrays.view[1]));
    if (table == NULL) return out_of_memory(&arrays);
    table->keys = PyMem_Malloc(sizeof(uint64_t) * (length(&arrays.view[1]) + 1));
    if (table->keys == NULL) {
        free_table(table);
        return out_of_memory(&arrays);
    }
    Py_BEGIN_ALLOW_THREADS
    unsorted = dcz_fill_table(table, as_array(&arrays.view[1]));
    missing = !unsorted
              && dcz_lookup(table, as_array(&arrays.view[0]), arrays.view[2].buf,
                            (size_t)arrays.view[2].itemsize);
    Py_END_ALLOW_THREADS
    PyMem_Free(table->keys);
    free_table(table);
    if (unsorted) return refuse(&arrays, "table is not ascending");
    if (missing) return refuse(&arrays, "pattern missing from the table");
    return release(&arrays, Py_NewRef(Py_None));
}

PyMethodDef dcz_weights_methods[] = {
    {"summarize", summarize, METH_VARARGS, NULL},
    {"count_magnitudes", count_magnitudes, METH_VARARGS, NULL},
    {"histogram", histogram, METH_VARARGS, NULL},
    {"cluster", cluster, METH_VARARGS, NULL},
    {"lloyd", lloyd, METH_VARARGS, NULL},
    {"assign", assign, METH_VARARGS, NULL},
    {"measure", measure, METH_VARARGS, NULL},
    {"distinct", distinct, METH_VARARGS, NULL},
    {"lookup", lookup, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
