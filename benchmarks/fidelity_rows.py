"""What packing does to a network's outputs: at equal bytes, at fixed bytes, and by pruning."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpoints import Arrays
from fidelity_network import Judgement, Network

import dcz

# Errors over all weights together that give the sizes at which the two ways to count are compared.
ERRORS = (3e-3, 1e-2)
SPARSITIES = (0.5, 0.7, 0.9)
SCOPES = ("lamp", "global", "tensor")
LEVELS = 256
# Sizes that other pages and papers ask about, by network.
FIXED = {
    "MiniLM-L6": (13_000_000, 11_000_000),
    "efficientnet-lite0": (2_360_000,),
    "SmolLM2-135M": (60_000_000,),
}
# The error at which the bytes are told, between the fixed sizes of a network.
WANTED = {"MiniLM-L6": 0.01}
HIGHEST, HIGHEST_MEDIAN = 1.05, 0.6


@dataclass(frozen=True, slots=True)
class Point:
    """A file's bytes and what its outputs are like."""

    bytes: int
    error: float
    agreement: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of at most `size` bytes: errors counted by layers, the default, and over the model."""

    size: int
    layers: Point
    model: Point

    @property
    def ratio(self) -> float:
        """Output error of the default over that of the other; below 1 it is better."""
        return self.layers.error / self.model.error


@dataclass(frozen=True, slots=True)
class Pruned:
    """Output errors at a sparsity, by the scope that it is reached over."""

    sparsity: float
    errors: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured of a network.

    Attributes
    ----------
    name, kind, measure : str
    held_out : bool
    equal : list of Pair
        At the bytes that the errors `ERRORS` take; these are judged.
    fixed : list of Pair
        At given bytes.
    wanted_bytes : dict
        Bytes for the error in `WANTED`, by what errors are of.
    pruned : list of Pruned
    """

    name: str
    kind: str
    measure: str
    held_out: bool
    equal: list[Pair]
    fixed: list[Pair]
    wanted_bytes: dict[str, float]
    pruned: list[Pruned]

    @property
    def complete(self) -> bool:
        """Whether all errors and sparsities were measured: a run can be cut short."""
        return (len(self.equal), len(self.pruned)) == (len(ERRORS), len(SPARSITIES))


def measure(network: Network) -> Measured:
    """Pack a network in every way, and compare its outputs."""
    state = network.state()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(network, state, Path(folder) / "packed.dcz")
        equal = [_shown(bench.name, bench.pair(bench.size(error))) for error in ERRORS]
        fixed = [_shown(bench.name, bench.pair(size)) for size in FIXED.get(network.name, ())]
        pruned = [_shown(bench.name, bench.pruned(sparsity)) for sparsity in SPARSITIES]
    wanted = WANTED.get(network.name)
    return Measured(
        name=network.name,
        kind=network.kind,
        measure=network.measure.name,
        held_out=network.held_out,
        equal=equal,
        fixed=fixed,
        wanted_bytes={} if wanted is None else _wanted_bytes(fixed, wanted),
        pruned=pruned,
    )


@dataclass(frozen=True, slots=True)
class Bench:
    """A network, its weights, and the file that they are packed into."""

    network: Network
    state: Arrays
    path: Path

    @property
    def name(self) -> str:
        """The network's."""
        return self.network.name

    def size(self, error: float) -> int:
        """Bytes of the file whose squared error over all weights together is `error`."""
        recipe = dcz.Recipe(preset="balanced", max_error=error, error_of="model")
        return dcz.save_file(self.state, self.path, recipe).file_bytes

    def pair(self, size: int) -> Pair:
        """Pack into at most `size` bytes, with either way to count errors."""
        layers, model = (
            self.point(dcz.Recipe(preset="balanced", target_size=size, error_of=error_of))
            for error_of in ("layers", "model")
        )
        return Pair(size, layers, model)

    def pruned(self, sparsity: float) -> Pruned:
        """Prune with every scope."""
        recipes = {
            scope: dcz.Recipe(sparsity=sparsity, scope=scope, levels=LEVELS) for scope in SCOPES
        }
        return Pruned(
            sparsity, {scope: self.point(recipe).error for scope, recipe in recipes.items()}
        )

    def point(self, recipe: dcz.Recipe) -> Point:
        """Pack, unpack, and compare outputs."""
        report = dcz.save_file(self.state, self.path, recipe)
        found: Judgement = self.network.judge(dcz.load_file(self.path))
        return Point(report.file_bytes, found.error, found.agreement)


def _shown(name: str, row: Any) -> Any:
    """Print a row as soon as it is known, and return it."""
    print(name, row, flush=True)
    return row


def _wanted_bytes(pairs: Sequence[Pair], error: float) -> dict[str, float]:
    """Bytes at an output error, with log bytes straight in log error through two pairs."""
    first, second = pairs
    return {
        error_of: _interpolated(getattr(first, error_of), getattr(second, error_of), error)
        for error_of in ("layers", "model")
    }


def _interpolated(first: Point, second: Point, error: float) -> float:
    share = math.log(error / first.error) / math.log(second.error / first.error)
    return first.bytes * math.exp(share * math.log(second.bytes / first.bytes))


def ratios(measured: Sequence[Measured]) -> Iterator[float]:
    """The ratios that are judged."""
    for each in measured:
        yield from (pair.ratio for pair in each.equal)


def restored(figures: dict[str, Any]) -> Measured:
    """What `dataclasses.asdict` made of a `Measured`, back again."""
    pairs = {
        part: [
            Pair(pair["size"], Point(**pair["layers"]), Point(**pair["model"]))
            for pair in figures[part]
        ]
        for part in ("equal", "fixed")
    }
    pruned = [Pruned(**row) for row in figures["pruned"]]
    return Measured(**{**figures, **pairs, "pruned": pruned})
