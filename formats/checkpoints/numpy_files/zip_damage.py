"""Turns what Python's zipfile raises for a damaged archive into an InputError."""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ....codec.errors import InputError

_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)


@contextmanager
def zip_damage_refused() -> Iterator[None]:
    """Refuse an archive that zipfile stumbles over; failures of the disk stay OSError."""
    try:
        yield
    except _FAULTS as error:
        raise InputError(f"damaged zip archive: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # from seeking to an offset that can't be
            raise
        raise InputError("damaged zip archive: an offset outside the file") from None


def zip_members(stream: BinaryIO) -> list[zipfile.ZipInfo]:
    """List the members of a zip archive; InputError if it is damaged."""
    with zip_damage_refused():
        return zipfile.ZipFile(stream).infolist()
