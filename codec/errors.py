"""The errors that leave the package for bad input, each naming file, tensor and cause.

    DczError
    |-- CorruptError        the .dcz file breaks the format
    |   |-- TruncatedError  it ends too early
    |   `-- ChecksumError   its content is not what was written
    |-- UnsupportedError    valid, but not something this release reads or writes
    |   `-- VersionError    written for a newer format version
    |-- LimitError          reading it would exceed a limit the caller set
    |-- InputError          a source checkpoint cannot be used
    `-- RecipeError         the request itself makes no sense

Failures of the operating system (no such file, disk full) stay `OSError`.
"""

from __future__ import annotations


class DczError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    cause : str
        What is wrong, in a sentence without a full stop.
    file : str or None
        The file it is wrong in.
    tensor : str or None
        The tensor it is wrong in.
    """

    def __init__(self, cause: str, *, file: str | None = None, tensor: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.file = file
        self.tensor = tensor

    def __str__(self) -> str:
        place = [self.file] if self.file is not None else []
        if self.tensor is not None:
            place.append(f"tensor {self.tensor!r}")
        return ": ".join([*place, self.cause])


class CorruptError(DczError):
    """The file breaks the format's rules."""


class TruncatedError(CorruptError):
    """The file ends before its content does."""


class ChecksumError(CorruptError):
    """A checksum or digest does not match the content."""


class UnsupportedError(DczError):
    """Valid input that this release cannot handle."""


class VersionError(UnsupportedError):
    """The file needs a newer release to be read."""


class LimitError(DczError):
    """Reading the file would exceed one of the caller's `DecodeLimits`."""


class InputError(DczError):
    """A checkpoint to be packed cannot be read as one."""


class RecipeError(DczError):
    """A recipe or an option asks for something impossible."""


class located:  # noqa: N801 - reads as a statement: with located(tensor=name): ...
    """Add the file and the tensor to a `DczError` that passes through without them."""

    def __init__(self, *, file: str | None = None, tensor: str | None = None) -> None:
        self.file = file
        self.tensor = tensor

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DczError):
            error.file = error.file if error.file is not None else self.file
            error.tensor = error.tensor if error.tensor is not None else self.tensor


class corrupt:  # noqa: N801 - reads as a statement: with corrupt("index"): ...
    """Turn a kernel's error about coded bytes into a CorruptError that says where.

    A ValueError becomes a CorruptError, an EOFError a TruncatedError.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise CorruptError(f"{self.what}: {error}") from None
        if isinstance(error, EOFError):
            raise TruncatedError(f"{self.what}: {error}") from None
