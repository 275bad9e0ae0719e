/* The extension module: the kernels for coding, runs, tables and weights in one. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyMethodDef dcz_coding_methods[];
extern PyMethodDef dcz_runs_methods[];
extern PyMethodDef dcz_tables_methods[];
extern PyMethodDef dcz_weights_methods[];

static int add_functions(PyObject *module)
{
    if (PyModule_AddFunctions(module, dcz_coding_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_runs_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, dcz_tables_methods) < 0) return -1;
    return PyModule_AddFunctions(module, dcz_weights_methods);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)add_functions}, {0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_kernels",
    .m_doc = "Compiled kernels; see the modules native_*.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&definition); }
