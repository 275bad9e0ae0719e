/* Python's way to the kernels of runs.c: every check of an argument and every allocation. The
 * results' arrays are the caller's (native_runs.py makes them with NumPy). */
#include "bind_arguments.h"

#include <string.h>

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

/* ---- decode_runs ---- */

typedef struct {
    Py_buffer payload, offsets, classes, lengths, alphabets, widths, values, out;
} runs_buffers;

typedef struct {
    size_t kinds; /* of classes */
    size_t length, item_size;
    size_t count; /* of elements */
    size_t runs, runs_in_block;
    dcz_decoder decoders[DCZ_CLASS_LIMIT];
    size_t widths[DCZ_CLASS_LIMIT];
    uint8_t *scratch;
} runs_job;

static size_t block_runs(const runs_job *job, size_t first)
{
    size_t left = job->runs - first;
    return left < job->runs_in_block ? left : job->runs_in_block;
}

/* Decodes a block of `length` elements, the last run perhaps shorter: its classes, each into a part of the scratch or, if there is only one and it ends
 * with a whole symbol, into its place. */
static dcz_status decode_block(const runs_job *job, const Py_buffer *payload,
                               const int64_t *offsets, const uint8_t *classes, size_t runs,
                               size_t length, uint8_t *out)
{
    size_t of_class[DCZ_CLASS_LIMIT] = {0};
    const uint8_t *from[DCZ_CLASS_LIMIT];
    uint8_t *at = job->scratch;
    for (size_t i = 0; i < runs; i++) of_class[classes[i]] += job->length;
    of_class[classes[runs - 1]] -= runs * job->length - length;
    for (size_t k = 0; k < job->kinds; k++) {
        size_t width = job->widths[k], elements = of_class[k];
        size_t count = elements / width + (elements % width > 0);
        int straight = job->kinds == 1 && elements % width == 0;
        dcz_status status = dcz_decode_segment(&job->decoders[k], payload->buf,
                                               (size_t)payload->len, (size_t)offsets[k], count,
                                               straight ? out : at);
        if (status != DCZ_OK || straight) return status;
        from[k] = at;
        at += count * width * job->item_size;
    }
    dcz_put_runs(classes, length * job->item_size, job->length * job->item_size, from, out);
    return DCZ_OK;
}

static dcz_status decode_blocks(const runs_job *job, const runs_buffers *b)
{
    const int64_t *offsets = b->offsets.buf;
    const uint8_t *classes = b->classes.buf;
    uint8_t *out = b->out.buf;
    for (size_t first = 0; first < job->runs; first += job->runs_in_block) {
        size_t runs = block_runs(job, first), begin = first * job->length;
        size_t left = job->count - begin;
        size_t length = left < runs * job->length ? left : runs * job->length;
        dcz_status status = decode_block(job, &b->payload, offsets, classes + first, runs, length,
                                         out + begin * job->item_size);
        if (status != DCZ_OK) return status;
        offsets += job->kinds;
    }
    return DCZ_OK;
}

/* Reads one class's code and fills its table. */
static int prepare_class(runs_job *job, size_t k, const uint8_t *lengths, size_t alphabet,
                         const uint8_t *values)
{
    dcz_decoder *decoder = &job->decoders[k];
    dcz_status status = DCZ_BAD_ALPHABET;
    if (alphabet <= DCZ_ALPHABET_LIMIT)
        status = dcz_read_code(lengths, (uint32_t)alphabet, &decoder->code);
    if (status != DCZ_OK) return refuse(dcz_status_text(status));
    decoder->values = values;
    decoder->item_size = (uint32_t)(job->item_size * job->widths[k]);
    decoder->table = PyMem_Malloc(dcz_table_bytes(&decoder->code, decoder->item_size));
    if (!decoder->table) {
        PyErr_NoMemory();
        return 0;
    }
    dcz_prepare(decoder);
    return 1;
}

static int prepare_classes(runs_job *job, const runs_buffers *b)
{
    const int64_t *alphabets = b->alphabets.buf, *widths = b->widths.buf;
    size_t lengths = 0, values = 0;
    for (size_t k = 0; k < job->kinds; k++) {
        size_t alphabet, bytes;
        if (alphabets[k] < 1 || alphabets[k] > DCZ_ALPHABET_LIMIT)
            return refuse(dcz_status_text(DCZ_BAD_ALPHABET));
        if (widths[k] != 1 && widths[k] != 2) return refuse("a symbol has one or two elements");
        if (widths[k] * (int64_t)job->item_size > 8) return refuse("the elements are too wide");
        alphabet = (size_t)alphabets[k];
        job->widths[k] = (size_t)widths[k];
        bytes = alphabet * job->widths[k] * job->item_size;
        if (alphabet > (size_t)b->lengths.len - lengths)
            return refuse("there are too few code lengths");
        if (bytes > (size_t)b->values.len - values) return refuse("there are too few values");
        if (!prepare_class(job, k, (const uint8_t *)b->lengths.buf + lengths, alphabet,
                           (const uint8_t *)b->values.buf + values))
            return 0;
        lengths += alphabet;
        values += bytes;
    }
    return 1;
}

