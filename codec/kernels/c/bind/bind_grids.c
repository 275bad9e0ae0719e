/* Python's way to the kernels of grids.h and class_streams.h: every check of an argument and every
 * allocation. Short calls keep the GIL: to hand it over would take longer. */
#include "bind_arguments.h"

#include <string.h>

#include "class_streams.h"
#include "grids.h"

enum { MANY_WEIGHTS = 1024 };

/* ---- round_grid ---- */

typedef struct {
    Py_buffer bins, groups, indices;
} grid_buffers;

static int read_grid(const grid_buffers *b, Py_ssize_t length, Py_ssize_t classes,
                     Py_ssize_t levels, Py_ssize_t bins_a_step, dcz_grid *grid)
{
    size_t count = items(&b->bins, 2), runs = items(&b->groups, 4);
    if (!is_array(&b->bins, 2) || !is_array(&b->groups, 4) || !is_array(&b->indices, 2)) return 0;
    if (length < 1) return refuse("a run has at least one element");
    if (runs != count / (size_t)length + (count % (size_t)length > 0))
        return refuse("runs and groups differ in number");
    if (classes < 1 || classes > 16) return refuse("there are 1 to 16 classes");
    if (levels < 1 || bins_a_step < 1 || levels > 65536 || bins_a_step > 65536 / levels)
        return refuse("a grid has 1 to 65536 bins");
    if (items(&b->indices, 2) != count)
        return refuse("an array for the result has the wrong size");
    grid->runs = (dcz_runs){.count = count, .length = (size_t)length, .groups = b->groups.buf};
    for (size_t i = 0; i < runs; i++)
        if (grid->runs.groups[i] >= (size_t)classes)
            return refuse("a group has no place in the result");
    grid->bins = b->bins.buf;
    grid->classes = (size_t)classes;
    grid->levels = (size_t)levels;
    grid->bins_a_step = (size_t)bins_a_step;
    return 1;
}

static PyObject *round_checked(const grid_buffers *b, const dcz_grid *grid)
{
    dcz_grid_book book;
    int fits;
    void *room = PyMem_Malloc(8 * dcz_round_grid_room(grid));
    if (!room) return PyErr_NoMemory();
    if (grid->runs.count < MANY_WEIGHTS) {
        fits = dcz_round_grid(grid, room, &book, b->indices.buf);
    } else {
        Py_BEGIN_ALLOW_THREADS
        fits = dcz_round_grid(grid, room, &book, b->indices.buf);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(room);
    if (!fits) return fail("a bin is past the last level, or a class has no weight");
    return Py_BuildValue("nny#", (Py_ssize_t)book.first, (Py_ssize_t)book.last, book.correction,
                         (Py_ssize_t)book.corrections);
}

static PyObject *round_grid(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        grid_buffers named;
        Py_buffer all[3];
    } b;
    dcz_grid grid = {0};
    Py_ssize_t length, classes, levels, bins_a_step, lowest;
    PyObject *result = NULL;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*ny*nnnndw*", &b.named.bins, &length, &b.named.groups, &classes,
                         &levels, &bins_a_step, &lowest, &grid.slope_factor, &b.named.indices)
        && read_grid(&b.named, length, classes, levels, bins_a_step, &grid)) {
        grid.lowest = lowest;
        result = round_checked(&b.named, &grid);
    }
    release(b.all, 3);
    return result;
}

/* ---- classify ---- */

static PyObject *classify_checked(const Py_buffer *counts, size_t alphabet, size_t most,
                                  const dcz_class_costs *costs, const Py_buffer *found,
                                  long long least)
{
    size_t rows = (size_t)found->len, classes;
    int64_t bits = least;
    void *room;
    if (!is_array(counts, 8)) return NULL;
    if (alphabet < 1 || items(counts, 8) / alphabet != rows || items(counts, 8) % alphabet != 0)
        return fail("an array has the wrong size");
    if (most < 2 || most > 16 || most > rows) return fail("there are 2 to 16 classes");
    room = PyMem_Malloc(8 * dcz_classify_room(rows, alphabet, most));
    if (!room) return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    classes = dcz_classify(counts->buf, rows, alphabet, most, costs, room, found->buf, &bits);
    Py_END_ALLOW_THREADS
    PyMem_Free(room);
    return Py_BuildValue("nL", (Py_ssize_t)classes, (long long)bits);
}

static PyObject *classify(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    Py_ssize_t alphabet, most, steps;
    long long a_class, a_map_class, least;
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*nnnLLLw*", &b[0], &alphabet, &most, &steps, &a_class,
                         &a_map_class, &least, &b[1])) {
        dcz_class_costs costs = {a_class, a_map_class, (size_t)(steps < 0 ? 0 : steps)};
        result = classify_checked(&b[0], (size_t)(alphabet < 0 ? 0 : alphabet),
                                  (size_t)(most < 0 ? 0 : most), &costs, &b[1], least);
    }
    release(b, 2);
    return result;
}

