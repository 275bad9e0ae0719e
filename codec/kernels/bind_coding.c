/* Python's way to the coding kernels: every check of an argument and every allocation. The
 * results' arrays are the caller's (native_coding.py makes them with NumPy). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "coding.h"

/* ---- arguments ---- */

/* Sets an error and returns 0. */
static int refuse(const char *cause)
{
    PyErr_SetString(PyExc_ValueError, cause);
    return 0;
}

static PyObject *fail(const char *cause)
{
    refuse(cause);
    return NULL;
}

static int is_array(const Py_buffer *buffer, size_t item_size)
{
    if (buffer->len % (Py_ssize_t)item_size == 0 && (uintptr_t)buffer->buf % item_size == 0)
        return 1;
    return refuse("an array has the wrong item size or alignment");
}

static size_t items(const Py_buffer *buffer, size_t item_size)
{
    return (size_t)buffer->len / item_size;
}

static int is_item_size(unsigned item_size)
{
    if (item_size == 1 || item_size == 2 || item_size == 4 || item_size == 8) return 1;
    return refuse("items must have 1, 2, 4 or 8 bytes");
}

static int is_symbol_size(unsigned item_size)
{
    if (item_size == 1 || item_size == 2) return 1;
    return refuse("symbols must be uint8 or uint16");
}

static int read_code(const Py_buffer *lengths, dcz_code *code)
{
    size_t alphabet = (size_t)lengths->len;
    dcz_status status = DCZ_BAD_ALPHABET;
    if (alphabet <= DCZ_ALPHABET_LIMIT)
        status = dcz_read_code(lengths->buf, (uint32_t)alphabet, code);
    return status == DCZ_OK ? 1 : refuse(dcz_status_text(status));
}

static void release(Py_buffer *buffers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (buffers[i].obj) PyBuffer_Release(&buffers[i]);
}

/* ---- count_symbols ---- */

static PyObject *count_checked(Py_buffer *symbols, unsigned item_size, Py_buffer *counts)
{
    size_t alphabet = items(counts, 8);
    uint64_t *scratch;
    int known;
    if (!is_symbol_size(item_size) || !is_array(symbols, item_size) || !is_array(counts, 8))
        return NULL;
    if (alphabet < 1 || alphabet > 65536)
        return fail("the alphabet must have 1 to 65536 symbols");
    scratch = PyMem_Malloc(4 * alphabet * sizeof *scratch);
    if (!scratch) return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    known = dcz_count_symbols(symbols->buf, items(symbols, item_size), item_size,
                              (uint32_t)alphabet, scratch, counts->buf);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    if (!known) return fail("a symbol is outside the alphabet");
    Py_RETURN_NONE;
}

static PyObject *count_symbols(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    unsigned item_size;
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*Iw*", &b[0], &item_size, &b[1]))
        result = count_checked(&b[0], item_size, &b[1]);
    release(b, 2);
    return result;
}

/* ---- split_sparse ---- */

typedef struct {
    Py_buffer indices, gaps, levels, gap_starts, level_starts;
} split_buffers;

static void split_blocks(split_buffers *b, unsigned item_size, size_t span, uint32_t filler)
{
    size_t count = items(&b->indices, item_size), gaps = 0, levels = 0, block = 0;
    int64_t *gap_starts = b->gap_starts.buf, *level_starts = b->level_starts.buf;
    for (size_t begin = 0; begin < count; block++) {
        size_t length = count - begin < span ? count - begin : span;
        size_t new_gaps, new_levels;
        dcz_split_block((const uint8_t *)b->indices.buf + begin * item_size, item_size, length,
                        filler, (uint16_t *)b->gaps.buf + gaps, &new_gaps,
                        (uint8_t *)b->levels.buf + levels * item_size, &new_levels);
        gap_starts[block] = (int64_t)gaps;
        level_starts[block] = (int64_t)levels;
        gaps += new_gaps;
        levels += new_levels;
        begin += length;
    }
    gap_starts[block] = (int64_t)gaps;
    level_starts[block] = (int64_t)levels;
}

