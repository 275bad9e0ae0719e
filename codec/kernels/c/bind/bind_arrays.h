/* Arrays as arguments from Python: checked when they come in, released together. */
#ifndef DCZ_BIND_ARRAYS_H
#define DCZ_BIND_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <math.h>
#include <string.h>

#include "weights.h"

#define VALUES "fd"
#define PATTERNS "BHILQ"
#define INDICES "BH"
#define COUNTS "lq"
#define MOST_LEVELS 65536

/* A contiguous buffer of one of the kinds, in the machine's byte order. */
static inline int get_array(PyObject *object, Py_buffer *view, const char *kinds, int flags)
{
    const char *format;
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags) != 0) return -1;
    format = view->format == NULL ? "B" : view->format;
    if (strchr("@=^<", format[0]) != NULL && format[0] != '\0') format++;
    if (strlen(format) == 1 && strchr(kinds, format[0]) != NULL) return 0;
    PyErr_Format(PyExc_ValueError, "array of type '%s' instead of one of '%s'", format, kinds);
    PyBuffer_Release(view);
    return -1;
}

static inline dcz_array as_array(const Py_buffer *view)
{
    dcz_array array = {view->buf, (size_t)(view->len / view->itemsize), (size_t)view->itemsize};
    return array;
}

static inline size_t length(const Py_buffer *view) { return (size_t)(view->len / view->itemsize); }

/* Up to four arrays of a call, released together. */
typedef struct {
    Py_buffer view[4];
    int count;
} array_list;

static inline int add_array(array_list *arrays, PyObject *object, const char *kinds, int flags)
{
    if (get_array(object, &arrays->view[arrays->count], kinds, flags) != 0) return -1;
    arrays->count++;
    return 0;
}

static inline PyObject *release(array_list *arrays, PyObject *result)
{
    while (arrays->count > 0) PyBuffer_Release(&arrays->view[--arrays->count]);
    return result;
}

static inline PyObject *refuse(array_list *arrays, const char *cause)
{
    PyErr_SetString(PyExc_ValueError, cause);
    return release(arrays, NULL);
}

static inline PyObject *out_of_memory(array_list *arrays)
{
    PyErr_NoMemory();
    return release(arrays, NULL);
}

static inline int ascending(const double *x, size_t count, int strictly)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) return 0;
        if (i != 0 && (x[i] < x[i - 1] || (strictly && x[i] == x[i - 1]))) return 0;
    }
    return 1;
}

static inline int aligned(const Py_buffer *view)
{
    return view->len == 0 || (uintptr_t)view->buf % (uintptr_t)view->itemsize == 0;
}

#endif
