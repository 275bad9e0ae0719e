"""Damages a file knowing its structure, and makes its checksums fit again.

Frames, index and trailer are taken apart by the tests' independent reader of the format, changed
one to four times, and built anew with checksums of header, index and frames that are right.
"""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable
from typing import Any

from corpus import format_page  # which puts the tests' folder on the path
from support_mutations import EXTREMES, mutate  # type: ignore[import-not-found]

Change = Callable[[random.Random, Any], None]


def change_payload(generator: random.Random, file: Any) -> None:
    """The bytes of a frame."""
    frame = generator.choice(file.frames)
    frame.payload = mutate(generator, frame.payload)


def change_head(generator: random.Random, file: Any) -> None:
    """The first bytes of a frame, where codebooks and tables are."""
    frame = generator.choice(file.frames)
    end = min(len(frame.payload), 64)
    frame.payload = mutate(generator, frame.payload[:end]) + frame.payload[end:]


def change_coder(generator: random.Random, file: Any) -> None:
    """A frame under another coder."""
    generator.choice(file.frames).coder = generator.randrange(8)


def change_length(generator: random.Random, file: Any) -> None:
    """A frame's declared length."""
    frame = generator.choice(file.frames)
    near = len(frame.payload) + generator.randrange(-4, 5)
    frame.length = max(near, 0) if generator.random() < 0.7 else generator.choice(EXTREMES)


def swap_frames(generator: random.Random, file: Any) -> None:
    """Two frames exchanged, or one under both numbers."""
    a, b = (generator.randrange(len(file.frames)) for _ in range(2))
    file.frames[a], file.frames[b] = file.frames[b], file.frames[a]
    if generator.random() < 0.5:
        file.frames[a] = copy.copy(file.frames[b])


def drop_frame(generator: random.Random, file: Any) -> None:
    """A frame fewer, or one more."""
    at = generator.randrange(len(file.frames))
    if generator.random() < 0.5:
        del file.frames[at]
    else:
        file.frames.insert(at, copy.copy(file.frames[at]))


def change_tensor(generator: random.Random, file: Any) -> None:
    """A field of a tensor's entry."""
    tensor = generator.choice(file.tensors)
    choice = generator.randrange(7)
    if choice == 0:
        tensor.dtype = generator.randrange(64)
    elif choice == 1:
        tensor.frame = generator.choice([*range(len(file.frames) + 1), *EXTREMES])
    elif choice == 2:
        tensor.kind = generator.randrange(4)
        tensor.error = b"\0\0\0\0" if tensor.kind == 1 else b""
    elif choice == 3:
        tensor.alias = generator.choice([*range(len(file.tensors) + 1), *EXTREMES])
    elif choice == 4:
        tensor.name = mutate(generator, tensor.name)
    else:
        change_shape(generator, tensor)


def change_shape(generator: random.Random, tensor: Any) -> None:
    """Sizes nearby or extreme, a dimension more or less."""
    sizes = tensor.shape
    choice = generator.randrange(4)
    if choice == 0 or not sizes:
        sizes.insert(generator.randrange(len(sizes) + 1), generator.choice([0, 1, 2, *EXTREMES]))
    elif choice == 1:
        del sizes[generator.randrange(len(sizes))]
    else:
        at = generator.randrange(len(sizes))
        near = max(sizes[at] + generator.randrange(-9, 10), 0)
        sizes[at] = near if choice == 2 else generator.choice([sizes[at] * 2, *EXTREMES])


def swap_tensors(generator: random.Random, file: Any) -> None:
    """Two entries exchanged, one doubled or dropped."""
    a, b = (generator.randrange(len(file.tensors)) for _ in range(2))
    choice = generator.randrange(3)
    if choice == 0:
        file.tensors[a], file.tensors[b] = file.tensors[b], file.tensors[a]
    elif choice == 1:
        file.tensors.insert(a, copy.deepcopy(file.tensors[b]))
    else:
        del file.tensors[a]


def change_metadata(generator: random.Random, file: Any) -> None:
    """The bytes of the metadata, sizes included."""
    file.metadata = mutate(generator, file.metadata)


def change_error(generator: random.Random, file: Any) -> None:
    """The model's error, or eight bytes where there should be none."""
    file.error = generator.randbytes(8) if generator.random() < 0.5 else b""


OF_FRAMES: list[Change] = [change_payload] * 12 + [change_head] * 8
OF_FRAMES += [change_coder, change_length, swap_frames, drop_frame]
OF_TENSORS: list[Change] = [change_tensor] * 4 + [swap_tensors, change_error]


def _copied(file: Any) -> Any:
    """As copy.deepcopy, in a tenth of the time."""
    frames = [copy.copy(frame) for frame in file.frames]
    tensors = [dataclasses.replace(tensor, shape=[*tensor.shape]) for tensor in file.tensors]
    return dataclasses.replace(file, frames=frames, tensors=tensors)


def forge(generator: random.Random, file: Any) -> bytes:
    """A file changed in one to four places, its checksums right; `file` stays as it is."""
    file = _copied(file)
    for _ in range(generator.choice([1, 1, 1, 2, 3, 4])):
        changes: list[Change] = [change_metadata]
        changes += OF_FRAMES if file.frames else []
        changes += OF_TENSORS if file.tensors else []
        generator.choice(changes)(generator, file)
    body = b"".join(frame.payload for frame in file.frames)
    index = format_page.build_index(file)
    if generator.random() < 0.1:
        index = mutate(generator, index)
    if generator.random() < 0.02:
        body = mutate(generator, body)
    length = generator.choice(EXTREMES[:9]) if generator.random() < 0.01 else None
    return bytes(format_page.seal(body, index, length=length))
