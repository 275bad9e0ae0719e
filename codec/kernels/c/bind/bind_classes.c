/* Python's way to the kernels of classes.h: every check of an argument and every allocation. The
 * results' arrays are the caller's (native_classes.py makes them with NumPy). */
#include "bind_arguments.h"

#include <string.h>

#include "classes.h"

/* ---- read_class_codes ---- */

typedef struct {
    Py_buffer payload, alphabets, widths, coded, lengths, members;
} codes_buffers;

typedef struct {
    size_t position, symbols, members; /* the end in the payload; how many of each were read */
} codes_read;

static int has_room(const codes_buffers *b, size_t kinds)
{
    if (!is_array(&b->alphabets, 8) || !is_array(&b->widths, 8) || !is_array(&b->members, 2))
        return 0;
    if (kinds < 1 || kinds > DCZ_CLASS_LIMIT) return refuse("there are 1 to 16 classes");
    if (items(&b->widths, 8) != kinds || (size_t)b->coded.len != kinds
        || (size_t)b->lengths.len < kinds * DCZ_ALPHABET_LIMIT
        || items(&b->members, 2) < kinds * DCZ_ALPHABET_LIMIT * DCZ_WIDTH_LIMIT)
        return refuse("an array for the result has the wrong size");
    return 1;
}

static int codes_checked(const codes_buffers *b, Py_ssize_t position, Py_ssize_t levels,
                         unsigned item_size, codes_read *found)
{
    const uint8_t *payload = b->payload.buf;
    int64_t *alphabets = b->alphabets.buf, *widths = b->widths.buf;
    size_t kinds = items(&b->alphabets, 8);
    dcz_bytes rest;
    if (!has_room(b, kinds) || !is_item_size(item_size)) return 0;
    if (position < 0 || position > b->payload.len) return refuse("a table is outside the payload");
    if (levels < 1 || levels > DCZ_ALPHABET_LIMIT) return refuse("unusable codebook");
    rest = (dcz_bytes){payload + position, payload + b->payload.len};
    for (size_t k = 0; k < kinds; k++) {
        dcz_class_code code = {.lengths = (uint8_t *)b->lengths.buf + found->symbols,
                               .members = (uint16_t *)b->members.buf + found->members};
        dcz_status status = dcz_read_class_code(&rest, (size_t)levels, item_size, &code);
        if (status != DCZ_OK) return refuse_status(status);
        alphabets[k] = (int64_t)code.alphabet;
        widths[k] = (int64_t)code.width;
        ((uint8_t *)b->coded.buf)[k] = (uint8_t)code.coded;
        found->symbols += code.alphabet;
        found->members += code.alphabet * code.width;
    }
    found->position = (size_t)(rest.at - payload);
    return 1;
}

/* Keeps the GIL: it takes some microseconds. */
static PyObject *read_class_codes(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        codes_buffers named;
        Py_buffer all[6];
    } b;
    codes_read found = {0};
    Py_ssize_t position, levels;
    unsigned item_size;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*nnIw*w*w*w*w*", &b.named.payload, &position, &levels, &item_size,
                         &b.named.alphabets, &b.named.widths, &b.named.coded, &b.named.lengths,
                         &b.named.members))
        done = codes_checked(&b.named, position, levels, item_size, &found);
    release(b.all, 6);
    if (!done) return NULL;
    return Py_BuildValue("nnn", (Py_ssize_t)found.position, (Py_ssize_t)found.symbols,
                         (Py_ssize_t)found.members);
}

/* ---- runs ---- */

/* Reads and checks how runs fill `count` elements. A run is no longer than all of them: that
 * changes nothing, and no product overflows. */
