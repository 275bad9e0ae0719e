"""Says what a checkpoint holds beside the tensors that are read of it, and how to get it."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..terminal import printable
from .base import Checkpoint, LeftOut
from .prefixes import wrapper_prefix

_SHOWN = 12


def left_out_lines(checkpoint: Checkpoint, shown: int = _SHOWN) -> list[str]:
    """Say where the tensors were found and what else there is, in lines of which `shown` parts."""
    parts = checkpoint.left_out
    lines = []
    if checkpoint.state_dict_key is not None:
        lines.append(f"The tensors are those under the key {printable(checkpoint.state_dict_key)}.")
    if parts:
        lines.append("Left out of the file:")
        lines += [f"  {_line(part)}" for part in parts[:shown]]
    if len(parts) > shown:
        lines.append(f"  and {len(parts) - shown} more, which dcz inspect lists")
    return lines


def prefix_lines(checkpoint: Checkpoint) -> list[str]:
    """Say that all names have a prefix, if they have one."""
    prefix = wrapper_prefix(checkpoint.tensors)
    if not prefix:
        return []
    return [f"All names start with {prefix}, which dcz pack --strip-prefix takes off."]


def left_out_table(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the same for JSON."""
    return {
        "key": checkpoint.state_dict_key,
        "prefix": wrapper_prefix(checkpoint.tensors),
        "left_out": [dataclasses.asdict(part) for part in checkpoint.left_out],
    }


def left_out_in_short(checkpoint: Checkpoint) -> str:
    """Return the same in one line; an empty string if nothing was left out."""
    names = [part.key for part in checkpoint.left_out]
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{checkpoint.path}: left out were {', '.join(names[:_SHOWN])}{more}"


def _line(part: LeftOut) -> str:
    text = f"{printable(part.key)}: {printable(part.what)}"
    if not part.tensors:
        return text
    count = f"{part.tensors} tensor{'s' * (part.tensors != 1)} of {part.nbytes:,} bytes"
    return f"{text} with {count}; --key {printable(part.key)} takes it"
