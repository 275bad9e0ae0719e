"""What `dcz pack` says in words: what was done, what was lost, and what goes further."""

from __future__ import annotations

from collections.abc import Mapping

from ...codec.rate.recipe import Recipe
from ...codec.report.report import Report
from ..terminal import printable

# Relative errors, as they are counted, of a model and of a tensor that a user has to be told of.
LARGE_ERROR = 0.05
WRECKED = 0.3
_NAMED = 3


def advice(recipe: Recipe, report: Report) -> str:
    """Lines to be printed under a report of packing."""
    pruned = recipe.sparsity is not None or recipe.threshold is not None
    lines = [
        *([] if pruned else ["Nothing was pruned but exact zeros."]),
        *_aim(recipe, report, pruned=pruned),
        *_kept(report.exact),
        *_lost(report.lost),
    ]
    if report.unpruned:
        names = _names(report.unpruned)
        lines.append(f"Warning: not pruned, since no weight of theirs would be left: {names}.")
    if report.unseen:
        names = _names(report.unseen)
        lines.append(f"Calibration saw no effect of {names}: treated like the median tensor.")
    large = report.counted_error is not None and report.counted_error > LARGE_ERROR
    if report.output_error is None and large:
        lines.append("An error this large needs retraining: check the model before you ship it.")
    return "\n".join(lines)


def _aim(recipe: Recipe, report: Report, *, pruned: bool) -> list[str]:
    if report.slope is None:
        return []
    uncounted = ", pruning not counted" if pruned and recipe.calibration is None else ""
    return [
        f"All tensors were cut at one slope, {report.slope:.3g} a bit, for {_goal(recipe)}"
        f"{uncounted}.",
        "Go further with --max-error 1e-2, --preset max, --bits 5 or --sparsity 0.9.",
    ]


def _goal(recipe: Recipe) -> str:
    if recipe.target_size is not None:
        return f"a file of at most {recipe.target_size:,} bytes"
    if recipe.target_ratio is not None:
        return f"a ratio of at least {recipe.target_ratio:g}"
    if recipe.calibration is not None:
        return f"a relative output error of at most {recipe.error_bound:g}"
    of = "the layers" if recipe.error_of == "layers" else "the whole model"
    return f"a relative squared error of {of} of at most {recipe.error_bound:g}"


def _kept(exact: Mapping[str, str]) -> list[str]:
    """Tensors that were recognised as no weights, by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in exact.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"Kept bit for bit ({why}): {_names(names)}." for why, names in by_reason.items()]


def _lost(lost: Mapping[str, float]) -> list[str]:
    """The tensors that lost most, and a warning for those that lost too much."""
    worst = sorted(lost.items(), key=lambda pair: -pair[1])
    if not worst:
        return []
    listed = ", ".join(f"{printable(name)} {error:.2g}" for name, error in worst[:_NAMED] if error)
    wrecked = [name for name, error in worst if error > WRECKED]
    lines = [f"Lost most, as errors are counted: {listed}."] if listed else []
    if wrecked:
        lines.append(
            f"Warning: {len(wrecked)} of {len(lost)} tensors lost more than {WRECKED:.0%} of what "
            f"they hold: {_names(wrecked)}."
        )
    return lines


def _names(names: tuple[str, ...] | list[str]) -> str:
    listed = ", ".join(printable(name) for name in names[:_NAMED])
    return f"{listed} and {len(names) - _NAMED} more" if len(names) > _NAMED else listed