static PyObject *split_checked(split_buffers *b, unsigned item_size, Py_ssize_t span,
                               unsigned filler)
{
    size_t count, blocks;
    if (span < 1) return fail("the span must be positive");
    if (filler < 1 || filler > 65535) return fail("the filler must be 1 to 65535");
    if (!is_symbol_size(item_size) || !is_array(&b->indices, item_size)
        || !is_array(&b->gaps, 2) || !is_array(&b->levels, item_size)
        || !is_array(&b->gap_starts, 8) || !is_array(&b->level_starts, 8))
        return NULL;
    count = items(&b->indices, item_size);
    blocks = count / (size_t)span + (count % (size_t)span > 0);
    if (items(&b->gaps, 2) < count || items(&b->levels, item_size) < count
        || items(&b->gap_starts, 8) != blocks + 1 || items(&b->level_starts, 8) != blocks + 1)
        return fail("an array for the result has the wrong size");
    Py_BEGIN_ALLOW_THREADS
    split_blocks(b, item_size, (size_t)span, filler);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *split_sparse(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        split_buffers named;
        Py_buffer all[5];
    } b;
    unsigned item_size, filler;
    Py_ssize_t span;
    PyObject *result = NULL;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*InIw*w*w*w*", &b.named.indices, &item_size, &span, &filler,
                         &b.named.gaps, &b.named.levels, &b.named.gap_starts,
                         &b.named.level_starts))
        result = split_checked(&b.named, item_size, span, filler);
    release(b.all, 5);
    return result;
}

/* ---- code_lengths ---- */

static const char *bad_counts(const int64_t *counts, size_t alphabet)
{
    int64_t sum = 0;
    for (size_t i = 0; i < alphabet; i++) {
        if (counts[i] < 0) return "a count is negative";
        if (counts[i] > DCZ_COUNTS_LIMIT - sum) return "the counts are too large";
        sum += counts[i];
    }
    return NULL;
}

static PyObject *lengths_checked(Py_buffer *counts, unsigned limit, Py_buffer *lengths)
{
    size_t alphabet = items(counts, 8);
    const char *cause;
    dcz_lengths_scratch *scratch;
    int possible;
    if (!is_array(counts, 8)) return NULL;
    if (limit < 1 || limit > DCZ_LENGTH_LIMIT) return fail("the length limit must be 1 to 15");
    if (alphabet > DCZ_ALPHABET_LIMIT) return fail("an alphabet has at most 4096 symbols");
    if ((size_t)lengths->len != alphabet)
        return fail("an array for the result has the wrong size");
    cause = bad_counts(counts->buf, alphabet);
    if (cause) return fail(cause);
    scratch = PyMem_Malloc(sizeof *scratch);
    if (!scratch) return PyErr_NoMemory();
    possible = dcz_code_lengths(counts->buf, (uint32_t)alphabet, limit, scratch, lengths->buf);
    PyMem_Free(scratch);
    if (!possible) return fail("the code length limit is too small for the symbols used");
    Py_RETURN_NONE;
}

/* Keeps the GIL: it takes less than a millisecond. */
static PyObject *code_lengths(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    unsigned limit;
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*Iw*", &b[0], &limit, &b[1]))
        result = lengths_checked(&b[0], limit, &b[1]);
    release(b, 2);
    return result;
}

/* ---- encode_segments ---- */

typedef struct {
    Py_buffer symbols, starts, lengths, offsets;
} encode_buffers;

