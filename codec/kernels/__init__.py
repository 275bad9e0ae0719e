"""The inner loops of the codec, in C where the extension was built and in NumPy elsewhere.

Both backends give the same results to the last bit. The environment variable ``DCZ_BACKEND``
(``c`` or ``numpy``) chooses one; without it the extension is used if there is one. Each family of
loops is a module of this folder, and offers what `__all__` of either backend's module lists.
"""

from __future__ import annotations

import os
from importlib.util import find_spec


def _choose_backend() -> str:
    """``c`` or ``numpy``, by request or by what is installed."""
    wanted = os.environ.get("DCZ_BACKEND", "")
    available = find_spec(f"{__name__}._kernels") is not None
    if wanted not in ("", "c", "numpy"):
        raise ImportError(f"DCZ_BACKEND is {wanted!r}, but must be 'c' or 'numpy'")
    if wanted == "c" and not available:
        raise ImportError("DCZ_BACKEND is 'c', but dcz was installed without its C extension")
    return wanted or ("c" if available else "numpy")


BACKEND = _choose_backend()
