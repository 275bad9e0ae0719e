/* Python's way to the kernels of runs.c: every check of an argument and every allocation. The
 * results' arrays are the caller's (native_runs.py makes them with NumPy). */
#include "bind_arguments.h"

#include <string.h>

#include "classes.h"
#include "runs.h"

/* ---- arguments ---- */

static int read_runs(const Py_buffer *groups, Py_ssize_t length, size_t count, size_t limit,
                     dcz_runs *runs)
{
    size_t number = items(groups, 4);
    if (!is_array(groups, 4)) return 0;
    if (length < 1) return refuse("a run has at least one element");
    *runs = (dcz_runs){.count = count, .length = (size_t)length, .groups = groups->buf};
    if (number != count / runs->length + (count % runs->length > 0))
        return refuse("runs and groups differ in number");
    for (size_t i = 0; i < number; i++)
        if (runs->groups[i] >= limit) return refuse("a group has no place in the result");
    return 1;
}

/* ---- find_bins ---- */

static int bins_found(const Py_buffer *values, int wide, double scale, double low,
                      const Py_buffer *bins)
{
    size_t item_size = wide ? 8 : 4;
    if (!is_array(values, item_size) || !is_array(bins, 2)) return 0;
    if (items(values, item_size) != items(bins, 2))
        return refuse("an array for the result has the wrong size");
    Py_BEGIN_ALLOW_THREADS
    dcz_find_bins(values->buf, wide, items(bins, 2), scale, low, bins->buf);
    Py_END_ALLOW_THREADS
    return 1;
}

static PyObject *find_bins(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    double scale, low;
    int wide, done = 0;
    if (PyArg_ParseTuple(args, "y*pddw*", &b[0], &wide, &scale, &low, &b[1]))
        done = bins_found(&b[0], wide, scale, low, &b[1]);
    release(b, 2);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* ---- count_runs ---- */

static int runs_counted(const Py_buffer *symbols, unsigned item_size, Py_ssize_t length,
                        const Py_buffer *groups, Py_ssize_t alphabet, const Py_buffer *counts)
{
    dcz_runs runs;
    int known;
    if (item_size != 1 && item_size != 2) return refuse("symbols must be uint8 or uint16");
    if (!is_array(symbols, item_size) || !is_array(counts, 8)) return 0;
    if (alphabet < 1 || alphabet > 65536)
        return refuse("the alphabet must have 1 to 65536 symbols");
    if (!read_runs(groups, length, items(symbols, item_size),
                   items(counts, 8) / (size_t)alphabet, &runs))
        return 0;
    Py_BEGIN_ALLOW_THREADS
    known = dcz_count_runs(&runs, symbols->buf, item_size, (uint32_t)alphabet, counts->buf);
    Py_END_ALLOW_THREADS
    return known ? 1 : refuse("a symbol is outside the alphabet");
}

static PyObject *count_runs(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[3] = {{0}};
    unsigned item_size;
    Py_ssize_t length, alphabet;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*Iny*nw*", &b[0], &item_size, &length, &b[1], &alphabet, &b[2]))
        done = runs_counted(&b[0], item_size, length, &b[1], alphabet, &b[2]);
    release(b, 3);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* ---- map_runs ---- */

static int runs_mapped(const Py_buffer *bins, Py_ssize_t length, const Py_buffer *groups,
                       const Py_buffer *tables, Py_ssize_t width, const Py_buffer *out,
                       unsigned item_size)
{
    dcz_runs runs;
    int known;
    if (item_size != 1 && item_size != 2) return refuse("symbols must be uint8 or uint16");
    if (!is_array(bins, 2) || !is_array(tables, 2) || !is_array(out, item_size)) return 0;
    if (items(bins, 2) != items(out, item_size))
        return refuse("an array for the result has the wrong size");
    if (width < 1) return refuse("a table has at least one entry");
    if (!read_runs(groups, length, items(bins, 2), items(tables, 2) / (size_t)width, &runs))
        return 0;
    Py_BEGIN_ALLOW_THREADS
    known = dcz_map_runs(&runs, bins->buf, tables->buf, (size_t)width, out->buf, item_size);
    Py_END_ALLOW_THREADS
    return known ? 1 : refuse("a bin has no entry in the table");
}

static PyObject *map_runs(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[4] = {{0}};
    unsigned item_size;
    Py_ssize_t length, width;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*ny*y*nw*I", &b[0], &length, &b[1], &b[2], &width, &b[3],
                         &item_size))
        done = runs_mapped(&b[0], length, &b[1], &b[2], width, &b[3], item_size);
    release(b, 4);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* ---- nearest_classes ---- */

static int classes_found(const Py_buffer *counts, Py_ssize_t alphabet, const Py_buffer *rates,
                         const Py_buffer *nearest, const Py_buffer *sums)
{
    size_t rows = (size_t)nearest->len, width = (size_t)alphabet, classes;
    if (!is_array(counts, 8) || !is_array(rates, 8) || !is_array(sums, 8)) return 0;
    if (alphabet < 1) return refuse("an alphabet has at least one symbol");
    classes = items(rates, 8) / width;
    if (classes < 1 || classes > DCZ_CLASS_LIMIT) return refuse("there are 1 to 16 classes");
    if (items(rates, 8) != classes * width || sums->len != rates->len
        || items(counts, 8) / width != rows || items(counts, 8) % width != 0)
        return refuse("an array has the wrong size");
    Py_BEGIN_ALLOW_THREADS
    dcz_nearest_classes(counts->buf, rows, width, rates->buf, classes, nearest->buf, sums->buf);
    Py_END_ALLOW_THREADS
    return 1;
}

static PyObject *nearest_classes(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[4] = {{0}};
    Py_ssize_t alphabet;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*ny*w*w*", &b[0], &alphabet, &b[1], &b[2], &b[3]))
        done = classes_found(&b[0], alphabet, &b[1], &b[2], &b[3]);
    release(b, 4);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef dcz_runs_methods[] = {
    {"find_bins", find_bins, METH_VARARGS, NULL},
    {"count_runs", count_runs, METH_VARARGS, NULL},
    {"map_runs", map_runs, METH_VARARGS, NULL},
    {"nearest_classes", nearest_classes, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
