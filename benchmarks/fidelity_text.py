"""Networks that read text: sentence embeddings, and two language models."""

from __future__ import annotations

import gemma
import minilm
import smollm2
import torch
from checkpoints import fetch, load
from fidelity_network import COSINE, DIVERGENCE, Network, State
from torch import Tensor

# Sentences of each kind, from a place where calibrated.py takes its test sentences.
_FIRST, _LAST = 700, 760


def sentences() -> Network:
    """MiniLM-L6: embeddings of 180 sentences of three kinds."""
    kinds = [minilm.KINDS[kind]() for kind in ("speech", "manual", "science")]
    mixed = [text for kind in kinds for text in kind[_FIRST:_LAST]]
    batches = minilm.Tokenizer().batches(mixed)

    def outputs(state: State) -> Tensor:
        model = minilm.load_model(state)
        return torch.cat([model(**batch) for batch in batches])

    return Network(
        "MiniLM-L6",
        "text",
        lambda: load(fetch("minilm-l6")),
        outputs,
        COSINE,
        held_out=False,
    )


def smollm() -> Network:
    """SmolLM2-135M: the next token's probabilities, after 512 tokens of Python's reference."""
    model = smollm2.read(fetch("smollm2"))
    tokens = model.tokens(reference())[:512].reshape(2, -1)

    def outputs(state: State) -> Tensor:
        return torch.cat(
            [torch.log_softmax(smollm2.logits(state, row[None]), -1) for row in tokens]
        )

    return Network(
        "SmolLM2-135M", "language", lambda: dict(model.weights), outputs, DIVERGENCE, held_out=False
    )


def gemma3() -> Network:
    """Gemma 3 270M: the next token's probabilities, after 256 tokens of Python's reference."""
    model = gemma.read(fetch("gemma3"))
    tokens = model.tokens(reference()[:2000])[:256]

    def outputs(state: State) -> Tensor:
        return torch.log_softmax(gemma.logits(state, tokens), -1)

    return Network("Gemma 3 270M", "language", lambda: dict(model.weights), outputs, DIVERGENCE)


def reference() -> str:
    """Some pages of Python's language reference, which ships with it."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in ("typesmapping", "execmodel", "specialnames"))