/* Finds the most bytes the payload can take. */
static int find_bound(const encode_buffers *b, size_t symbols, uint32_t longest, size_t *bound)
{
    const int64_t *starts = b->starts.buf;
    size_t segments = items(&b->starts, 8) - 1;
    *bound = 0;
    if (starts[0] < 0) return refuse("a segment is outside the symbols");
    for (size_t i = 0; i < segments; i++) {
        size_t own;
        if (starts[i + 1] < starts[i]) return refuse("the segments' starts are not ascending");
        if ((uint64_t)starts[i + 1] > symbols) return refuse("a segment is outside the symbols");
        own = dcz_segment_bound((size_t)(starts[i + 1] - starts[i]), longest);
        if (own > (size_t)PY_SSIZE_T_MAX - *bound) return refuse("the symbols are too many");
        *bound += own;
    }
    return (uint64_t)starts[0] <= symbols ? 1 : refuse("a segment is outside the symbols");
}

static dcz_encode_status encode_all(const encode_buffers *b, const int64_t *starts,
                                    unsigned item_size, const dcz_encoder *encoder, uint8_t *out)
{
    size_t segments = items(&b->offsets, 8) - 1, at = 0;
    int64_t *offsets = b->offsets.buf;
    for (size_t i = 0; i < segments; i++) {
        size_t written;
        dcz_encode_status status = dcz_encode_segment(
            encoder, (const uint8_t *)b->symbols.buf + (size_t)starts[i] * item_size,
            (size_t)(starts[i + 1] - starts[i]), item_size, out + at, &written);
        if (status != DCZ_ENCODED) return status;
        offsets[i] = (int64_t)at;
        at += written;
    }
    offsets[segments] = (int64_t)at;
    return DCZ_ENCODED;
}

static PyObject *encode_bounded(encode_buffers *b, unsigned item_size, dcz_encoder *encoder,
                                uint8_t *out)
{
    const int64_t *offsets = b->offsets.buf;
    dcz_encode_status status;
    Py_BEGIN_ALLOW_THREADS
    status = encode_all(b, b->starts.buf, item_size, encoder, out);
    Py_END_ALLOW_THREADS
    if (status == DCZ_STREAM_TOO_LONG) return fail("a stream is longer than 65535 bytes");
    if (status != DCZ_ENCODED) return fail("a symbol has no code");
    return PyBytes_FromStringAndSize((const char *)out,
                                     (Py_ssize_t)offsets[items(&b->offsets, 8) - 1]);
}

static PyObject *encode_checked(encode_buffers *b, unsigned item_size)
{
    const int64_t *starts = b->starts.buf;
    size_t segments = items(&b->starts, 8);
    dcz_code code = {0};
    dcz_encoder *encoder;
    uint8_t *out;
    size_t bound;
    PyObject *payload = NULL;
    if (!is_symbol_size(item_size) || !is_array(&b->symbols, item_size)
        || !is_array(&b->starts, 8) || !is_array(&b->offsets, 8))
        return NULL;
    if (segments < 1) return fail("the starts must end with the end of the last segment");
    if (b->offsets.len != b->starts.len)
        return fail("an array for the result has the wrong size");
    segments--;
    /* Without symbols there need not be a code. */
    if (starts[0] != starts[segments] && !read_code(&b->lengths, &code)) return NULL;
    if (!find_bound(b, items(&b->symbols, item_size), code.longest, &bound)) return NULL;
    encoder = PyMem_Malloc(sizeof *encoder);
    out = PyMem_Malloc(bound);
    if (encoder && out) {
        dcz_prepare_encoder(encoder, &code);
        payload = encode_bounded(b, item_size, encoder, out);
    } else {
        PyErr_NoMemory();
    }
    PyMem_Free(encoder);
    PyMem_Free(out);
    return payload;
}

static PyObject *encode_segments(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        encode_buffers named;
        Py_buffer all[4];
    } b;
    unsigned item_size;
    PyObject *result = NULL;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*Iy*y*w*", &b.named.symbols, &item_size, &b.named.starts,
                         &b.named.lengths, &b.named.offsets))
        result = encode_checked(&b.named, item_size);
    release(b.all, 4);
    return result;
}

/* ---- decoding_table ---- */

