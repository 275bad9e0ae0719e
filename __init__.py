"""dcz packs a neural network's checkpoint into a small file and gives it back.

    import dcz

    report = dcz.pack("model.safetensors", "model.dcz", dcz.Recipe(sparsity=0.9, bits=5))
    tensors = dcz.load_file("model.dcz")                  # dict of NumPy arrays
    model.load_state_dict(dcz.load_state_dict("model.dcz"))

After Deep Compression (Han, Mao, Dally 2016): magnitude pruning, weight sharing by k-means,
Huffman coding of the indices and of the gaps between survivors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcz import training as training
    from dcz.codec.errors import (
        ChecksumError,
        CorruptError,
        DczError,
        InputError,
        LimitError,
        RecipeError,
        TruncatedError,
        UnsupportedError,
        VersionError,
    )
    from dcz.codec.kernels import BACKEND
    from dcz.codec.recipe import Recipe, Rule
    from dcz.codec.report import Report
    from dcz.formats import calibration as calibration
    from dcz.formats.archive import Archive
    from dcz.formats.archive import open_archive as open
    from dcz.formats.calibration import pack_model
    from dcz.formats.everything import pack_everything
    from dcz.formats.limits import DecodeLimits
    from dcz.formats.memory import (
        load_file,
        load_model,
        load_state_dict,
        save_file,
        save_state_dict,
    )
    from dcz.formats.packing import pack, unpack

__version__ = "0.1.0"

__all__ = [
    "BACKEND",
    "Archive",
    "ChecksumError",
    "CorruptError",
    "DczError",
    "DecodeLimits",
    "InputError",
    "LimitError",
    "Recipe",
    "RecipeError",
    "Report",
    "Rule",
    "TruncatedError",
    "UnsupportedError",
    "VersionError",
    "load_file",
    "load_model",
    "load_state_dict",
    "open",
    "pack",
    "pack_everything",
    "pack_model",
    "save_file",
    "save_state_dict",
    "unpack",
]

# Modules are imported when one of their names is first used, so that the command line starts
# quickly: `dcz --version` needs next to nothing of all this.
_HOMES = {
    "codec.errors": [name for name in __all__ if name.endswith("Error")],
    "codec.kernels": ["BACKEND"],
    "codec.recipe": ["Recipe", "Rule"],
    "codec.report": ["Report"],
    "formats.archive": ["Archive", "open_archive"],
    "formats.calibration": ["pack_model"],
    "formats.everything": ["pack_everything"],
    "formats.limits": ["DecodeLimits"],
    "formats.memory": [name for name in __all__ if name.startswith(("load_", "save_"))],
    "formats.packing": ["pack", "unpack"],
}
_MODULES = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "calibration":  # a module, and so no part of `from dcz import *`
        return import_module("dcz.formats.calibration")
    if name == "training":  # needs PyTorch, so that it is no part of `from dcz import *`
        return import_module("dcz.training")
    if name not in __all__:
        raise AttributeError(f"module 'dcz' has no attribute {name!r}")
    inner = "open_archive" if name == "open" else name
    value = getattr(import_module(f"dcz.{_MODULES[inner]}"), inner)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "calibration", "training"])
