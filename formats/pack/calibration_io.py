"""Reads and writes what calibration found out, as a safetensors file.

For each tensor `rows/NAME`, for the moments of each input `scale/NAME`, `correlation/NAME` and
`mean/NAME`, for what was repaired `repaired/NAME`; everything else is JSON in the metadata.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from ...codec.calibration.record import Calibration, Moments, Sensed
from ...codec.errors import InputError, located
from ...codec.wire.arrays import AnyArray
from ..atomic import atomic_writer
from ..checkpoints.base import checked_info
from ..checkpoints.safetensors import SafetensorsCheckpoint, parse_json_object, write_safetensors

VERSION = 1
KEY = "dcz_calibration"
_LINKS = ("moments", "bias", "norm")


def write_calibration(calibration: Calibration, path: str | os.PathLike[str]) -> None:
    """Write a calibration; the file is replaced atomically."""
    arrays: dict[str, AnyArray] = {}
    for name, sensed in calibration.tensors.items():
        arrays[f"rows/{name}"] = sensed.rows
    for name, moments in calibration.moments.items():
        arrays[f"scale/{name}"] = moments.scale
        arrays[f"correlation/{name}"] = moments.correlation
        if moments.mean is not None:
            arrays[f"mean/{name}"] = moments.mean
    arrays |= {f"repaired/{name}": array for name, array in calibration.repaired.items()}
    infos = [checked_info(name, array.dtype, array.shape) for name, array in arrays.items()]
    metadata = {KEY: json.dumps(_header(calibration), separators=(",", ":"))}
    with atomic_writer(path) as stream:
        write_safetensors(stream, infos, arrays.__getitem__, metadata, {})


def _header(calibration: Calibration) -> dict[str, Any]:
    tensors = {
        name: {"digest": f"{sensed.digest:016x}", "shape": list(sensed.shape)}
        | {link: getattr(sensed, link) for link in _LINKS if getattr(sensed, link) is not None}
        for name, sensed in calibration.tensors.items()
    }
    return {
        "version": VERSION,
        "samples": calibration.samples,
        "energy": calibration.energy,
        "tensors": tensors,
    }


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Read a calibration.

    Raises
    ------
    InputError
        If the file is no calibration, or what it holds cannot be of any network.
    OSError
        If it cannot be opened.
    """
    with located(file=os.fspath(path)):
        try:
            with SafetensorsCheckpoint(path) as file:
                header = parse_json_object(
                    file.metadata.get(KEY, "").encode() or b"{}", "the calibration"
                )
                return _calibration(header, {name: file.read(name).copy() for name in file.tensors})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not a calibration of dcz.calibration.collect: {error}") from None


def _calibration(header: dict[str, Any], arrays: dict[str, AnyArray]) -> Calibration:
    if header.get("version") != VERSION:
        raise InputError("not a calibration of dcz.calibration.collect, or one of a newer release")
    moments = {name: _moments(name, arrays) for name in _names(arrays, "scale")}
    tensors = {
        name: _sensed(name, row, arrays[f"rows/{name}"], moments)
        for name, row in header["tensors"].items()
    }
    energy = float(header["energy"])
    if not 0 < energy < math.inf:
        raise InputError(f"the output's energy {energy} is not positive")
    if not any(sensed.rows.any() for sensed in tensors.values()):
        raise InputError("the output depends on no tensor")
    repaired = {name: arrays[f"repaired/{name}"] for name in _names(arrays, "repaired")}
    return Calibration(tensors, moments, energy, int(header["samples"]), repaired)


def _names(arrays: dict[str, AnyArray], kind: str) -> list[str]:
    parts = [name.partition("/") for name in arrays]
    return [name for found, _, name in parts if found == kind]


def _moments(name: str, arrays: dict[str, AnyArray]) -> Moments:
    with located(tensor=name):
        found = Moments(
            arrays[f"scale/{name}"], arrays[f"correlation/{name}"], arrays.get(f"mean/{name}")
        )
        found.check()
        return found


def _sensed(name: str, row: dict[str, Any], rows: AnyArray, moments: dict[str, Moments]) -> Sensed:
    with located(tensor=name):
        shape = tuple(int(size) for size in row["shape"])
        if rows.dtype != np.float32 or rows.shape != shape[:1] or len(shape) < 2:
            raise InputError(f"sensitivities of shape {rows.shape} for {shape}")
        if not np.isfinite(rows).all() or rows.min(initial=0) < 0:
            raise InputError("the sensitivities are not finite, or negative")
        links = {link: str(row[link]) for link in _LINKS if link in row}
        inputs = moments.get(links.get("moments", ""))
        if "moments" in links:
            if inputs is None:
                raise InputError(f"the moments of {links['moments']!r} are missing")
            groups, n = inputs.scale.shape
            if shape[0] % groups or math.prod(shape[1:]) != n:
                raise InputError(f"moments of {groups} x {n} inputs for {shape}")
        return Sensed(int(row["digest"], 16), shape, rows, **links)
