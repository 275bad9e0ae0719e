"""SmolLM2-135M, a Llama (Touvron et al. 2023), out of a GGUF file.

Names and the order of rows are those that the model was published with.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf_weights
import numpy as np
import torch
from gguf_weights import Floats
from rotary import Turns, turned, turns
from torch import Tensor
from torch.nn import functional

LAYERS, HEADS, GROUPS, EPSILON, BASE = 30, 9, 3, 1e-5, 100000.0
_LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}
_HEADS_OF = {"attn_q": HEADS, "attn_k": GROUPS}


@dataclass(frozen=True, slots=True)
class SmolLM2:
    """Weights by name, and the pieces of the tokenizer."""

    weights: Mapping[str, Floats]
    pieces: list[str]
    merges: list[tuple[str, str]]

    def tokens(self, text: str) -> Tensor:
        """The numbers of a text's pieces, int64."""
        library = importlib.import_module("tokenizers")
        vocabulary = {piece: number for number, piece in enumerate(self.pieces)}
        pairs = library.models.BPE(vocab=vocabulary, merges=self.merges)
        tokenizer = library.Tokenizer(pairs)
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return torch.tensor(tokenizer.encode(text).ids)


def read(path: Path) -> SmolLM2:
    """Read the file, and spread its weights over their cells."""
    reader = gguf_weights.open_file(path)
    weights = dict(_published(*each) for each in gguf_weights.spread_weights(reader))
    lines = gguf_weights.strings(reader, "tokenizer.ggml.merges")
    pairs = [(first, second) for first, second in (line.split(" ") for line in lines)]
    return SmolLM2(weights, gguf_weights.strings(reader, "tokenizer.ggml.tokens"), pairs)


def _published(name: str, weights: Floats) -> tuple[str, Floats]:
    """The name of a tensor, and its rows in the order, that the model was published with."""
    if name in _NAMES:
        return _NAMES[name], weights
    _, layer, kind, _ = name.split(".")
    if kind in _HEADS_OF:
        # GGUF keeps the two halves of each head's rotated pairs side by side.
        pairs = weights.reshape(_HEADS_OF[kind], -1, 2, weights.shape[1])
        weights = np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weights.shape))
    return f"model.layers.{layer}.{_LAYER_NAMES[kind]}.weight", weights


def logits(state: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Scores of the next token: int64 (texts, tokens) to float32 (texts, tokens, 49152)."""
    embedding = state["model.embed_tokens.weight"]
    x = functional.embedding(tokens, embedding)
    by = turns(tokens.shape[1], x.shape[2] // HEADS, BASE)
    for number in range(LAYERS):
        prefix = f"model.layers.{number}."
        layer = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        x = x + _attention(layer, _normalised(x, layer["input_layernorm.weight"]), by)
        x = x + _feed_forward(layer, _normalised(x, layer["post_attention_layernorm.weight"]))
    return _normalised(x, state["model.norm.weight"]) @ embedding.T


def _normalised(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, weight.shape, weight, EPSILON)


def _attention(layer: dict[str, Tensor], x: Tensor, by: Turns) -> Tensor:
    def heads(name: str, count: int) -> Tensor:
        projected = x @ layer[f"self_attn.{name}_proj.weight"].T
        return projected.view(*x.shape[:2], count, -1).transpose(1, 2)

    query, key = turned(heads("q", HEADS), by), turned(heads("k", GROUPS), by)
    mixed = functional.scaled_dot_product_attention(
        query, key, heads("v", GROUPS), is_causal=True, enable_gqa=True
    )
    return mixed.transpose(1, 2).reshape(x.shape) @ layer["self_attn.o_proj.weight"].T


def _feed_forward(layer: dict[str, Tensor], x: Tensor) -> Tensor:
    gate, up, down = (layer[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
    return (functional.silu(x @ gate.T) * (x @ up.T)) @ down.T