static int check_runs(const runs_job *job, const runs_buffers *b)
{
    const int64_t *offsets = b->offsets.buf;
    const uint8_t *classes = b->classes.buf;
    size_t blocks = job->runs / job->runs_in_block + (job->runs % job->runs_in_block > 0);
    if (items(&b->offsets, 8) != blocks * job->kinds)
        return refuse("blocks and offsets differ in number");
    for (size_t i = 0; i < blocks * job->kinds; i++)
        if (offsets[i] < 0 || offsets[i] > b->payload.len)
            return refuse("a segment is outside the payload");
    for (size_t i = 0; i < job->runs; i++)
        if (classes[i] >= job->kinds) return refuse("a run is in no class");
    return 1;
}

/* A block's elements, what pads each class to whole symbols, and what a copy reads too much. */
static int allocate_scratch(runs_job *job)
{
    size_t block = block_runs(job, 0);
    size_t elements = block == job->runs ? job->count : block * job->length;
    job->scratch
        = PyMem_Malloc((elements + job->kinds) * job->item_size + DCZ_COPY_SLACK);
    if (job->scratch) return 1;
    PyErr_NoMemory();
    return 0;
}

static int runs_decoded(const runs_buffers *b, Py_ssize_t length, Py_ssize_t runs_in_block,
                        unsigned item_size, runs_job *job)
{
    dcz_status status;
    if (item_size != 1 && item_size != 2 && item_size != 4 && item_size != 8)
        return refuse("items must have 1, 2, 4 or 8 bytes");
    if (!is_array(&b->offsets, 8) || !is_array(&b->alphabets, 8) || !is_array(&b->widths, 8))
        return 0;
    job->kinds = items(&b->alphabets, 8);
    if (job->kinds < 1 || job->kinds > DCZ_CLASS_LIMIT || b->widths.len != b->alphabets.len)
        return refuse("there are 1 to 16 classes");
    if (length < 1 || runs_in_block < 1) return refuse("a run has at least one element");
    job->length = (size_t)length;
    job->item_size = item_size;
    job->runs = (size_t)b->classes.len;
    job->runs_in_block = (size_t)runs_in_block;
    job->count = items(&b->out, item_size);
    if (b->out.len % (Py_ssize_t)item_size != 0
        || job->runs != job->count / job->length + (job->count % job->length > 0))
        return refuse("the runs do not fill the output");
    if (job->runs_in_block > job->runs) job->runs_in_block = job->runs;
    if (job->runs == 0) return 1;
    if (!check_runs(job, b) || !prepare_classes(job, b) || !allocate_scratch(job)) return 0;
    Py_BEGIN_ALLOW_THREADS
    status = decode_blocks(job, b);
    Py_END_ALLOW_THREADS
    return status == DCZ_OK ? 1 : refuse(dcz_status_text(status));
}

static PyObject *decode_runs(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        runs_buffers named;
        Py_buffer all[8];
    } b;
    runs_job job = {0};
    Py_ssize_t length, runs_in_block;
    unsigned item_size;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*y*y*nny*y*y*y*Iw*", &b.named.payload, &b.named.offsets,
                         &b.named.classes, &length, &runs_in_block, &b.named.lengths,
                         &b.named.alphabets, &b.named.widths, &b.named.values, &item_size,
                         &b.named.out))
        done = runs_decoded(&b.named, length, runs_in_block, item_size, &job);
    for (size_t k = 0; k < job.kinds && k < DCZ_CLASS_LIMIT; k++)
        PyMem_Free(job.decoders[k].table);
    PyMem_Free(job.scratch);
    release(b.all, 8);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef dcz_runs_methods[] = {
    {"find_bins", find_bins, METH_VARARGS, NULL},
    {"count_runs", count_runs, METH_VARARGS, NULL},
    {"map_runs", map_runs, METH_VARARGS, NULL},
    {"nearest_classes", nearest_classes, METH_VARARGS, NULL},
    {"decode_runs", decode_runs, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