static int read_class_runs(const Py_buffer *classes, size_t kinds, Py_ssize_t length,
                           Py_ssize_t runs_in_block, size_t count, dcz_class_runs *runs)
{
    const uint8_t *each = classes->buf;
    size_t own = (size_t)length < count ? (size_t)length : count;
    if (length < 1 || runs_in_block < 1) return refuse("a run has at least one element");
    if (kinds < 1 || kinds > DCZ_CLASS_LIMIT) return refuse("there are 1 to 16 classes");
    *runs = (dcz_class_runs){.classes = each, .kinds = kinds, .length = own, .count = count,
                             .runs = (size_t)classes->len,
                             .runs_in_block = (size_t)runs_in_block};
    if (runs->runs != (count ? dcz_symbols(count, own) : 0))
        return refuse("the runs do not fill the output");
    for (size_t i = 0; i < runs->runs; i++)
        if (each[i] >= kinds) return refuse("a run is in no class");
    return 1;
}

static size_t blocks_of(const dcz_class_runs *runs)
{
    return runs->runs / runs->runs_in_block + (runs->runs % runs->runs_in_block > 0);
}

/* ---- find_class_segments ---- */

typedef struct {
    Py_buffer payload, classes, coded, widths, found;
} find_buffers;

static int is_width(int64_t width)
{
    return width >= 1 && width <= DCZ_WIDTH_LIMIT ? 1 : refuse("a symbol has one or two elements");
}

static int segments_found(const find_buffers *b, Py_ssize_t position, Py_ssize_t length,
                          Py_ssize_t runs_in_block, Py_ssize_t count)
{
    const int64_t *widths = b->widths.buf;
    dcz_class_runs runs;
    dcz_status status;
    if (!is_array(&b->widths, 8) || !is_array(&b->found, 8)) return 0;
    if (count < 0 || position < 0 || position > b->payload.len)
        return refuse("a segment is outside the payload");
    if (!read_class_runs(&b->classes, (size_t)b->coded.len, length, runs_in_block, (size_t)count,
                         &runs))
        return 0;
    if (items(&b->widths, 8) != runs.kinds
        || items(&b->found, 8) != blocks_of(&runs) * runs.kinds + 1)
        return refuse("an array has the wrong size");
    for (size_t k = 0; k < runs.kinds; k++)
        if (!is_width(widths[k])) return 0;
    status = dcz_find_class_segments(&runs, b->coded.buf, widths, b->payload.buf,
                                     (size_t)b->payload.len, (size_t)position, b->found.buf);
    return status == DCZ_OK ? 1 : refuse_status(status);
}

/* Keeps the GIL: it takes some microseconds. */
static PyObject *find_class_segments(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        find_buffers named;
        Py_buffer all[5];
    } b;
    Py_ssize_t position, length, runs_in_block, count;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*ny*nnny*y*w*", &b.named.payload, &position, &b.named.classes,
                         &length, &runs_in_block, &count, &b.named.coded, &b.named.widths,
                         &b.named.found))
        done = segments_found(&b.named, position, length, runs_in_block, count);
    release(b.all, 5);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* ---- decode_runs ---- */

typedef struct {
    Py_buffer payload, offsets, classes, lengths, alphabets, widths, values, out, digests;
} runs_buffers;

typedef struct {
    dcz_class_runs runs;
    size_t item_size;
    dcz_class_source sources[DCZ_CLASS_LIMIT];
    uint8_t *waiting;
} runs_job;

/* Reads one class's code and fills its table. */
static int prepare_source(dcz_class_source *source, const uint8_t *lengths, size_t alphabet,
                          const uint8_t *values, size_t item_size)
{
    dcz_decoder *decoder = &source->decoder;
    dcz_status status = dcz_read_code(lengths, (uint32_t)alphabet, &decoder->code);
    if (status != DCZ_OK) return refuse(dcz_status_text(status));
    decoder->values = values;
    decoder->item_size = (uint32_t)(item_size * source->width);
    return fill_decoder(decoder);
}