static PyObject *table_checked(Py_buffer *lengths, Py_buffer *table)
{
    dcz_code code;
    if (!read_code(lengths, &code) || !is_array(table, 2)) return NULL;
    if (items(table, 2) != (size_t)1 << code.longest)
        return fail("an array for the result has the wrong size");
    dcz_fill_symbol_table(&code, table->buf);
    Py_RETURN_NONE;
}

static PyObject *decoding_table(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer b[2] = {{0}};
    PyObject *result = NULL;
    if (PyArg_ParseTuple(args, "y*w*", &b[0], &b[1])) result = table_checked(&b[0], &b[1]);
    release(b, 2);
    return result;
}

/* ---- decoders ---- */

/* Segments of one code within a payload. */
typedef struct {
    const int64_t *offsets;
    const int64_t *counts;
    size_t segments;
    size_t total;   /* of the counts */
    size_t largest; /* of the counts */
    dcz_decoder decoder;
} segment_list;

/* Reads and checks everything but the payload, and fills the decoder's table. No count, nor
 * their sum, may be over `limit`. */
static int prepare(segment_list *s, const Py_buffer *offsets, const Py_buffer *counts,
                   const Py_buffer *lengths, size_t payload_size, size_t limit)
{
    if (!is_array(offsets, 8) || !is_array(counts, 8)) return 0;
    if (offsets->len != counts->len) return refuse("offsets and counts differ in number");
    s->offsets = offsets->buf;
    s->counts = counts->buf;
    s->segments = items(counts, 8);
    for (size_t i = 0; i < s->segments; i++) {
        if (s->offsets[i] < 0 || (uint64_t)s->offsets[i] > payload_size)
            return refuse("a segment is outside the payload");
        if (s->counts[i] < 0) return refuse("a count is negative");
        if ((uint64_t)s->counts[i] > limit - s->total)
            return refuse("the counts do not fit the output's size");
        s->total += (size_t)s->counts[i];
        if ((size_t)s->counts[i] > s->largest) s->largest = (size_t)s->counts[i];
    }
    if (s->total == 0) return 1; /* without symbols there need not be a code */
    if (!read_code(lengths, &s->decoder.code)) return 0;
    s->decoder.table = PyMem_Malloc(dcz_table_bytes(&s->decoder.code, s->decoder.item_size));
    if (!s->decoder.table) {
        PyErr_NoMemory();
        return 0;
    }
    dcz_prepare(&s->decoder);
    return 1;
}

static int is_values(const Py_buffer *codebook, unsigned item_size, const Py_buffer *lengths)
{
    if (codebook->len % (Py_ssize_t)item_size != 0) return refuse("unusable codebook");
    if (items(codebook, item_size) < (size_t)lengths->len)
        return refuse("the codebook is smaller than the alphabet");
    return 1;
}

/* ---- decode_dense ---- */

typedef struct {
    Py_buffer payload, offsets, counts, lengths, codebook, out;
} dense_buffers;

static dcz_status decode_segments(const segment_list *s, const Py_buffer *payload, uint8_t *out)
{
    for (size_t i = 0; i < s->segments; i++) {
        dcz_status status = dcz_decode_segment(&s->decoder, payload->buf, (size_t)payload->len,
                                               (size_t)s->offsets[i], (size_t)s->counts[i], out);
        if (status != DCZ_OK) return status;
        out += (size_t)s->counts[i] * s->decoder.item_size;
    }
    return DCZ_OK;
}

