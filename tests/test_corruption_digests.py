"""Digests: compared unless the reader says otherwise; `verify` always compares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dcz

GOLDEN = Path(__file__).parent / "golden" / "dense-many-blocks.dcz"


@pytest.fixture
def wrong_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose digest was made of other elements, with all checksums in order."""
    import dcz.formats.packing as packing

    path = tmp_path / "wrong.dcz"
    monkeypatch.setattr(packing, "combine", lambda digests: 1)
    monkeypatch.setattr(packing, "verify", lambda archive: None)
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
