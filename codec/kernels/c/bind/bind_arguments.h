/* Checks of arguments that the bindings of the coding kernels share. */
#ifndef DCZ_BIND_ARGUMENTS_H
#define DCZ_BIND_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "decode.h"
#include "digest.h"

/* Sets an error and returns 0. */
static inline int refuse(const char *cause)
{
    PyErr_SetString(PyExc_ValueError, cause);
    return 0;
}

static inline PyObject *fail(const char *cause)
{
    refuse(cause);
    return NULL;
}

/* Sets the error of a status: EOFError where the payload ends too early, else ValueError. */
static inline int refuse_status(dcz_status status)
{
    int is_cut = status == DCZ_TRUNCATED_LENGTHS || status == DCZ_TRUNCATED_HEADER
                 || status == DCZ_TRUNCATED_STREAM || status == DCZ_TRUNCATED_TABLE;
    PyErr_SetString(is_cut ? PyExc_EOFError : PyExc_ValueError, dcz_status_text(status));
    return 0;
}

static inline int is_array(const Py_buffer *buffer, size_t item_size)
{
    if (buffer->len % (Py_ssize_t)item_size == 0 && (uintptr_t)buffer->buf % item_size == 0)
        return 1;
    return refuse("an array has the wrong item size or alignment");
}

static inline size_t items(const Py_buffer *buffer, size_t item_size)
{
    return (size_t)buffer->len / item_size;
}

static inline int is_item_size(unsigned item_size)
{
    if (item_size == 1 || item_size == 2 || item_size == 4 || item_size == 8) return 1;
    return refuse("items must have 1, 2, 4 or 8 bytes");
}

static inline int is_symbol_size(unsigned item_size)
{
    if (item_size == 1 || item_size == 2) return 1;
    return refuse("symbols must be uint8 or uint16");
}

static inline int read_code(const Py_buffer *lengths, dcz_code *code)
{
    size_t alphabet = (size_t)lengths->len;
    dcz_status status = DCZ_BAD_ALPHABET;
    if (alphabet <= DCZ_ALPHABET_LIMIT)
        status = dcz_read_code(lengths->buf, (uint32_t)alphabet, code);
    return status == DCZ_OK ? 1 : refuse(dcz_status_text(status));
}

/* Makes and fills the table of a decoder, which is the caller's to free. */
static inline int fill_decoder(dcz_decoder *decoder)
{
    decoder->table = PyMem_Malloc(dcz_table_bytes(&decoder->code, decoder->item_size));
    if (!decoder->table) {
        PyErr_NoMemory();
        return 0;
    }
    dcz_prepare(decoder);
    return 1;
}

/* Starts digests of the output if there is an array for them, with a place for each chunk. */
static inline int start_digests(dcz_digester *digester, const Py_buffer *out,
                                const Py_buffer *digests)
{
    size_t chunks = (size_t)out->len / DCZ_DIGEST_CHUNK + ((size_t)out->len % DCZ_DIGEST_CHUNK > 0);
    if (!is_array(digests, 8)) return 0;
    if (digests->len == 0) return 1;
    if (items(digests, 8) != (chunks ? chunks : 1))
        return refuse("an array for the result has the wrong size");
    dcz_digest_start(digester, digests->buf, (size_t)out->len);
    return 1;
}

static inline void release(Py_buffer *buffers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (buffers[i].obj) PyBuffer_Release(&buffers[i]);
}

#endif