static int dense_checked(const dense_buffers *b, unsigned item_size, segment_list *s)
{
    dcz_status status;
    size_t count;
    if (!is_item_size(item_size) || !is_values(&b->codebook, item_size, &b->lengths)) return 0;
    if (b->out.len % (Py_ssize_t)item_size != 0)
        return refuse("codebook and output differ in item size");
    count = items(&b->out, item_size);
    s->decoder.values = b->codebook.buf;
    s->decoder.item_size = item_size;
    if (!prepare(s, &b->offsets, &b->counts, &b->lengths, (size_t)b->payload.len, count))
        return 0;
    if (s->total != count) return refuse("the counts do not add up to the output's size");
    Py_BEGIN_ALLOW_THREADS
    status = decode_segments(s, &b->payload, b->out.buf);
    Py_END_ALLOW_THREADS
    return status == DCZ_OK ? 1 : refuse(dcz_status_text(status));
}

static PyObject *decode_dense(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        dense_buffers named;
        Py_buffer all[6];
    } b;
    segment_list s = {0};
    unsigned item_size;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*y*y*y*y*Iw*", &b.named.payload, &b.named.offsets,
                         &b.named.counts, &b.named.lengths, &b.named.codebook, &item_size,
                         &b.named.out))
        done = dense_checked(&b.named, item_size, &s);
    PyMem_Free(s.decoder.table);
    release(b.all, 6);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* ---- decode_sparse ---- */

typedef struct {
    Py_buffer payload, gap_offsets, gap_counts, index_offsets, index_counts, gap_lengths,
        index_lengths, codebook, out;
} sparse_buffers;

typedef struct {
    segment_list gaps, levels;
    size_t span, count; /* positions in a block, and in all */
    uint16_t filler;
    uint16_t gap_values[DCZ_ALPHABET_LIMIT]; /* each gap's symbol is its value */
    uint16_t *gap_scratch;
    void *value_scratch;
} sparse_job;

static size_t block_length(const sparse_job *job, size_t block)
{
    size_t left = job->count - block * job->span;
    return left < job->span ? left : job->span;
}

static int check_blocks(const sparse_job *job)
{
    size_t blocks = job->count / job->span + (job->count % job->span > 0);
    if (job->gaps.segments != job->levels.segments)
        return refuse("gaps and survivors differ in blocks");
    if (job->gaps.segments != blocks) return refuse("the blocks do not fill the output");
    for (size_t i = 0; i < blocks; i++) {
        if ((size_t)job->gaps.counts[i] > block_length(job, i))
            return refuse("a block has more gaps than positions");
        if (job->levels.counts[i] > job->gaps.counts[i])
            return refuse("a block has too few gaps");
    }
    return 1;
}

static dcz_status decode_block(const sparse_job *job, size_t block, const Py_buffer *payload,
                               uint8_t *out)
{
    const segment_list *gaps = &job->gaps, *levels = &job->levels;
    size_t gap_count = (size_t)gaps->counts[block], level_count = (size_t)levels->counts[block];
    size_t length = block_length(job, block);
    dcz_status status = dcz_decode_segment(&gaps->decoder, payload->buf, (size_t)payload->len,
                                           (size_t)gaps->offsets[block], gap_count,
                                           job->gap_scratch);
    if (status != DCZ_OK) return status;
    status = dcz_check_gaps(job->gap_scratch, gap_count, job->filler, level_count, length);
    if (status != DCZ_OK) return status;
    status = dcz_decode_segment(&levels->decoder, payload->buf, (size_t)payload->len,
                                (size_t)levels->offsets[block], level_count, job->value_scratch);
    if (status != DCZ_OK) return status;
    dcz_scatter(job->gap_scratch, gap_count, job->filler, job->value_scratch,
                levels->decoder.item_size, out, length);
    return DCZ_OK;
}

static dcz_status decode_blocks(const sparse_job *job, const Py_buffer *payload, uint8_t *out)
{
    size_t block_bytes = job->span * job->levels.decoder.item_size;
    for (size_t i = 0; i < job->gaps.segments; i++) {
        dcz_status status = decode_block(job, i, payload, out + i * block_bytes);
        if (status != DCZ_OK) return status;
    }
    return DCZ_OK;
}

