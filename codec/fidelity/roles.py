"""What a tensor's relative error counts for, by the role that its name and shape tell.

A role's weight is what noise of equal relative energy in the tensor does to the network's output,
against the same in the network's other tensors, as `THEORY.md` measures it. Only the ratios count,
and an optimum is flat: half or twice the right weight costs a few percent of error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
Tied: TypeAlias = Mapping[str, Sequence[str]]

# A vocabulary's output layer turns errors straight into those of logits, and every token passes
# through it: it counts for this much of what all others count for together.
VOCABULARY_SHARE = 0.5
FEWEST_WORDS = 2048
# Weights by the last parts of a name, the first pattern that is found.
_ROLES = (
    # Softmax forgives errors in what goes into it.
    (r"(^|[._])(q|k|query|key|to_q|to_k|wq|wk)(_proj|_lin)?$", 0.25),
    # A head's outputs are added to a stream that other heads and layers feed, too.
    (r"(^|[._])(o_proj|out_proj|wo|to_out|out_lin|attn_output)(\.0)?$", 0.4),
    (r"attention\.output\.dense$", 0.4),
    # What widens a stream feeds all of a block; what reads words in feeds all blocks.
    (r"(^|[._])(intermediate\.dense|up_proj|fc1|c_fc|w3)$", 1.5),
    (r"(^|[._])(word_embeddings|embed_tokens|wte|tok_embeddings|token_embedding)$", 1.5),
)
_CLASSIFIER = re.compile(
    r"(^|[._])(fc|classifier|head|score|logits|predictions?|cls|conv_cls(\.\d+)?)$"
)
# Noise of the layers before grows with their number, that of the last one does not.
CLASSIFIER_LAYERS, LEAST_CLASSIFIER, GREATEST_CLASSIFIER = 35.0, 0.7, 5.0
_INPUT_WORDS = re.compile(r"(^|\.)(embed_tokens|wte|tok_embeddings|token_embd|shared)$")
_OUTPUT_WORDS = re.compile(r"(^|\.)(lm_head|embed_out|output|proj_out|decoder|output_projection)$")


def weights_of(
    shapes: Mapping[str, Shape], tied: Tied, gains: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The weight of each tensor's relative error; together they are 1.

    Parameters
    ----------
    shapes : mapping from a tensor's name to its shape
        Of all tensors whose weights may be changed.
    tied : mapping from a tensor's name to the other names that it is used under
    gains : mapping from a tensor's name to float, optional
        How much more noise than signal a layer passes on, where it is known; 1 elsewhere.
    """
    gains = gains or {}
    usual = math.fsum(map(math.prod, shapes.values())) / max(len(shapes), 1)
    weights = {
        name: _role(name, len(shapes))
        * _fourth_root(gains.get(name, 1.0) * usual / math.prod(shape))
        for name, shape in shapes.items()
    }
    words = _vocabulary(shapes, tied)
    others = math.fsum(weight for name, weight in weights.items() if name != words)
    if words is not None and others:
        weights[words] = VOCABULARY_SHARE * others
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _role(name: str, tensors: int) -> float:
    """The weight of a role in a network of so many tensors of weights."""
    layer = _layer(name)
    if _CLASSIFIER.search(layer):
        return min(max(CLASSIFIER_LAYERS / tensors, LEAST_CLASSIFIER), GREATEST_CLASSIFIER)
    return next((weight for pattern, weight in _ROLES if re.search(pattern, layer)), 1.0)


def _layer(name: str) -> str:
    """The name in lower case with dots, without the last part that says that it is a weight."""
    return re.sub(r"\.(weight|kernel)$", "", name.replace("/", ".").lower())


def _vocabulary(shapes: Mapping[str, Shape], tied: Tied) -> str | None:
    """The layer that makes logits of words: one of its own, or the embedding if there is none."""
    matrices = {
        name: [_layer(each) for each in (name, *tied.get(name, ()))]
        for name, shape in shapes.items()
        if len(shape) == 2 and shape[0] >= FEWEST_WORDS and shape[0] > shape[1]
    }
    for pattern in (_OUTPUT_WORDS, _INPUT_WORDS):
        for name, layers in matrices.items():
            if any(pattern.search(layer) for layer in layers):
                return name
    return None


def _fourth_root(number: float) -> float:
    """Of exactly rounded operations, equal on every machine.

    Small tensors count for more than their part of the weights: they stand early, where all that
    follows hangs on them, and bits for them cost next to nothing.
    """
    return math.sqrt(math.sqrt(number))