/* ---- coded_bits ---- */

static PyObject *coded_bits(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer counts = {0};
    Py_ssize_t alphabet;
    long long overhead, bits = 0;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*nL", &counts, &alphabet, &overhead) && is_array(&counts, 8)) {
        size_t count = items(&counts, 8), width = (size_t)alphabet;
        done = alphabet > 0 && count % width == 0;
        if (done)
            bits = dcz_coded_bits(counts.buf, count / width, width, overhead);
        else
            refuse("an array has the wrong size");
    }
    release(&counts, 1);
    return done ? PyLong_FromLongLong(bits) : NULL;
}

/* ---- code_class ---- */

static PyObject *code_checked(const Py_buffer *indices, unsigned item_size, int may_pair,
                              const Py_buffer *counts)
{
    size_t count = items(indices, item_size), levels = items(counts, 8);
    dcz_coded_class coded = {0};
    dcz_class_room *room = PyMem_Malloc(sizeof *room);
    uint16_t *symbols = PyMem_Malloc(2 * count);
    uint8_t *segment = PyMem_Malloc(dcz_segment_bound(count, DCZ_LENGTH_LIMIT));
    PyObject *result = NULL;
    int known;
    if (room && symbols && segment) {
        if (count < MANY_WEIGHTS) {
            known = dcz_code_class(indices->buf, item_size, count, (uint32_t)levels, may_pair, room,
                                   symbols, segment, counts->buf, &coded);
        } else {
            Py_BEGIN_ALLOW_THREADS
            known = dcz_code_class(indices->buf, item_size, count, (uint32_t)levels, may_pair, room,
                                   symbols, segment, counts->buf, &coded);
            Py_END_ALLOW_THREADS
        }
        result = known ? Py_BuildValue("y#y#LL", coded.table, (Py_ssize_t)coded.table_bytes, segment,
                                       (Py_ssize_t)coded.segment_bytes, (long long)coded.bits,
                                       (long long)coded.least)
                       : fail("an index is outside the codebook");
    } else {
        PyErr_NoMemory();
    }
    PyMem_Free(room);
    PyMem_Free(symbols);
    PyMem_Free(segment);
    return result;
}

static PyObject *code_class(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    unsigned item_size;
    int may_pair;
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*Ipw*", &b[0], &item_size, &may_pair, &b[1])
        && is_symbol_size(item_size) && is_array(&b[0], item_size) && is_array(&b[1], 8)) {
        if (b[0].len == 0)
            refuse("a class has at least one element");
        else if (items(&b[1], 8) < 1 || items(&b[1], 8) > DCZ_ALPHABET_LIMIT)
            refuse("an alphabet has 1 to 4096 symbols");
        else
            result = code_checked(&b[0], item_size, may_pair, &b[1]);
    }
    release(b, 2);
    return result;
}

/* ---- rate_curve ---- */

typedef struct {
    Py_buffer means, counts, measured, after, further, bits_way, root_way, ratio, log_ratio;
    Py_buffer bits, errors, hull;
} curve_buffers;

static int read_plan(const curve_buffers *b, dcz_level_plan *plan)
{
    *plan = (dcz_level_plan){b->measured.buf, b->after.buf, b->further.buf, b->bits_way.buf,
                             b->root_way.buf, b->ratio.buf, b->log_ratio.buf,
                             items(&b->measured, 8), items(&b->after, 8), items(&b->further, 8)};
    if (plan->measured_count < 1 || items(&b->bits_way, 8) != plan->filled_count
        || items(&b->root_way, 8) != plan->filled_count
        || items(&b->ratio, 8) != plan->further_count
        || items(&b->log_ratio, 8) != plan->further_count)
        return refuse("an array has the wrong size");
    for (size_t i = 0; i < plan->measured_count; i++)
        if (plan->measured[i] < 1) return refuse("there is at least one level");
    for (size_t i = 0; i < plan->filled_count; i++)
        if (plan->after[i] < (i > 0 ? plan->after[i - 1] : 1)
            || plan->after[i] >= (int64_t)plan->measured_count)
            return refuse("a number of levels is not between measured ones");
    return 1;
}

