/* Python's side of the kernels between weights and their levels: every check of arguments and every
 * allocation. */
#include "bind_arrays.h"

/* ---- assign, and measure by rows ---- */

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
    dcz_prepare_assigner(assigner, as_array(&arrays.view[1]),
                         (size_t)arrays.view[0].itemsize);
    dcz_assign(assigner, as_array(&arrays.view[0]), cutoff, first, arrays.view[2].buf,
               (size_t)arrays.view[2].itemsize);
    Py_END_ALLOW_THREADS
    PyMem_Free(assigner);
    return release(&arrays, Py_NewRef(Py_None));
}

/* Rows are the elements of a result: NULL, or why values can't be cut into so many. */
static const char *not_rows(size_t values, const Py_buffer *result)
{
    size_t rows = length(result);
    if (!aligned(result)) return "results are not aligned";
    if (rows == 0 ? values != 0 : values % rows != 0) return "rows are not of equal length";
    return NULL;
}

static PyObject *measure(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values, *indices, *codebook, *errors;
    const char *cause;
    int inside;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOO", &values, &indices, &codebook, &errors)) return NULL;
    if (add_array(&arrays, values, VALUES, 0) != 0 || add_array(&arrays, indices, INDICES, 0) != 0
        || add_array(&arrays, codebook, "d", 0) != 0
        || add_array(&arrays, errors, "d", PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    if (length(&arrays.view[0]) != length(&arrays.view[1])) {
        return refuse(&arrays, "lengths differ");
    }
    if (!aligned(&arrays.view[2])) return refuse(&arrays, "codebook is not aligned");
    cause = not_rows(length(&arrays.view[0]), &arrays.view[3]);
    if (cause != NULL) return refuse(&arrays, cause);
    Py_BEGIN_ALLOW_THREADS
    inside = length(&arrays.view[1]) == 0
             || dcz_largest(as_array(&arrays.view[1])) < length(&arrays.view[2]);
    if (inside) {
        dcz_measure(as_array(&arrays.view[0]), as_array(&arrays.view[1]), arrays.view[2].buf,
                    length(&arrays.view[3]), arrays.view[3].buf);
    }
    Py_END_ALLOW_THREADS
    if (!inside) return refuse(&arrays, "index outside the codebook");
    return release(&arrays, Py_NewRef(Py_None));
}

static PyObject *sum_rows(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values, *sums, *squares;
    const char *cause;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &values, &sums, &squares)) return NULL;
    if (add_array(&arrays, values, VALUES, 0) != 0
        || add_array(&arrays, sums, "d", PyBUF_WRITABLE) != 0
        || add_array(&arrays, squares, "d", PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    cause = not_rows(length(&arrays.view[0]), &arrays.view[1]);
    if (cause == NULL) cause = not_rows(length(&arrays.view[0]), &arrays.view[2]);
    if (cause != NULL) return refuse(&arrays, cause);
    if (length(&arrays.view[1]) != length(&arrays.view[2])) {
        return refuse(&arrays, "lengths differ");
    }
    Py_BEGIN_ALLOW_THREADS
    dcz_sum_rows(as_array(&arrays.view[0]), length(&arrays.view[1]), arrays.view[1].buf,
                 arrays.view[2].buf);
    Py_END_ALLOW_THREADS
    return release(&arrays, Py_NewRef(Py_None));
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

/* ---- take ---- */

static const char *not_taken(const array_list *arrays)
{
    if (arrays->view[1].itemsize != arrays->view[2].itemsize) return "types differ";
    if (length(&arrays->view[0]) != length(&arrays->view[2])) return "lengths differ";
    for (int i = 0; i < 3; i++) {
        if (!aligned(&arrays->view[i])) return "arrays are not aligned";
    }
    return NULL;
}

static PyObject *take(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *indices, *codebook, *out;
    const char *cause;
    int inside;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &indices, &codebook, &out)) return NULL;
    if (add_array(&arrays, indices, INDICES, 0) != 0
        || add_array(&arrays, codebook, PATTERNS, 0) != 0
        || add_array(&arrays, out, PATTERNS, PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    cause = not_taken(&arrays);
    if (cause != NULL) return refuse(&arrays, cause);
    Py_BEGIN_ALLOW_THREADS
    inside = length(&arrays.view[0]) == 0
             || dcz_largest(as_array(&arrays.view[0])) < length(&arrays.view[1]);
    if (inside) {
        dcz_take(as_array(&arrays.view[0]), as_array(&arrays.view[1]), arrays.view[2].buf);
    }
    Py_END_ALLOW_THREADS
    if (!inside) return refuse(&arrays, "index outside the codebook");
    return release(&arrays, Py_NewRef(Py_None));
}

PyMethodDef dcz_levels_methods[] = {
    {"assign", assign, METH_VARARGS, NULL},
    {"measure", measure, METH_VARARGS, NULL},
    {"sum_rows", sum_rows, METH_VARARGS, NULL},
    {"distinct", distinct, METH_VARARGS, NULL},
    {"lookup", lookup, METH_VARARGS, NULL},
    {"take", take, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
