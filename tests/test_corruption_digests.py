"""Digests: compared unless the reader says otherwise; `verify` always compares them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import dcz

GOLDEN = Path(__file__).parent / "golden" / "dense-many-blocks.dcz"


@pytest.fixture
def wrong_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose digest was made of other elements, with all checksums in order."""
    from dcz.formats.pack import pack, packer

    path = tmp_path / "wrong.dcz"
    monkeypatch.setattr(packer, "combine", lambda digests: 1)
    monkeypatch.setattr(pack, "verify", lambda archive: None)
    dcz.save_file({"x": np.random.default_rng(0).normal(size=(300, 300))}, path)
    return path


def test_a_wrong_digest_is_found(wrong_digest: Path) -> None:
    with dcz.open(wrong_digest) as archive, pytest.raises(dcz.ChecksumError, match="digest"):
        archive["x"]


def test_a_reader_may_leave_digests_out(wrong_digest: Path) -> None:
    with dcz.open(wrong_digest, check_digests=False) as archive:
        assert archive["x"].shape == (300, 300)
        with pytest.raises(dcz.ChecksumError, match="digest"):
            archive.verify("x")


def test_checksums_are_compared_all_the_same(tmp_path: Path) -> None:
    content = bytearray(GOLDEN.read_bytes())
    content[20] ^= 1
    path = tmp_path / "flipped.dcz"
    path.write_bytes(content)
    with dcz.open(path, check_digests=False) as archive, pytest.raises(dcz.ChecksumError):
        for name in archive:
            archive[name]


@pytest.mark.parametrize("jobs", [1, 2])
def test_digests_in_a_frame_of_several_are_left_out_too(
    tmp_path: Path, dczformat: ModuleType, jobs: int
) -> None:
    path = tmp_path / "group.dcz"
    file = dczformat.File([dczformat.Frame(0, b"1234")])
    for name in (b"a", b"b"):
        file.tensors.append(dczformat.Tensor(name, 0, 11, [2], 0, 0))
    path.write_bytes(dczformat.build(file))
    with dcz.open(path, jobs=jobs, check_digests=False) as archive:
        assert {name: archive[name].tobytes() for name in archive} == {"a": b"12", "b": b"34"}
        with pytest.raises(dcz.ChecksumError, match="digest"):
            archive.verify("b")
    with dcz.open(path, jobs=jobs) as archive, pytest.raises(dcz.ChecksumError, match="digest"):
        archive["b"]
