/* Python's way to trellis.c and mixed.c: every check of an argument and every allocation. */
#include "bind_arguments.h"

#include "mixed.h"
#include "trellis.h"

/* ---- quantize_trellis ---- */

static int quantized(const Py_buffer *values, const Py_buffer *classes, const Py_buffer *rates,
                     const Py_buffer *positions, const Py_buffer *counts, dcz_weighted *w,
                     const dcz_machine *machine)
{
    const size_t table = 2 * DCZ_TRELLIS_CLASSES * DCZ_TRELLIS_LEVELS;
    dcz_choice *choices;
    int done;
    if (!is_array(values, w->wide ? 8 : 4) || !is_array(rates, 8) || !is_array(positions, 4)
        || !is_array(counts, 8))
        return 0;
    w->count = items(values, w->wide ? 8 : 4);
    if ((size_t)classes->len != w->count || items(positions, 4) != w->count
        || items(rates, 8) != table || items(counts, 8) != table)
        return refuse("an array has the wrong size");
    if (w->count > SIZE_MAX / sizeof *choices) return refuse("too many values");
    choices = PyMem_Malloc(w->count ? w->count * sizeof *choices : 1);
    if (choices == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    w->values = values->buf;
    w->classes = classes->buf;
    w->rates = rates->buf;
    Py_BEGIN_ALLOW_THREADS
    done = dcz_quantize_trellis(machine, w, choices, positions->buf, counts->buf);
    Py_END_ALLOW_THREADS
    PyMem_Free(choices);
    return done ? 1 : refuse("a value is too many steps from zero, or a class has no rates");
}

static PyObject *quantize_trellis(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[5] = {{0}};
    dcz_weighted w = {0};
    dcz_machine machine;
    unsigned states, odd, low;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*ppdIIIy*y*w*w*", &b[0], &w.wide, &w.closed, &w.scale, &states, &odd, &low,
                         &b[1], &b[2], &b[3], &b[4])) {
        if (states < 2 || states > DCZ_TRELLIS_STATES
            || !dcz_make_machine(&machine, states, odd, low))
            refuse("a trellis has 2 to 64 states, each with two predecessors");
        else
            done = quantized(&b[0], &b[1], &b[2], &b[3], &b[4], &w, &machine);
    }
    release(b, 5);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* ---- encode_mixed and decode_mixed ---- */

/* Chunks with the memory that coding them takes, and the elements of all together. */
typedef struct {
    dcz_chunk *all;
    dcz_chunks chunks;
    dcz_trellis trellis;
    dcz_mixed *model;
    size_t numel;
} mixed_job;

static int chunk_is_legal(const dcz_chunk *c)
{
    if (c->row < 1 || c->row > DCZ_MIXED_ROW_LIMIT || c->kernel < 1 || c->kernel > c->row
        || c->width < 1 || c->width > c->kernel || c->row % c->kernel || c->kernel % c->width)
        return refuse("a chunk's geometry is outside its limits");
    if (c->numel > SIZE_MAX / 8) return refuse("a chunk is too large");
    return 1;
}

