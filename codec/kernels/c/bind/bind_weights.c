/* Python's side of the kernels that find what weights are like, and codebooks for them: every check
 * of arguments and every allocation. */
#include "bind_arrays.h"

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

static PyObject *select_magnitudes(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values, *found;
    unsigned long long first, last;
    dcz_selection selection = {0, 0, 0, NULL};
    (void)module;
    if (!PyArg_ParseTuple(args, "OKKO", &values, &first, &last, &found)) return NULL;
    if (add_array(&arrays, values, VALUES, 0) != 0
        || add_array(&arrays, found, PATTERNS, PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    if (arrays.view[0].itemsize != arrays.view[1].itemsize) return refuse(&arrays, "widths differ");
    if (!aligned(&arrays.view[1])) return refuse(&arrays, "results are not aligned");
    if (first > last || last >> (8 * arrays.view[0].itemsize - 1) != 0) {
        return refuse(&arrays, "not a range of magnitudes");
    }
    selection.room = length(&arrays.view[1]);
    selection.out = arrays.view[1].buf;
    Py_BEGIN_ALLOW_THREADS
    dcz_select_magnitudes(as_array(&arrays.view[0]), first, last, &selection);
    Py_END_ALLOW_THREADS
    return release(&arrays, Py_BuildValue("(nn)", (Py_ssize_t)selection.below,
                                          (Py_ssize_t)selection.found));
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

static const char *not_cells(const array_list *arrays, const dcz_cells *grid)
{
    size_t count = length(&arrays->view[1]);
    if (count == 0 || count > DCZ_BINS || !aligned(&arrays->view[1])) {
        return "counts are not 1 to 65536 aligned integers";
    }
    if (isnan(grid->cutoff)) return "cutoff is not a number";
    if (!isfinite(grid->low) || !isfinite(grid->scale) || grid->scale < 0.0) {
        return "low or scale is not finite, or scale is negative";
    }
    if (length(&arrays->view[0]) > UINT32_MAX) return "more than 2^32 - 1 values";
    return NULL;
}

static PyObject *count_cells(PyObject *module, PyObject *args)
{
    array_list arrays = {.count = 0};
    PyObject *values, *counts;
    dcz_cells grid;
    const char *cause;
    uint32_t *scratch;
    (void)module;
    if (!PyArg_ParseTuple(args, "OdddO", &values, &grid.cutoff, &grid.low, &grid.scale, &counts)) {
        return NULL;
    }
    if (add_array(&arrays, values, VALUES, 0) != 0
        || add_array(&arrays, counts, COUNTS, PyBUF_WRITABLE) != 0) {
        return release(&arrays, NULL);
    }
    cause = not_cells(&arrays, &grid);
    if (cause != NULL) return refuse(&arrays, cause);
    grid.count = (uint32_t)length(&arrays.view[1]);
    scratch = PyMem_Malloc((grid.count + DCZ_REFUSE_CELLS) * sizeof *scratch);
    if (scratch == NULL) return out_of_memory(&arrays);
    Py_BEGIN_ALLOW_THREADS
    dcz_count_cells(as_array(&arrays.view[0]), &grid, arrays.view[1].buf, scratch);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    return release(&arrays, Py_NewRef(Py_None));
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

PyMethodDef dcz_weights_methods[] = {
    {"summarize", summarize, METH_VARARGS, NULL},
    {"count_magnitudes", count_magnitudes, METH_VARARGS, NULL},
    {"select_magnitudes", select_magnitudes, METH_VARARGS, NULL},
    {"count_cells", count_cells, METH_VARARGS, NULL},
    {"histogram", histogram, METH_VARARGS, NULL},
    {"cluster", cluster, METH_VARARGS, NULL},
    {"lloyd", lloyd, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
