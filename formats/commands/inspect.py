"""`dcz inspect`: the tensors of any supported file, from its headers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from ..terminal import input_path
from .command import Command
from .options import FILE, json_option, key_option, limits_option
from .output import DONE, print_json

if TYPE_CHECKING:
    from ..checkpoints.base import Checkpoint
    from ..container.limits import DecodeLimits
    from ..container.tensor_info import TensorInfo

_EXAMPLES = """\
examples:
  dcz inspect model.dcz
  dcz inspect model.pt --json
  dcz inspect training.ckpt --key model_ema
"""


@click.command(
    cls=Command,
    help="List the tensors of FILE, of any supported format: names, shapes, coders.",
    epilog=_EXAMPLES,
    sections={"Reading": ("key", "limits")},
)
@click.argument("source", metavar="FILE", type=FILE)
@key_option
@limits_option
@json_option
def inspect(source: str, key: str | None, limits: DecodeLimits, as_json: bool) -> int:
    """List the tensors of any supported file from its headers; returns the exit code."""
    from ..checkpoints.registry import open_checkpoint

    with input_path(source) as path, open_checkpoint(path, limits, key=key) as checkpoint:
        if as_json:
            print_json(_table(checkpoint, source, os.path.getsize(path)))
        else:
            _show(checkpoint)
    return DONE


def _show(checkpoint: Checkpoint) -> None:
    from ..checkpoints.left_out import left_out_lines, prefix_lines
    from ..console.listing import listing

    print(listing(_rows(checkpoint), _shown_metadata(checkpoint.metadata).items()))
    lines = left_out_lines(checkpoint, len(checkpoint.left_out))
    for line in [*lines, *prefix_lines(checkpoint)]:
        print(line)


def _shown_metadata(metadata: dict[str, str]) -> dict[str, str]:
    if not metadata:
        return {}
    from ..checkpoints.pytorch.structure import STRUCTURE_KEY

    hidden = {STRUCTURE_KEY: "kept: unpack to .pt for everything"}
    return {name: hidden.get(name, text) for name, text in metadata.items()}


def _rows(checkpoint: Checkpoint) -> list[tuple[TensorInfo, str]]:
    """Each tensor with a remark: what it is tied to, or its coder."""
    from ..checkpoints.dcz import DczCheckpoint

    archive = checkpoint.archive if isinstance(checkpoint, DczCheckpoint) else None
    rows = []
    for name, info in checkpoint.tensors.items():
        tie = checkpoint.ties.get(name)
        coder = archive.coder(name) if archive is not None else ""
        rows.append((info, f"= {tie}" if tie else coder))
    return rows


def _table(checkpoint: Checkpoint, source: str, size: int) -> dict[str, Any]:
    from ..checkpoints.left_out import left_out_table

    return {
        "file": source,
        "format": checkpoint.format,
        "file_bytes": size,
        "metadata": checkpoint.metadata,
        "tensors": [
            {
                "name": info.name,
                "shape": list(info.shape),
                "dtype": info.dtype.name,
                "numel": info.numel,
                "coder": remark,
            }
            for info, remark in _rows(checkpoint)
        ],
    } | left_out_table(checkpoint)
