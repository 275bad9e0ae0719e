/* Python's way to the kernel of tables.c. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "tables.h"

static PyObject *read_lengths(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer bits, lengths;
    unsigned guess, longest;
    size_t used;
    if (!PyArg_ParseTuple(args, "y*IIw*", &bits, &guess, &longest, &lengths)) return NULL;
    used = dcz_read_lengths(bits.buf, (size_t)bits.len, (size_t)lengths.len, guess, longest,
                            lengths.buf);
    PyBuffer_Release(&bits);
    PyBuffer_Release(&lengths);
    if (used != SIZE_MAX) return PyLong_FromSize_t(used);
    PyErr_Format(PyExc_ValueError, "one is outside 0 to %u", longest);
    return NULL;
}

PyMethodDef dcz_tables_methods[] = {
    {"read_lengths", read_lengths, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