static int prepare_sparse(const sparse_buffers *b, sparse_job *job)
{
    size_t size = (size_t)b->payload.len;
    for (uint32_t i = 0; i < DCZ_ALPHABET_LIMIT; i++) job->gap_values[i] = (uint16_t)i;
    job->gaps.decoder.values = job->gap_values;
    job->gaps.decoder.item_size = 2;
    job->levels.decoder.values = b->codebook.buf;
    return prepare(&job->gaps, &b->gap_offsets, &b->gap_counts, &b->gap_lengths, size, job->count)
           && prepare(&job->levels, &b->index_offsets, &b->index_counts, &b->index_lengths, size,
                      job->count);
}

static int allocate_scratch(sparse_job *job)
{
    /* Both fit: no count is over the output's. */
    job->gap_scratch = PyMem_Malloc(job->gaps.largest * 2);
    job->value_scratch = PyMem_Malloc(job->levels.largest * job->levels.decoder.item_size);
    if (job->gap_scratch && job->value_scratch) return 1;
    PyErr_NoMemory();
    return 0;
}

static int sparse_checked(const sparse_buffers *b, unsigned filler, unsigned item_size,
                          Py_ssize_t span, sparse_job *job)
{
    dcz_status status;
    if (!is_item_size(item_size) || !is_values(&b->codebook, item_size, &b->index_lengths))
        return 0;
    if (b->out.len % (Py_ssize_t)item_size != 0)
        return refuse("codebook and output differ in item size");
    if (filler < 1 || filler > 65535) return refuse("the filler must be 1 to 65535");
    if ((size_t)b->gap_lengths.len > (size_t)filler + 1)
        return refuse("there are gaps above the filler");
    if (span < 1) return refuse("the span must be positive");
    job->filler = (uint16_t)filler;
    job->span = (size_t)span;
    job->count = items(&b->out, item_size);
    job->levels.decoder.item_size = item_size;
    if (!prepare_sparse(b, job) || !check_blocks(job) || !allocate_scratch(job)) return 0;
    Py_BEGIN_ALLOW_THREADS
    status = decode_blocks(job, &b->payload, b->out.buf);
    Py_END_ALLOW_THREADS
    return status == DCZ_OK ? 1 : refuse(dcz_status_text(status));
}

static int sparse_job_done(const sparse_buffers *b, unsigned filler, unsigned item_size,
                           Py_ssize_t span)
{
    sparse_job *job = PyMem_Calloc(1, sizeof *job);
    int done;
    if (!job) {
        PyErr_NoMemory();
        return 0;
    }
    done = sparse_checked(b, filler, item_size, span, job);
    PyMem_Free(job->gaps.decoder.table);
    PyMem_Free(job->levels.decoder.table);
    PyMem_Free(job->gap_scratch);
    PyMem_Free(job->value_scratch);
    PyMem_Free(job);
    return done;
}

static PyObject *decode_sparse(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        sparse_buffers named;
        Py_buffer all[9];
    } b;
    unsigned filler, item_size;
    Py_ssize_t span;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*y*y*y*y*y*Iy*y*Inw*", &b.named.payload, &b.named.gap_offsets,
                         &b.named.gap_counts, &b.named.index_offsets, &b.named.index_counts,
                         &b.named.gap_lengths, &filler, &b.named.index_lengths,
                         &b.named.codebook, &item_size, &span, &b.named.out))
        done = sparse_job_done(&b.named, filler, item_size, span);
    release(b.all, 9);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef dcz_coding_methods[] = {
    {"count_symbols", count_symbols, METH_VARARGS, NULL},
    {"split_sparse", split_sparse, METH_VARARGS, NULL},
    {"code_lengths", code_lengths, METH_VARARGS, NULL},
    {"encode_segments", encode_segments, METH_VARARGS, NULL},
    {"decoding_table", decoding_table, METH_VARARGS, NULL},
    {"decode_dense", decode_dense, METH_VARARGS, NULL},
    {"decode_sparse", decode_sparse, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
