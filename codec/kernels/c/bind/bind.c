/* The extension module: all kernels in one. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyMethodDef dcz_encoding_methods[];
extern PyMethodDef dcz_decoding_methods[];
extern PyMethodDef dcz_table_methods[];
extern PyMethodDef dcz_planes_methods[];
extern PyMethodDef dcz_classes_methods[];
extern PyMethodDef dcz_runs_methods[];
extern PyMethodDef dcz_trellis_methods[];
extern PyMethodDef dcz_weights_methods[];
extern PyMethodDef dcz_levels_methods[];
extern PyMethodDef dcz_grids_methods[];

static int add_functions(PyObject *module)
{
    if (PyModule_AddFunctions(module, dcz_encoding_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_decoding_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_table_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_planes_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_classes_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_runs_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_trellis_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_weights_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_grids_methods) < 0) return -1;
    return PyModule_AddFunctions(module, dcz_levels_methods);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)add_functions}, {0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_kernels",
    .m_doc = "Compiled kernels; see the modules whose names begin with native.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&definition); }