/* Reads the chunks from five numbers each, in the order of dcz_chunk. */
static int read_chunks(mixed_job *job, const Py_buffer *numbers)
{
    const uint64_t *n = numbers->buf;
    if (!is_array(numbers, 8)) return 0;
    if (items(numbers, 8) % 5) return refuse("a chunk has five numbers");
    job->chunks.count = items(numbers, 8) / 5;
    job->all = PyMem_Malloc((job->chunks.count + 1) * sizeof *job->all);
    if (job->all == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    for (size_t i = 0; i < job->chunks.count; i++, n += 5) {
        job->all[i] = (dcz_chunk){(size_t)n[0], (size_t)n[1], (size_t)n[2], (size_t)n[3],
                                  (size_t)n[4]};
        if (!chunk_is_legal(job->all + i)) return 0;
        job->numel += job->all[i].numel;
        if (job->numel > SIZE_MAX / 8) return refuse("the chunks are too large");
    }
    job->chunks.all = job->all;
    return 1;
}

static int start_job(mixed_job *job, const Py_buffer *numbers, size_t numel)
{
    size_t history = 0, row = 1;
    if (!read_chunks(job, numbers)) return 0;
    if (job->numel != numel) return refuse("positions and chunks differ in size");
    for (size_t i = 0; i < job->chunks.count; i++) {
        const dcz_chunk *c = job->all + i;
        size_t own = c->numel + 2 * c->row + DCZ_MIXED_MARGIN;
        if (own > history) history = own;
        if (c->row > row) row = c->row;
    }
    job->model = PyMem_Malloc(sizeof *job->model);
    job->chunks.history = PyMem_Malloc((history + 1) * sizeof *job->chunks.history);
    job->chunks.columns = PyMem_Malloc(row * sizeof *job->chunks.columns);
    if (job->model && job->chunks.history && job->chunks.columns) return 1;
    PyErr_NoMemory();
    return 0;
}

static void end_job(mixed_job *job)
{
    PyMem_Free(job->all);
    PyMem_Free(job->model);
    PyMem_Free(job->chunks.history);
    PyMem_Free(job->chunks.columns);
}

static int are_codable(const mixed_job *job, const int32_t *positions)
{
    for (size_t i = 0; i < job->chunks.count; positions += job->all[i++].numel)
        if (!dcz_mixed_codable(job->trellis, positions, job->all[i].numel)) return 0;
    return 1;
}

/* Codes into memory that is made longer, and coded into again, if it does not suffice. */
static PyObject *encoded(const mixed_job *job, const int32_t *positions)
{
    size_t size = 4 * job->numel + 64, capacity;
    PyObject *result;
    uint8_t *out = NULL;
    if (!are_codable(job, positions))
        return fail("positions do not follow the trellis");
    do {
        capacity = size;
        PyMem_Free(out);
        out = PyMem_Malloc(capacity);
        if (out == NULL) return PyErr_NoMemory();
        Py_BEGIN_ALLOW_THREADS
        size = dcz_mixed_encode(job->model, &job->chunks, job->trellis, positions, out, capacity);
        Py_END_ALLOW_THREADS
    } while (size > capacity);
    result = PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)size);
    PyMem_Free(out);
    return result;
}

static PyObject *encode_mixed(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    mixed_job job = {0};
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*y*pII", &b[0], &b[1], &job.chunks.grouped, &job.trellis.odd,
                         &job.trellis.low)
        && is_array(&b[0], 4) && start_job(&job, &b[1], items(&b[0], 4)))
        result = encoded(&job, b[0].buf);
    end_job(&job);
    release(b, 2);
    return result;
}

static int decoded(mixed_job *job, const Py_buffer *data, int32_t *positions)
{
    int whole;
    Py_BEGIN_ALLOW_THREADS
    whole = dcz_mixed_decode(job->model, &job->chunks, job->trellis, data->buf, (size_t)data->len,
                             positions);
    Py_END_ALLOW_THREADS
    return whole ? 1 : refuse("bytes are left over");
}

static PyObject *decode_mixed(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[3] = {{0}};
    mixed_job job = {0};
    int done = 0;
    if (PyArg_ParseTuple(args, "y*y*pIIw*", &b[0], &b[1], &job.chunks.grouped, &job.trellis.odd,
                         &job.trellis.low, &b[2])
        && is_array(&b[2], 4) && start_job(&job, &b[1], items(&b[2], 4)))
        done = decoded(&job, &b[0], b[2].buf);
    end_job(&job);
    release(b, 3);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef dcz_trellis_methods[] = {
    {"quantize_trellis", quantize_trellis, METH_VARARGS, NULL},
    {"encode_mixed", encode_mixed, METH_VARARGS, NULL},
    {"decode_mixed", decode_mixed, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
