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
    if (PyArg_ParseTuple(args, "y*pdIIIy*y*w*w*", &b[0], &w.wide, &w.scale, &states, &odd, &low,
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

/* A chunk with the memory that coding it takes. */
typedef struct {
    dcz_chunk chunk;
    dcz_trellis trellis;
    dcz_mixed *model;
    int16_t *history;
    dcz_column *columns;
} mixed_job;

static int chunk_is_legal(const dcz_chunk *c)
{
    if (c->row < 1 || c->row > DCZ_MIXED_ROW_LIMIT || c->kernel < 1 || c->kernel > c->row
        || c->width < 1 || c->width > c->kernel || c->row % c->kernel || c->kernel % c->width)
        return refuse("a chunk's geometry is outside its limits");
    if (c->numel > SIZE_MAX / 8) return refuse("a chunk is too large");
    return 1;
}

static int start_job(mixed_job *job)
{
    const dcz_chunk *c = &job->chunk;
    if (!chunk_is_legal(c)) return 0;
    job->model = PyMem_Malloc(sizeof *job->model);
    job->history
        = PyMem_Malloc((c->numel + 2 * c->row + DCZ_MIXED_MARGIN) * sizeof *job->history);
    job->columns = PyMem_Malloc(c->row * sizeof *job->columns);
    if (job->model && job->history && job->columns) return 1;
    PyErr_NoMemory();
    return 0;
}

static void end_job(mixed_job *job)
{
    PyMem_Free(job->model);
    PyMem_Free(job->history);
    PyMem_Free(job->columns);
}

/* Codes into memory that is made longer, and coded into again, if it does not suffice. */
static PyObject *encoded(const mixed_job *job, const int32_t *positions)
{
    size_t size = 4 * job->chunk.numel + 64, capacity;
    PyObject *result;
    uint8_t *out = NULL;
    if (!dcz_mixed_codable(job->trellis, positions, job->chunk.numel))
        return fail("positions do not follow the trellis");
    do {
        capacity = size;
        PyMem_Free(out);
        out = PyMem_Malloc(capacity);
        if (out == NULL) return PyErr_NoMemory();
        Py_BEGIN_ALLOW_THREADS
        size = dcz_mixed_encode(job->model, &job->chunk, job->trellis, job->history, job->columns,
                                positions, out, capacity);
        Py_END_ALLOW_THREADS
    } while (size > capacity);
    result = PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)size);
    PyMem_Free(out);
    return result;
}

static PyObject *encode_mixed(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer positions = {0};
    mixed_job job = {0};
    PyObject *result = NULL;
    Py_ssize_t start, row, kernel, width;
    if (PyArg_ParseTuple(args, "y*nnnnII", &positions, &start, &row, &kernel, &width,
                         &job.trellis.odd, &job.trellis.low)
        && is_array(&positions, 4)) {
        job.chunk = (dcz_chunk){(size_t)start, items(&positions, 4), (size_t)row, (size_t)kernel,
                                (size_t)width};
        if (start_job(&job)) result = encoded(&job, positions.buf);
    }
    end_job(&job);
    release(&positions, 1);
    return result;
}

static int decoded(mixed_job *job, const Py_buffer *data, const Py_buffer *positions)
{
    int whole;
    if (!start_job(job)) return 0;
    Py_BEGIN_ALLOW_THREADS
    whole = dcz_mixed_decode(job->model, &job->chunk, job->trellis, job->history, job->columns,
                             data->buf, (size_t)data->len, positions->buf);
    Py_END_ALLOW_THREADS
    return whole ? 1 : refuse("bytes are left over");
}

static PyObject *decode_mixed(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    mixed_job job = {0};
    Py_ssize_t start, row, kernel, width;
    int done = 0;
    if (PyArg_ParseTuple(args, "y*nnnnIIw*", &b[0], &start, &row, &kernel, &width,
                         &job.trellis.odd, &job.trellis.low, &b[1])
        && is_array(&b[1], 4)) {
        job.chunk = (dcz_chunk){(size_t)start, items(&b[1], 4), (size_t)row, (size_t)kernel,
                                (size_t)width};
        done = decoded(&job, &b[0], &b[1]);
    }
    end_job(&job);
    release(b, 2);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef dcz_trellis_methods[] = {
    {"quantize_trellis", quantize_trellis, METH_VARARGS, NULL},
    {"encode_mixed", encode_mixed, METH_VARARGS, NULL},
    {"decode_mixed", decode_mixed, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
