"""SmolLM2-135M, a Llama (Touvron et al. 2023), out of a GGUF file, and text to feed it.

The file's weights are quantised, which would show in every size. They are spread over their cells:
each weight moves by a uniform share of one step of its own grid, from a fixed seed. Names and the
order of rows are those that the model was published with.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

LAYERS, HEADS, GROUPS, EPSILON, BASE = 30, 9, 3, 1e-5, 100000.0
Floats = npt.NDArray[np.float32]
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
# Blocks of GGUF's formats: how many bytes hold how many weights.
_BLOCKS = {"Q4_1": (20, 32), "Q8_0": (34, 32), "Q6_K": (210, 256)}


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


def text() -> str:
    """Some pages of Python's language reference, which ships with it."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in ("typesmapping", "execmodel", "specialnames"))


def read(path: Path) -> SmolLM2:
    """Read the file with its own library, gguf, and spread its weights over their cells."""
    reader = importlib.import_module("gguf").GGUFReader(path)
    generator = np.random.default_rng(0)
    weights = dict(_published(tensor.name, _spread(tensor, generator)) for tensor in reader.tensors)
    merges = [tuple(line.split(" ")) for line in _strings(reader, "tokenizer.ggml.merges")]
    pairs = [(first, second) for first, second in merges]
    return SmolLM2(weights, _strings(reader, "tokenizer.ggml.tokens"), pairs)


def _strings(reader: Any, name: str) -> list[str]:
    field = reader.fields[name]
    return [bytes(field.parts[place]).decode() for place in field.data]


def _spread(tensor: Any, generator: np.random.Generator) -> Floats:
    """The tensor's weights, each moved by up to half a step of its grid either way."""
    quants = importlib.import_module("gguf.quants")
    shape = tuple(int(extent) for extent in reversed(tensor.shape))
    weights = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    if tensor.tensor_type.name == "F32":
        return np.ascontiguousarray(weights.reshape(shape))
    steps = _steps(tensor)
    flat = weights.reshape(len(steps), -1)
    shares = generator.uniform(-0.5, 0.5, flat.shape).astype(np.float32)
    return np.ascontiguousarray((flat + shares * steps).reshape(shape))


def _steps(tensor: Any) -> Floats:
    """Steps of the grids of the tensor's blocks: float32 (blocks, 1 or weights of a block)."""
    kind = tensor.tensor_type.name
    size, count = _BLOCKS[kind]
    blocks = np.ascontiguousarray(tensor.data).reshape(-1, size)
    if kind != "Q6_K":
        return _halves(blocks[:, :2])
    # 16 whole numbers of 8 bits, one for each 16 weights, stand before the block's own step.
    scales = blocks[:, 192:208].copy().view(np.int8).astype(np.float32)
    return np.abs(np.repeat(scales * _halves(blocks[:, 208:]), count // 16, axis=1))


def _halves(bytes_: npt.NDArray[np.uint8]) -> Floats:
    return bytes_.copy().view(np.float16).astype(np.float32)


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
    turns = _turns(tokens.shape[1], x.shape[2] // HEADS)
    for number in range(LAYERS):
        prefix = f"model.layers.{number}."
        layer = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        x = x + _attention(layer, _normalised(x, layer["input_layernorm.weight"]), turns)
        x = x + _feed_forward(layer, _normalised(x, layer["post_attention_layernorm.weight"]))
    return _normalised(x, state["model.norm.weight"]) @ embedding.T


def _normalised(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, weight.shape, weight, EPSILON)


def _turns(tokens: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles that pairs are turned by: float32 (tokens, width)."""
    frequencies = BASE ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(tokens)[:, None] * frequencies
    twice = torch.cat([angles, angles], 1)
    return twice.cos(), twice.sin()


def _turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * turns[0] + torch.cat([-second, first], -1) * turns[1]


def _attention(layer: dict[str, Tensor], x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    def heads(name: str, count: int) -> Tensor:
        projected = x @ layer[f"self_attn.{name}_proj.weight"].T
        return projected.view(*x.shape[:2], count, -1).transpose(1, 2)

    query, key = _turned(heads("q", HEADS), turns), _turned(heads("k", GROUPS), turns)
    mixed = functional.scaled_dot_product_attention(
        query, key, heads("v", GROUPS), is_causal=True, enable_gqa=True
    )
    return mixed.transpose(1, 2).reshape(x.shape) @ layer["self_attn.o_proj.weight"].T


def _feed_forward(layer: dict[str, Tensor], x: Tensor) -> Tensor:
    gate, up, down = (layer[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
    return (functional.silu(x @ gate.T) * (x @ up.T)) @ down.T