static int read_weights(const curve_buffers *b, dcz_distribution *weights)
{
    weights->means = b->means.buf;
    weights->counts = b->counts.buf;
    weights->bins = items(&b->means, 8);
    if (weights->bins < 1 || items(&b->counts, 8) != weights->bins)
        return refuse("an array has the wrong size");
    for (size_t i = 0; i < weights->bins; i++) {
        if (weights->counts[i] < 1) return refuse("a bin has no weight");
        if (!(weights->means[i] >= 0 && weights->means[i] <= 1)
            || (i > 0 && !(weights->means[i] > weights->means[i - 1])))
            return refuse("positions do not ascend from 0 to 1");
    }
    return 1;
}

static PyObject *curve_checked(const curve_buffers *b, const dcz_distribution *weights,
                               const dcz_level_plan *plan)
{
    const size_t points = plan->measured_count + plan->filled_count + plan->further_count + 1;
    size_t kept;
    void *room;
    if (items(&b->bits, 8) != points || items(&b->errors, 8) != points
        || items(&b->hull, 4) != 2 * points)
        return fail("an array for the result has the wrong size");
    room = PyMem_Malloc(8 * dcz_measure_room(weights));
    if (!room) return PyErr_NoMemory();
    dcz_measure_levels(weights, plan, room, b->bits.buf, b->errors.buf);
    kept = dcz_lower_hull(b->bits.buf, b->errors.buf, plan, (uint32_t *)b->hull.buf + points,
                          b->hull.buf);
    PyMem_Free(room);
    return PyLong_FromSize_t(kept);
}

static PyObject *rate_curve(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        curve_buffers named;
        Py_buffer all[12];
    } b;
    dcz_distribution weights = {0};
    dcz_level_plan plan;
    PyObject *result = NULL;
    int arrays = 1;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*y*dd(y*y*y*y*y*y*y*)w*w*w*", &b.all[0], &b.all[1], &weights.width,
                         &weights.value_bits, &b.all[2], &b.all[3], &b.all[4], &b.all[5],
                         &b.all[6], &b.all[7], &b.all[8], &b.all[9], &b.all[10], &b.all[11])) {
        for (int i = 0; i < 12; i++) arrays = arrays && is_array(&b.all[i], i < 11 ? 8 : 4);
        if (arrays && read_plan(&b.named, &plan) && read_weights(&b.named, &weights))
            result = curve_checked(&b.named, &weights, &plan);
    }
    release(b.all, 12);
    return result;
}

/* ---- round_tiny ---- */

typedef struct {
    Py_buffer values, ends, steps, left_out, positions;
} tiny_buffers;

static int read_tiny(const tiny_buffers *b, dcz_tiny *tensors)
{
    size_t item_size = tensors->wide ? 8 : 4, count = items(&b->values, item_size);
    int64_t begin = 0;
    if (!is_array(&b->values, item_size) || !is_array(&b->ends, 8) || !is_array(&b->steps, 8)
        || !is_array(&b->positions, 4))
        return 0;
    tensors->values = b->values.buf;
    tensors->ends = b->ends.buf;
    tensors->steps = b->steps.buf;
    tensors->count = items(&b->ends, 8);
    if (items(&b->steps, 8) != tensors->count || (size_t)b->left_out.len != tensors->count
        || items(&b->positions, 4) != count)
        return refuse("an array has the wrong size");
    for (size_t i = 0; i < tensors->count; i++) {
        if (tensors->ends[i] <= begin || tensors->ends[i] - begin > DCZ_TINY)
            return refuse("a tiny tensor has 1 to 128 weights");
        begin = tensors->ends[i];
    }
    return (size_t)begin == count ? 1 : refuse("tensors do not end where the values do");
}

static PyObject *round_tiny(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        tiny_buffers named;
        Py_buffer all[5];
    } b;
    dcz_tiny tensors = {0};
    PyObject *result = NULL;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*py*y*dw*w*", &b.named.values, &tensors.wide, &b.named.ends,
                         &b.named.steps, &tensors.slope_factor, &b.named.left_out,
                         &b.named.positions)
        && read_tiny(&b.named, &tensors)) {
        void *room = PyMem_Malloc(8 * dcz_round_tiny_room());
        if (room) {
            Py_BEGIN_ALLOW_THREADS
            dcz_round_tiny(&tensors, room, b.named.left_out.buf, b.named.positions.buf);
            Py_END_ALLOW_THREADS
            result = Py_NewRef(Py_None);
        } else {
            PyErr_NoMemory();
        }
        PyMem_Free(room);
    }
    release(b.all, 5);
    return result;
}

PyMethodDef dcz_grids_methods[] = {
    {"round_tiny", round_tiny, METH_VARARGS, NULL},
    {"round_grid", round_grid, METH_VARARGS, NULL},
    {"classify", classify, METH_VARARGS, NULL},
    {"coded_bits", coded_bits, METH_VARARGS, NULL},
    {"code_class", code_class, METH_VARARGS, NULL},
    {"rate_curve", rate_curve, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
