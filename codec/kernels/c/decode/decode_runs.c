/* Decoding of runs by classes; classes.h has the interface.
 *
 * The segments of a block, one for each class, are decoded side by side, some symbols at a time:
 * what waits for its place in a run stays in the nearest cache, and what is in its place is
 * digested while it is still there. */
#include <string.h>

#include "classes.h"

/* Copies in whole pieces of this size pay for runs up to that one, in bytes. */
enum { PIECE = DCZ_COPY_SLACK, SHORT_RUN = 256 };

typedef struct {
    const dcz_class_runs *runs;
    dcz_class_source *sources;
    size_t run_bytes;
    dcz_digester *digester;
    uint8_t *digested, *out, *end; /* digests are done so far; the next place; the last one's end */
} writer;

static void digest(writer *w, size_t bytes)
{
    if (w->digester) dcz_digest_update(w->digester, w->digested, bytes);
    w->digested += bytes;
}

static DCZ_ALWAYS_INLINE void digest_some(writer *w)
{
    size_t ready = (size_t)(w->out - w->digested);
    if (ready >= DCZ_DIGEST_PIECE) digest(w, ready / DCZ_DIGEST_BLOCK * DCZ_DIGEST_BLOCK);
}

/* Decodes the next symbols of a class, up to so many bytes; how many bytes these took. */
static size_t decode_some(dcz_class_source *source, size_t most, uint8_t *out)
{
    const size_t size = source->decoder.item_size;
    return size * dcz_next_symbols(&source->segment, &source->decoder, most / size, out);
}

/* Writes the next `bytes` of a class: what waits, then what is decoded right into its place, and
 * the first of what is decoded last and waits. */
static void write_run(writer *w, dcz_class_source *source, size_t bytes)
{
    const size_t least = DCZ_LEAST_SYMBOLS * source->decoder.item_size;
    while (bytes > 0) {
        size_t ready = (size_t)(source->end - source->begin);
        if (ready > bytes) ready = bytes;
        if (ready > 0) {
            memcpy(w->out, source->begin, ready);
            source->begin += ready;
        } else if (bytes >= least) {
            ready = decode_some(source, bytes < DCZ_WAITING_BYTES ? bytes : DCZ_WAITING_BYTES,
                                w->out);
        } else {
            source->begin = source->waiting;
            source->end = source->begin + decode_some(source, DCZ_WAITING_BYTES, source->waiting);
        }
        w->out += ready;
        bytes -= ready;
        digest_some(w);
    }
}

/* Writes at most `count` short runs, in whole pieces, as long as each waits as a whole: the last
 * piece reaches into the next run's place, which comes later. Returns how many these were. */
DCZ_FOR_NEWER_PROCESSORS
static size_t write_short_runs(writer *w, const uint8_t *classes, size_t count)
{
    const size_t bytes = w->run_bytes;
    uint8_t *out = w->out;
    size_t i = 0;
    for (; i < count && (size_t)(w->end - out) >= bytes + PIECE; i++) {
        dcz_class_source *source = &w->sources[classes[i]];
        if ((size_t)(source->end - source->begin) < bytes) break;
        for (size_t done = 0; done < bytes; done += PIECE)
            memcpy(out + done, source->begin + done, PIECE);
        source->begin += bytes;
        out += bytes;
    }
    w->out = out;
    return i;
}

static void write_runs(writer *w, const uint8_t *classes, size_t count)
{
    const size_t at_once = DCZ_DIGEST_PIECE / w->run_bytes + 1;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = w->run_bytes;
        if (bytes <= SHORT_RUN) {
            i += write_short_runs(w, classes + i, count - i < at_once ? count - i : at_once);
            digest_some(w);
            if (i == count) return;
        }
        if (bytes > (size_t)(w->end - w->out)) bytes = (size_t)(w->end - w->out);
        write_run(w, &w->sources[classes[i]], bytes);
    }
}

static dcz_status decode_block(writer *w, size_t first, const uint8_t *payload, size_t size,
                               const int64_t *offsets)
{
    const dcz_class_runs *runs = w->runs;
    size_t elements[DCZ_CLASS_LIMIT], left = runs->runs - first;
    dcz_status status = DCZ_OK;
    dcz_count_block(runs, first, elements);
    for (size_t k = 0; k < runs->kinds && status == DCZ_OK; k++) {
        dcz_class_source *source = &w->sources[k];
        source->begin = source->end = source->waiting;
        status = dcz_start_segment(&source->segment, &source->decoder, payload, size,
                                   (size_t)offsets[k], dcz_symbols(elements[k], source->width));
    }
    if (status != DCZ_OK) return status;
    write_runs(w, runs->classes + first, left < runs->runs_in_block ? left : runs->runs_in_block);
    for (size_t k = 0; k < runs->kinds && status == DCZ_OK; k++)
        status = dcz_end_segment(&w->sources[k].segment);
    return status;
}

dcz_status dcz_decode_runs(const dcz_class_runs *runs, dcz_class_source *sources,
                           const uint8_t *payload, size_t size, const int64_t *offsets,
                           size_t item_size, dcz_digester *digester, uint8_t *out)
{
    writer w = {runs, sources, runs->length * item_size, digester, out, out,
                out + runs->count * item_size};
    for (size_t first = 0; first < runs->runs; first += runs->runs_in_block) {
        dcz_status status = decode_block(&w, first, payload, size, offsets);
        if (status != DCZ_OK) return status;
        offsets += runs->kinds;
    }
    digest(&w, (size_t)(w.out - w.digested));
    return DCZ_OK;
}