static int prepare_sources(runs_job *job, const runs_buffers *b)
{
    const int64_t *alphabets = b->alphabets.buf, *widths = b->widths.buf;
    size_t lengths = 0, values = 0;
    for (size_t k = 0; k < job->runs.kinds; k++) {
        dcz_class_source *source = &job->sources[k];
        size_t alphabet, bytes;
        if (alphabets[k] < 1 || alphabets[k] > DCZ_ALPHABET_LIMIT)
            return refuse(dcz_status_text(DCZ_BAD_ALPHABET));
        if (!is_width(widths[k])) return 0;
        if ((size_t)widths[k] * job->item_size > 8) return refuse("the elements are too wide");
        alphabet = (size_t)alphabets[k];
        source->width = (size_t)widths[k];
        bytes = alphabet * source->width * job->item_size;
        if (alphabet > (size_t)b->lengths.len - lengths)
            return refuse("there are too few code lengths");
        if (bytes > (size_t)b->values.len - values) return refuse("there are too few values");
        if (!prepare_source(source, (const uint8_t *)b->lengths.buf + lengths, alphabet,
                            (const uint8_t *)b->values.buf + values, job->item_size))
            return 0;
        lengths += alphabet;
        values += bytes;
    }
    return 1;
}

static int check_offsets(const runs_job *job, const runs_buffers *b)
{
    const int64_t *offsets = b->offsets.buf;
    size_t segments = blocks_of(&job->runs) * job->runs.kinds;
    if (items(&b->offsets, 8) != segments) return refuse("blocks and offsets differ in number");
    for (size_t i = 0; i < segments; i++)
        if (offsets[i] < 0 || offsets[i] > b->payload.len)
            return refuse("a segment is outside the payload");
    return 1;
}

static int allocate_waiting(runs_job *job)
{
    const size_t each = DCZ_WAITING_BYTES + DCZ_COPY_SLACK;
    job->waiting = PyMem_Malloc(job->runs.kinds * each);
    if (!job->waiting) {
        PyErr_NoMemory();
        return 0;
    }
    for (size_t k = 0; k < job->runs.kinds; k++)
        job->sources[k].waiting = job->waiting + k * each;
    return 1;
}

static int runs_decoded(const runs_buffers *b, Py_ssize_t length, Py_ssize_t runs_in_block,
                        unsigned item_size, runs_job *job)
{
    dcz_status status;
    dcz_digester digester;
    if (!is_item_size(item_size) || !is_array(&b->offsets, 8) || !is_array(&b->alphabets, 8)
        || !is_array(&b->widths, 8))
        return 0;
    if (b->widths.len != b->alphabets.len) return refuse("an array has the wrong size");
    if (b->out.len % (Py_ssize_t)item_size != 0) return refuse("the runs do not fill the output");
    job->item_size = item_size;
    if (!read_class_runs(&b->classes, items(&b->alphabets, 8), length, runs_in_block,
                         items(&b->out, item_size), &job->runs)
        || !check_offsets(job, b) || !start_digests(&digester, &b->out, &b->digests))
        return 0;
    if (job->runs.runs == 0) return 1;
    if (!prepare_sources(job, b) || !allocate_waiting(job)) return 0;
    Py_BEGIN_ALLOW_THREADS
    status = dcz_decode_runs(&job->runs, job->sources, b->payload.buf, (size_t)b->payload.len,
                             b->offsets.buf, item_size, b->digests.len ? &digester : NULL,
                             b->out.buf);
    Py_END_ALLOW_THREADS
    return status == DCZ_OK ? 1 : refuse(dcz_status_text(status));
}

static PyObject *decode_runs(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        runs_buffers named;
        Py_buffer all[9];
    } b;
    runs_job job = {0};
    Py_ssize_t length, runs_in_block;
    unsigned item_size;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*y*y*nny*y*y*y*Iw*w*", &b.named.payload, &b.named.offsets,
                         &b.named.classes, &length, &runs_in_block, &b.named.lengths,
                         &b.named.alphabets, &b.named.widths, &b.named.values, &item_size,
                         &b.named.out, &b.named.digests))
        done = runs_decoded(&b.named, length, runs_in_block, item_size, &job);
    for (size_t k = 0; k < DCZ_CLASS_LIMIT; k++) PyMem_Free(job.sources[k].decoder.table);
    PyMem_Free(job.waiting);
    release(b.all, 9);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef dcz_classes_methods[] = {
    {"read_class_codes", read_class_codes, METH_VARARGS, NULL},
    {"find_class_segments", find_class_segments, METH_VARARGS, NULL},
    {"decode_runs", decode_runs, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
