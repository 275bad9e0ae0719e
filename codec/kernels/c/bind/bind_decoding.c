/* Python's way to the decoding kernels: every check of an argument and every allocation. The
 * results' arrays are the caller's (native_coding.py makes them with NumPy). */
#include "bind_arguments.h"

#include <string.h>

#include "stream.h"

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
    return read_code(lengths, &s->decoder.code) && fill_decoder(&s->decoder);
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
    Py_buffer payload, offsets, counts, lengths, codebook, out, digests;
} dense_buffers;

/* Digests what is decoded, or as much of it as makes whole blocks; returns how far it came. */
static size_t digest_ready(dcz_digester *digester, const Py_buffer *out, size_t digested,
                           size_t decoded)
{
    size_t ready = decoded - digested;
    if (decoded != (size_t)out->len) ready -= ready % DCZ_DIGEST_BLOCK;
    dcz_digest_update(digester, (const uint8_t *)out->buf + digested, ready);
    return digested + ready;
}

/* With digests, segments are decoded piece by piece, each of which is digested at once. */
static dcz_status decode_segments(const segment_list *s, const Py_buffer *payload,
                                  const Py_buffer *out, dcz_digester *digester)
{
    const size_t item_size = s->decoder.item_size;
    const size_t most = digester ? DCZ_DIGEST_PIECE / item_size : s->total;
    size_t decoded = 0, digested = 0;
    for (size_t i = 0; i < s->segments; i++) {
        dcz_segment segment;
        dcz_status status = dcz_start_segment(&segment, &s->decoder, payload->buf,
                                              (size_t)payload->len, (size_t)s->offsets[i],
                                              (size_t)s->counts[i]);
        if (status != DCZ_OK) return status;
        while (segment.left > 0) {
            decoded += item_size * dcz_next_symbols(&segment, &s->decoder, most,
                                                    (uint8_t *)out->buf + decoded);
            if (digester) digested = digest_ready(digester, out, digested, decoded);
        }
        status = dcz_end_segment(&segment);
        if (status != DCZ_OK) return status;
    }
    return DCZ_OK;
}

static int dense_checked(const dense_buffers *b, unsigned item_size, segment_list *s)
{
    dcz_status status;
    dcz_digester digester;
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
    if (!start_digests(&digester, &b->out, &b->digests)) return 0;
    Py_BEGIN_ALLOW_THREADS
    status = decode_segments(s, &b->payload, &b->out, b->digests.len ? &digester : NULL);
    Py_END_ALLOW_THREADS
    return status == DCZ_OK ? 1 : refuse(dcz_status_text(status));
}

static PyObject *decode_dense(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        dense_buffers named;
        Py_buffer all[7];
    } b;
    segment_list s = {0};
    unsigned item_size;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*y*y*y*y*Iw*w*", &b.named.payload, &b.named.offsets,
                         &b.named.counts, &b.named.lengths, &b.named.codebook, &item_size,
                         &b.named.out, &b.named.digests))
        done = dense_checked(&b.named, item_size, &s);
    PyMem_Free(s.decoder.table);
    release(b.all, 7);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* ---- decode_sparse ---- */

typedef struct {
    Py_buffer payload, gap_offsets, gap_counts, index_offsets, index_counts, gap_lengths,
        index_lengths, codebook, out, digests;
} sparse_buffers;

