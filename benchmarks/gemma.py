"""Gemma 3 270M (Gemma Team 2025), a language model, out of a GGUF file.

Names are those that the model was published with, and so are the weights of its norms, which are
added to 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import gguf_weights
import torch
from gguf_weights import Floats
from rotary import Turns, turned, turns
from torch import Tensor
from torch.nn import functional

LAYERS, HEADS, WIDTH, EPSILON = 18, 4, 256, 1e-6
# Most layers look at what is near; each sixth turns pairs slowly, to look far.
NEAR_BASE, FAR_BASE, FAR_EVERY = 1e4, 1e6, 6
_BEGINNING, _UNKNOWN = 2, 3
_BLANK = "\u2581"
_LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}


@dataclass(frozen=True, slots=True)
class Gemma:
    """Weights by name, and what the tokenizer knows: pieces, and how good it is to join them."""

    weights: Mapping[str, Floats]
    numbers: Mapping[str, int]
    scores: list[float]

    def tokens(self, text: str) -> Tensor:
        """The number that begins a text and those of its pieces, int64."""
        words = re.findall(rf"{_BLANK}*[^{_BLANK}\n]+|{_BLANK}+|\n+", text.replace(" ", _BLANK))
        pieces = [piece for word in words for piece in self._pieces(word)]
        found = [self.numbers.get(piece, _UNKNOWN) for piece in pieces]
        return torch.tensor([_BEGINNING, *found])

    def _pieces(self, word: str) -> list[str]:
        """The pieces of a word, which no piece goes beyond: the best pair is joined first."""
        pieces = list(word)
        while True:
            joined = [first + second for first, second in pairwise(pieces)]
            known = [place for place, pair in enumerate(joined) if pair in self.numbers]
            if not known:
                return pieces
            best = max(known, key=lambda place: self.scores[self.numbers[joined[place]]])
            pieces[best : best + 2] = [joined[best]]


def read(path: Path) -> Gemma:
    """Read the file, and spread its weights over their cells."""
    reader = gguf_weights.open_file(path)
    weights = dict(_published(*each) for each in gguf_weights.spread_weights(reader))
    pieces = gguf_weights.strings(reader, "tokenizer.ggml.tokens")
    numbers = {piece: number for number, piece in enumerate(pieces)}
    return Gemma(weights, numbers, gguf_weights.numbers(reader, "tokenizer.ggml.scores"))


def _published(name: str, weights: Floats) -> tuple[str, Floats]:
    """The name of a tensor, and its weights, as the model was published with."""
    if "norm" in name:
        weights = weights - 1
    if name in _NAMES:
        return _NAMES[name], weights
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{_LAYER_NAMES[kind]}.weight", weights


def logits(state: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Scores of the next token: int64 (tokens,) to float32 (tokens, 262144)."""
    embedding = state["model.embed_tokens.weight"]
    x = functional.embedding(tokens, embedding) * embedding.shape[1] ** 0.5
    near, far = (turns(len(tokens), WIDTH, base) for base in (NEAR_BASE, FAR_BASE))
    for number in range(LAYERS):
        prefix = f"model.layers.{number}."
        layer = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        x = _layer(layer, x, near if (number + 1) % FAR_EVERY else far)
    return _normalised(state, "model.norm", x) @ embedding.T


def _layer(layer: dict[str, Tensor], x: Tensor, by: Turns) -> Tensor:
    """Attention and a feed-forward network, each with norms before and after it."""
    mixed = _attention(layer, _normalised(layer, "input_layernorm", x), by)
    x = x + _normalised(layer, "post_attention_layernorm", mixed)
    changed = _feed_forward(layer, _normalised(layer, "pre_feedforward_layernorm", x))
    return x + _normalised(layer, "post_feedforward_layernorm", changed)


def _normalised(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return functional.rms_norm(x, weight.shape, 1 + weight, EPSILON)


def _attention(layer: dict[str, Tensor], x: Tensor, by: Turns) -> Tensor:
    """Four heads that share one key and one value: float32 (tokens, 640) to the same."""

    def heads(name: str) -> Tensor:
        projected = x @ layer[f"self_attn.{name}_proj.weight"].T
        return projected.view(len(x), -1, WIDTH).transpose(0, 1)

    query, key = (
        turned(_normalised(layer, f"self_attn.{name}_norm", heads(name)), by) for name in "qk"
    )
    mixed = functional.scaled_dot_product_attention(
        query, key, heads("v"), is_causal=True, enable_gqa=True
    )
    return mixed.transpose(0, 1).flatten(1) @ layer["self_attn.o_proj.weight"].T


def _feed_forward(layer: dict[str, Tensor], x: Tensor) -> Tensor:
    gate, up, down = (layer[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
    return (functional.gelu(x @ gate.T, approximate="tanh") * (x @ up.T)) @ down.T
