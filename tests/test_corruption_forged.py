"""Changed files whose checksums fit again: dcz refuses what FORMAT.md refuses, and nothing else.

Where the independent decoder accepts a changed file, dcz must give the same bytes; where it does
not, dcz must raise a typed error before it comes to compare digests.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support_mutations import mutate

import dcz

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.dcz"))
SLOW_TO_DECODE = {"sparse-wide-index", "dense-many-blocks", "sparse-blocks", "sparse-fillers"}
FRAMES = [path for path in GOLDEN if path.stem not in SLOW_TO_DECODE | {"empty"}]
LIMITS = dcz.DecodeLimits(tensor_bytes=1 << 22, total_bytes=1 << 23)
# Mutations of each file; fewer where plain Python takes long to decode them.
SHORT, LONG = 100 if dcz.BACKEND == "c" else 25, 5_000
MIXED = (6, 7)


def read(path: Path, data: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    path.write_bytes(data)
    try:
        arrays = dcz.load_file(path, jobs=1, limits=LIMITS)
    except dcz.DczError as error:
        assert error.file == str(path)
        raise
    return {name: (a.dtype.name, list(a.shape), a.tobytes()) for name, a in arrays.items()}


def rounds(path: Path, dczformat: ModuleType, most: int) -> int:
    """How many mutations of a file are worth their time."""
    coders = [frame.coder for frame in dczformat.parse(path.read_bytes()).frames]
    return most // 10 if any(coder in MIXED for coder in coders) else most


def accepted(dczformat: ModuleType, file: Any) -> bool:
    """Whether FORMAT.md accepts the payloads; if so, the digests are made to fit."""
    try:
        for number, frame in enumerate(file.frames):
            members = file.members(number)
            flat = dczformat.decode_frame(frame, members)
            at = 0
            for tensor in members:
                size = tensor.numel * dczformat.SIZES[tensor.dtype]
                tensor.digest = dczformat.digest(flat[at : at + size])
                at += size
    except dczformat.Refused:
        return False
    return True


def forge_frames(path: Path, out: Path, dczformat: ModuleType, count: int, seed: int) -> None:
    original = dczformat.parse(path.read_bytes())
    numbers = [i for i, frame in enumerate(original.frames) if frame.payload]
    generator = random.Random(seed)
    for _ in range(count):
        file = copy.deepcopy(original)
        frame = file.frames[generator.choice(numbers)]
        before = frame.payload
        while frame.payload == before or not frame.payload:
            frame.payload = mutate(generator, frame.payload or before)
        fits = accepted(dczformat, file)
        data = dczformat.build(file)
        if fits:
            assert read(out, data) == dczformat.decode(data)
            continue
        with pytest.raises(dcz.DczError) as caught:
            read(out, data)
        refused_before_digest(out, file, dczformat, caught.value)


def refused_before_digest(out: Path, file: Any, dczformat: ModuleType, error: dcz.DczError) -> None:
    """A digest may save the day for other frames' tensors, not for the one that was changed."""
    for number, frame in enumerate(file.frames):
        try:
            dczformat.decode_frame(frame, file.members(number))
        except dczformat.Refused:
            with dcz.open(out, jobs=1, limits=LIMITS) as archive:
                for tensor in file.members(number):
                    with pytest.raises(dcz.DczError) as caught:
                        archive[tensor.name.decode()]
                    assert not isinstance(caught.value, dcz.ChecksumError), frame


def forge_index(path: Path, out: Path, dczformat: ModuleType, count: int, seed: int) -> None:
    data = path.read_bytes()
    file = dczformat.parse(data)
    body = b"".join(frame.payload for frame in file.frames)
    index = dczformat.build_index(file)
    generator = random.Random(seed)
    for _ in range(count):
        changed = index
        while changed == index:
            changed = mutate(generator, index)
        forged = dczformat.seal(body, changed)
        try:
            content = read(out, forged)
        except dcz.LimitError:
            continue
        except dcz.DczError:
            with pytest.raises(dczformat.Refused):
                dczformat.decode(forged)
        else:
            assert content == dczformat.decode(forged)


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
def test_forged_frames(path: Path, tmp_path: Path, dczformat: ModuleType) -> None:
    forge_frames(path, tmp_path / "forged.dcz", dczformat, rounds(path, dczformat, SHORT), seed=1)


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
def test_forged_indexes(path: Path, tmp_path: Path, dczformat: ModuleType) -> None:
    forge_index(
        path, tmp_path / "forged.dcz", dczformat, rounds(path, dczformat, 2 * SHORT), seed=2
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
def test_forged_frames_at_length(path: Path, tmp_path: Path, dczformat: ModuleType) -> None:
    forge_frames(path, tmp_path / "forged.dcz", dczformat, rounds(path, dczformat, LONG), seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
def test_forged_indexes_at_length(path: Path, tmp_path: Path, dczformat: ModuleType) -> None:
    forge_index(path, tmp_path / "forged.dcz", dczformat, rounds(path, dczformat, LONG), seed=4)


@pytest.mark.parametrize("path", [p for p in GOLDEN if p.stem != "empty"], ids=lambda p: p.stem)
def test_forged_files_give_the_declared_sizes_or_typed_errors(
    path: Path, tmp_path: Path, dczformat: ModuleType
) -> None:
    original = dczformat.parse(path.read_bytes())
    numbers = [i for i, frame in enumerate(original.frames) if frame.payload]
    generator = random.Random(5)
    out = tmp_path / "forged.dcz"
    for _ in range(rounds(path, dczformat, SHORT)):
        file = copy.deepcopy(original)
        frame = file.frames[generator.choice(numbers)]
        for _ in range(generator.randrange(1, 4)):
            frame.payload = mutate(generator, frame.payload or b"\0")
        out.write_bytes(dczformat.build(file))
        with dcz.open(out, limits=LIMITS) as archive:
            for name in archive:
                try:
                    array = archive[name]
                except dcz.DczError as error:
                    assert (error.file, error.tensor) == (str(out), name)
                else:
                    assert array.shape == archive.info(name).shape
            try:
                assert archive.report().file_bytes == out.stat().st_size
            except dcz.DczError as error:
                assert error.file == str(out)
