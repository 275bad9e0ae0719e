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
    from .codec import training as training
    from .codec.errors import (
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
    from .codec.kernels import BACKEND
    from .codec.rate.recipe import Recipe, Rule
    from .codec.report.report import Report
    from .formats.checkpoints.pytorch.load import load_model, load_state_dict
    from .formats.container.limits import DecodeLimits
    from .formats.container.load import load_file
    from .formats.pack import calibration as calibration
    from .formats.pack.calibration import pack_model
    from .formats.pack.everything import pack_everything
    from .formats.pack.pack import pack, save_file, save_state_dict
    from .formats.pack.unpack import unpack
    from .formats.report.archive import Archive
    from .formats.report.archive import open_archive as open

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
    "codec.rate.recipe": ["Recipe", "Rule"],
    "codec.report.report": ["Report"],
    "formats.checkpoints.pytorch.load": ["load_model", "load_state_dict"],
    "formats.container.limits": ["DecodeLimits"],
    "formats.container.load": ["load_file"],
    "formats.pack.calibration": ["pack_model"],
    "formats.pack.everything": ["pack_everything"],
    "formats.pack.pack": ["pack", "save_file", "save_state_dict"],
    "formats.pack.unpack": ["unpack"],
    "formats.report.archive": ["Archive", "open_archive"],
}
_MODULES = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "calibration":  # a module, and so no part of `from dcz import *`
        return import_module("dcz.formats.pack.calibration")
    if name == "training":  # needs PyTorch, so that it is no part of `from dcz import *`
        return import_module("dcz.codec.training")
    if name not in __all__:
        raise AttributeError(f"module 'dcz' has no attribute {name!r}")
    inner = "open_archive" if name == "open" else name
    value = getattr(import_module(f"dcz.{_MODULES[inner]}"), inner)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "calibration", "training"])