typedef struct {
    segment_list gaps, levels;
    size_t span, count; /* positions in a block, and in all */
    uint16_t filler;
    uint16_t gap_values[DCZ_ALPHABET_LIMIT]; /* each gap's symbol is its value */
    uint16_t *gap_scratch;
    void *value_scratch;
    void *piece_memory;
    uint8_t *piece; /* to put pieces together in, if they are to pass the cache by */
    dcz_digester *digester; /* NULL if none is wanted */
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

/* Whether blocks consist of whole pieces, so that these can be digested and streamed out. */
static int has_whole_pieces(const sparse_job *job)
{
    return job->span >= job->count
           || job->span * job->levels.decoder.item_size % DCZ_PIECE_BYTES == 0;
}

/* Puts a block together, piece by piece. A piece is digested while it is in the nearest cache. */
static void write_block(const sparse_job *job, dcz_scatter *block, uint8_t *out, size_t length)
{
    const size_t most = DCZ_PIECE_BYTES / block->item_size;
    for (size_t begin = 0; begin < length; begin += most) {
        size_t end = length - begin < most ? length : begin + most;
        size_t bytes = (end - begin) * block->item_size;
        uint8_t *to = out + begin * block->item_size, *piece = job->piece ? job->piece : to;
        dcz_scatter_piece(block, begin, end, piece);
        if (job->digester) dcz_digest_update(job->digester, piece, bytes);
        if (job->piece) dcz_stream(to, piece, bytes);
    }
}

static dcz_status decode_block(const sparse_job *job, size_t block, const Py_buffer *payload,
                               uint8_t *out)
{
    const segment_list *gaps = &job->gaps, *levels = &job->levels;
    size_t gap_count = (size_t)gaps->counts[block], level_count = (size_t)levels->counts[block];
    size_t length = block_length(job, block);
    dcz_scatter scatter = {.gaps = job->gap_scratch, .gap_count = gap_count,
                           .values = job->value_scratch, .filler = job->filler,
                           .item_size = levels->decoder.item_size};
    dcz_status status = dcz_decode_segment(&gaps->decoder, payload->buf, (size_t)payload->len,
                                           (size_t)gaps->offsets[block], gap_count,
                                           job->gap_scratch);
    if (status != DCZ_OK) return status;
    status = dcz_check_gaps(job->gap_scratch, gap_count, job->filler, level_count, length);
    if (status != DCZ_OK) return status;
    status = dcz_decode_segment(&levels->decoder, payload->buf, (size_t)payload->len,
                                (size_t)levels->offsets[block], level_count, job->value_scratch);
    if (status != DCZ_OK) return status;
    write_block(job, &scatter, out, length);
    return DCZ_OK;
}

static dcz_status decode_blocks(sparse_job *job, const Py_buffer *payload, uint8_t *out,
                                size_t size)
{
    size_t block_bytes = job->span * job->levels.decoder.item_size;
    dcz_digester *afterwards = has_whole_pieces(job) ? NULL : job->digester;
    if (afterwards) job->digester = NULL;
    for (size_t i = 0; i < job->gaps.segments; i++) {
        dcz_status status = decode_block(job, i, payload, out + i * block_bytes);
        if (status != DCZ_OK) return status;
    }
    dcz_stream_end();
    if (afterwards) dcz_digest_update(afterwards, out, size);
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

/* A piece of aligned scratch, where output of this size and place can be streamed. */
static int allocate_piece(sparse_job *job, const Py_buffer *out)
{
    size_t misaligned;
    if ((size_t)out->len < DCZ_STREAM_FROM || !has_whole_pieces(job)
        || (uintptr_t)out->buf % DCZ_STREAM_ALIGNMENT != 0)
        return 1;
    job->piece_memory = PyMem_Malloc(DCZ_PIECE_BYTES + DCZ_STREAM_ALIGNMENT);
    if (!job->piece_memory) return 0;
    misaligned = (uintptr_t)job->piece_memory % DCZ_STREAM_ALIGNMENT;
    job->piece = (uint8_t *)job->piece_memory + (DCZ_STREAM_ALIGNMENT - misaligned);
    return 1;
}

static int allocate_scratch(sparse_job *job, const Py_buffer *out)
{
    /* Both fit: no count is over the output's. */
    job->gap_scratch = PyMem_Malloc(job->gaps.largest * 2);
    job->value_scratch = PyMem_Malloc(job->levels.largest * job->levels.decoder.item_size);
    if (job->gap_scratch && job->value_scratch && allocate_piece(job, out)) return 1;
    PyErr_NoMemory();
    return 0;
}

static int sparse_checked(const sparse_buffers *b, unsigned filler, unsigned item_size,
                          Py_ssize_t span, sparse_job *job)
{
    dcz_status status;
    dcz_digester digester;
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
    if (!prepare_sparse(b, job) || !check_blocks(job) || !allocate_scratch(job, &b->out)
        || !start_digests(&digester, &b->out, &b->digests))
        return 0;
    job->digester = b->digests.len ? &digester : NULL;
    Py_BEGIN_ALLOW_THREADS
    status = decode_blocks(job, &b->payload, b->out.buf, (size_t)b->out.len);
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
    PyMem_Free(job->piece_memory);
    PyMem_Free(job);
    return done;
}

static PyObject *decode_sparse(PyObject *Py_UNUSED(module), PyObject *args)
{
    union {
        sparse_buffers named;
        Py_buffer all[10];
    } b;
    unsigned filler, item_size;
    Py_ssize_t span;
    int done = 0;
    memset(&b, 0, sizeof b);
    if (PyArg_ParseTuple(args, "y*y*y*y*y*y*Iy*y*Inw*w*", &b.named.payload, &b.named.gap_offsets,
                         &b.named.gap_counts, &b.named.index_offsets, &b.named.index_counts,
                         &b.named.gap_lengths, &filler, &b.named.index_lengths,
                         &b.named.codebook, &item_size, &span, &b.named.out,
                         &b.named.digests))
        done = sparse_job_done(&b.named, filler, item_size, span);
    release(b.all, 10);
    return done ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef dcz_decoding_methods[] = {
    {"decode_dense", decode_dense, METH_VARARGS, NULL},
    {"decode_sparse", decode_sparse, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
