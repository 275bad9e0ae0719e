"""Recipes: what to do with which tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from dcz.codec.codebook import MAX_LEVELS
from dcz.codec.errors import RecipeError
from dcz.codec.share import INITIALISATIONS

DEFAULT_MAX_ERROR = 1e-3
QUANTIZERS = ("kmeans", "lossless")
SCOPES = ("global", "tensor")
CODERS = ("huffman",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a recipe, or one of its rules, says of a tensor; None leaves it to the recipe.

    Attributes
    ----------
    quantizer : "kmeans" or "lossless"
        How weights are shared.
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
    """

    quantizer: str | None = None
    bits: int | None = None
    levels: int | None = None
    sparsity: float | None = None
    threshold: float | None = None
    initialisation: str | None = None

    def __post_init__(self) -> None:
        _one_of("quantizer", self.quantizer, QUANTIZERS)
        _one_of("initialisation", self.initialisation, tuple(INITIALISATIONS))
        _in_range("bits", self.bits, int, 1, 16)
        _in_range("levels", self.levels, int, 1, MAX_LEVELS)
        _in_range("sparsity", self.sparsity, float, 0, 1)
        _in_range("threshold", self.threshold, float, 0, float("inf"))
        if self.sparsity == 1:
            raise RecipeError("sparsity: 1 would prune every weight")
        if self.bits is not None and self.levels is not None:
            raise RecipeError("bits and levels say the same thing twice; give one of them")
        if self.quantizer == "lossless":
            _excludes_all(self, ("bits", "levels", "sparsity", "threshold", "initialisation"))
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
    max_error : float
        Bound of the relative squared error that sharing may add, over all floating-point tensors
        of two or more dimensions together, 1e-3 by default. It decides the levels, and excludes
        giving them.
    scope : "global" or "tensor"
        Whether `sparsity` is reached over all tensors with one threshold, or in each tensor.
    coder : "huffman"
        The entropy coder.
    rules : sequence of Rule
        Exceptions; the last one that matches a tensor and sets a field decides it.
    """

    max_error: float | None = None
    scope: str = "global"
    coder: str = "huffman"
    rules: Sequence[Rule] = ()

    def __post_init__(self) -> None:
        super(Recipe, self).__post_init__()
        _one_of("scope", self.scope, SCOPES)
        _one_of("coder", self.coder, CODERS)
        _in_range("max_error", self.max_error, float, 0, 1)
        if self.max_error is not None and self.level_count is not None:
            raise RecipeError("max_error chooses the levels; leave out bits and levels")

    @property
    def error_bound(self) -> float:
        """`max_error`, or its default."""
        return DEFAULT_MAX_ERROR if self.max_error is None else self.max_error

    def settings_for(self, name: str) -> Settings:
        """The settings of one tensor: the recipe's own, overridden by each rule that matches."""
        merged = {field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)}
        for rule in self.rules_for(name):
            for field in dataclasses.fields(Settings):
                value = getattr(rule, field.name)
                if value is not None:
                    merged[field.name] = value
                    merged.update(dict.fromkeys(_EXCLUDES.get(field.name, ())))
        if merged["quantizer"] == "lossless":
            return Settings(quantizer="lossless")
        return Settings(**merged)

    def rules_for(self, name: str) -> list[Rule]:
        """The rules whose pattern matches a tensor's name."""
        return [rule for rule in self.rules if fnmatchcase(name, rule.pattern)]

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


def _excludes_all(settings: Settings, fields: Sequence[str]) -> None:
    for field in fields:
        if getattr(settings, field) is not None:
            raise RecipeError(f"lossless keeps every weight as it is; leave out {field}")


def _one_of(field: str, value: object, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise RecipeError(f"{field}: {value!r} is none of {', '.join(allowed)}")


def _in_range(field: str, value: object, kind: type, low: float, high: float) -> None:
    if value is None:
        return
    allowed = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise RecipeError(f"{field}: {value!r} is not {'a number' if kind is float else 'whole'}")
    if not low <= value <= high:
        raise RecipeError(f"{field}: {value} is outside {low} to {high}")
