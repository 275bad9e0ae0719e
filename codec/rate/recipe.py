"""Recipes: what to do with which tensor."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from ..calibration.record import Calibration
from ..errors import RecipeError
from ..share.kmeans import INITIALISATIONS
from ..wire.arrays import AnyArray
from ..wire.codebook import MAX_LEVELS
from ..wire.trellis_states import STATES

# Of the layers, at which a file is smaller and its outputs are better than at 1e-3 of the model.
DEFAULT_LAYERS_ERROR, DEFAULT_MAX_ERROR = 3e-4, 1e-3
SCOPES = ("lamp", "global", "tensor")
ERRORS = ("layers", "model")
CODERS = ("huffman", "auto", "mixed")
# How weights are shared, and what codes the result unless the recipe says otherwise.
QUANTIZERS = {"kmeans": "huffman", "grid": "auto", "trellis": "mixed", "lossless": "huffman"}
PRESETS = {"paper": "kmeans", "balanced": "grid", "max": "trellis"}
DEFAULT_PRESET, DEFAULT_QUANTIZER = "balanced", "kmeans"
AIMS = ("max_error", "target_ratio", "target_size")

Sensitivity = Callable[[str, AnyArray], float | AnyArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a recipe, or one of its rules, says of a tensor; None leaves it to the recipe.

    Attributes
    ----------
    quantizer : "kmeans", "grid", "trellis" or "lossless"
        How weights are shared: by k-means as in Deep Compression, on a uniform grid whose step all
        tensors have in common, on two such grids that take turns along a trellis, or not at all.
    bits : int
        Index bits, 1 to 16: 2**bits levels.
    levels : int
        Number of shared values besides zero, 1 to 65,536, instead of `bits`.
    sparsity : float
        Share of the weights to prune, 0 <= sparsity < 1.
    threshold : float
        Prune weights of a smaller magnitude, instead of `sparsity`.
    initialisation : "best", "optimal", "linear", "density" or "random"
        Where k-means starts.
    states : 4, 8, 16, 32 or 64
        Of a trellis: more take longer to pack, and save a little.
    importance : float
        What a squared error in the tensor counts for, against 1 in others. It moves bits between
        tensors; errors are bounded and reported as they are.
    """

    quantizer: str | None = None
    bits: int | None = None
    levels: int | None = None
    sparsity: float | None = None
    threshold: float | None = None
    initialisation: str | None = None
    states: int | None = None
    importance: float | None = None

    def __post_init__(self) -> None:
        _one_of("quantizer", self.quantizer, tuple(QUANTIZERS))
        _one_of("initialisation", self.initialisation, tuple(INITIALISATIONS))
        _in_range("bits", self.bits, int, 1, 16)
        _in_range("levels", self.levels, int, 1, MAX_LEVELS)
        _in_range("sparsity", self.sparsity, float, 0, 1)
        _in_range("threshold", self.threshold, float, 0, float("inf"))
        _one_of("states", self.states, STATES)
        _in_range("importance", self.importance, float, 1e-12, 1e12)
        if self.sparsity == 1:
            raise RecipeError("sparsity: 1 would prune every weight")
        if self.bits is not None and self.levels is not None:
            raise RecipeError("bits and levels say the same thing twice; give one of them")
        if self.quantizer is not None:
            _refuse_unused(self, self.quantizer)
        if self.sparsity is not None and self.threshold is not None:
            raise RecipeError("sparsity and threshold exclude each other; give one of them")

    @property
    def level_count(self) -> int | None:
        """Shared values asked for, or None."""
        return self.levels if self.bits is None else 2**self.bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Settings):
    """Settings for the tensors whose name matches a pattern.

    Attributes
    ----------
    pattern : str
        A name as the shell matches file names: ``encoder.*.weight``.
    """

    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Settings):
    """What to do with a whole checkpoint.

    With nothing set, zeros are kept, nothing else is pruned, and every tensor gets as many levels
    as keep the relative squared error of the model at `max_error`.

    Attributes
    ----------
    preset : "paper", "balanced" or "max"
        The quantizer of tensors for which none is named: k-means as in Deep Compression; the grid,
        which is smaller at equal error and nearly as quick to decode; or the trellis, which is
        smallest, and slow both ways. By default the grid; k-means where `bits`, `levels` or
        `initialisation`, which only it has, are given.
    max_error : float
        Bound of the relative squared error that sharing may add; by default 3e-4 of the layers,
        and 1e-3 of the model or of the output. It decides the levels, and excludes giving them.
    error_of : "layers" or "model"
        What that error is: the mean of the tensors' relative errors, each told against the spread
        of its weights and counted by its role (the default); or all squared errors over the sum of
        squares of all floating-point tensors of two or more dimensions, as other codecs count
        it, in which tensors of small weights count for nothing.
    target_ratio : float
        How many times smaller than the dense tensors the file has to be, instead of `max_error`.
    target_size : int
        The most bytes the file may have, instead of either.
    scope : "lamp", "global" or "tensor"
        Whether `sparsity` is reached over all tensors by a score that does not depend on their
        scales (the default), over all with one threshold, or in each tensor.
    coder : "huffman", "auto" or "mixed"
        The entropy coder; by default the one that suits the quantizer. "huffman" is the paper's;
        "auto" may code pairs of weights together, and rows by classes, where that is smaller.
        "mixed" mixes the predictions of many contexts, which is smallest, and slow both ways; a
        trellis takes no other.
    sensitivity : callable
        Given a tensor's name and its weights, says what a squared error in it counts for: a number,
        or one for each weight, whose mean is taken, such as the diagonal of a Hessian or of the
        Fisher information. Multiplies `importance`, and takes the place of what errors count for
        by tensors and their roles in where the bits go.
    calibration : path or Calibration
        What `dcz.calibration.collect` found out about this network. Errors are then predicted ones
        of its output, in `max_error` too, which then counts what pruning does; and the bits go
        where they lower that error most.
    rules : sequence of Rule
        Exceptions; the last one that matches a tensor and sets a field decides it.
    """

    preset: str | None = None
    max_error: float | None = None
    error_of: str = "layers"
    target_ratio: float | None = None
    target_size: int | None = None
    scope: str = "lamp"
    coder: str | None = None
    sensitivity: Sensitivity | None = dataclasses.field(default=None, compare=False)
    calibration: str | os.PathLike[str] | Calibration | None = dataclasses.field(
        default=None, compare=False
    )
    rules: Sequence[Rule] = ()

    def __post_init__(self) -> None:
        super(Recipe, self).__post_init__()
        _one_of("preset", self.preset, tuple(PRESETS))
        _one_of("scope", self.scope, SCOPES)
        _one_of("error_of", self.error_of, ERRORS)
        _one_of("coder", self.coder, CODERS)
        _in_range("max_error", self.max_error, float, 0, 1)
        _in_range("target_ratio", self.target_ratio, float, 1, 1e9)
        _in_range("target_size", self.target_size, int, 1, 2**62)
        aims = [name for name in AIMS if getattr(self, name) is not None]
        if len(aims) > 1:
            raise RecipeError(f"{aims[0]} and {aims[1]} exclude each other; give one of them")
        if aims and self.level_count is not None:
            raise RecipeError(f"{aims[0]} chooses the levels; leave out bits and levels")
        Settings(**self._own_settings())
        if not isinstance(self.calibration, str | os.PathLike | Calibration | None):
            raise RecipeError(f"calibration: {self.calibration!r} is not the name of a file")
        for quantizer in (self.main_quantizer, *(rule.quantizer for rule in self.rules)):
            if quantizer == "trellis" and self.coder == "huffman":
                raise RecipeError("a trellis is coded by mixed contexts; leave out coder huffman")

    @property
    def error_bound(self) -> float:
        """`max_error`, or its default."""
        if self.max_error is not None:
            return self.max_error
        by_layers = self.error_of == "layers" and self.calibration is None
        return DEFAULT_LAYERS_ERROR if by_layers else DEFAULT_MAX_ERROR

    @property
    def main_quantizer(self) -> str:
        """The quantizer of tensors that no rule gives another."""
        if self.quantizer is not None:
            return self.quantizer
        if self.preset is None and _asks_for_kmeans(self):
            return "kmeans"
        return PRESETS[self.preset or DEFAULT_PRESET]

    def coder_for(self, settings: Settings) -> str:
        """The entropy coder of a tensor."""
        suited = QUANTIZERS[settings.quantizer or DEFAULT_QUANTIZER]
        return suited if self.coder is None or suited == "mixed" else self.coder

    def settings_by_name(self, names: Iterable[str]) -> dict[str, Settings]:
        """The settings of each tensor: the recipe's own, overridden by each rule that matches.

        Where the same rules match, they are one object.
        """
        found: dict[tuple[int, ...], Settings] = {}
        result = {}
        for name in names:
            rules = self.rules_for(name)
            key = tuple(map(id, rules))
            if key not in found:
                found[key] = self._merged(rules)
            result[name] = found[key]
        return result

    def _merged(self, rules: Sequence[Rule]) -> Settings:
        merged = self._own_settings()
        chosen = self.quantizer is not None or self.preset is not None
        for rule in rules:
            if not chosen and rule.quantizer is None and _asks_for_kmeans(rule):
                merged["quantizer"] = "kmeans"
            for field in dataclasses.fields(Settings):
                value = getattr(rule, field.name)
                if value is not None:
                    merged[field.name] = value
                    merged.update(dict.fromkeys(_EXCLUDES.get(field.name, ())))
        return Settings(**merged | dict.fromkeys(_UNUSED[merged["quantizer"]]))

    def _own_settings(self) -> dict[str, Any]:
        merged = {field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)}
        merged["quantizer"] = self.main_quantizer
        return merged

    def rules_for(self, name: str) -> list[Rule]:
        """The rules whose pattern matches a tensor's name."""
        return [rule for rule in self.rules if fnmatchcase(name, rule.pattern)]

    def shares_by_name(self, name: str) -> bool:
        """Whether a rule says how to share the weights of a tensor of this name."""
        named = [rule.quantizer for rule in self.rules_for(name) if rule.quantizer]
        return bool(named) and named[-1] != "lossless"

    def check_patterns(self, names: Sequence[str]) -> None:
        """Raise RecipeError for a rule that matches none of the names."""
        for rule in self.rules:
            if not any(fnmatchcase(name, rule.pattern) for name in names):
                raise RecipeError(f"pattern {rule.pattern!r} matches no tensor")

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Recipe:
        """Make a recipe from parsed TOML: the attributes' names, and `[[tensor]]` for the rules.

        Raises
        ------
        RecipeError
            For an unknown key or a value outside its range.
        """
        values = dict(table)
        rules = values.pop("tensor", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise RecipeError("tensor: write each rule as a [[tensor]] table")
        return _build(cls, values, rules=tuple(_build(Rule, rule) for rule in rules))


_EXCLUDES = {
    "bits": ("levels",),
    "levels": ("bits",),
    "sparsity": ("threshold",),
    "threshold": ("sparsity",),
}
# What a quantizer has no use for.
_UNUSED = {
    "kmeans": ("states",),
    "grid": ("bits", "levels", "initialisation", "states"),
    "trellis": ("bits", "levels", "initialisation"),
    "lossless": tuple(f.name for f in dataclasses.fields(Settings) if f.name != "quantizer"),
}
_REASONS = {
    "kmeans": "only a trellis has states",
    "grid": "the aim chooses a grid's levels",
    "trellis": "the aim chooses a trellis's levels",
    "lossless": "lossless keeps every weight as it is",
}


def _asks_for_kmeans(settings: Settings) -> bool:
    """Whether settings are given that nothing but k-means has."""
    return (settings.bits, settings.levels, settings.initialisation) != (None, None, None)


_Kind = TypeVar("_Kind", bound=Settings)


def _build(kind: type[_Kind], values: Mapping[str, Any], **more: Any) -> _Kind:
    known = {field.name for field in dataclasses.fields(kind)} - {"rules"}
    unknown = sorted(set(values) - known)
    if unknown:
        raise RecipeError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if kind is Rule and "pattern" not in values:
        raise RecipeError("a [[tensor]] table needs a pattern")
    if kind is Rule and not isinstance(values["pattern"], str):
        raise RecipeError(f"pattern: {values['pattern']!r} is not a string")
    return kind(**values, **more)


def _refuse_unused(settings: Settings, quantizer: str) -> None:
    for field in _UNUSED[quantizer]:
        if getattr(settings, field) is not None:
            raise RecipeError(f"{_REASONS[quantizer]}; leave out {field}")


def _one_of(field: str, value: object, allowed: Sequence[object]) -> None:
    if value is not None and (value not in allowed or isinstance(value, float)):
        raise RecipeError(f"{field}: {value!r} is none of {', '.join(map(str, allowed))}")


def _in_range(field: str, value: object, kind: type, low: float, high: float) -> None:
    if value is None:
        return
    allowed = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise RecipeError(f"{field}: {value!r} is not {'a number' if kind is float else 'whole'}")
    if not low <= value <= high:
        raise RecipeError(f"{field}: {value} is outside {low} to {high}")
