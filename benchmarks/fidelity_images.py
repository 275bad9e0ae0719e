"""Networks that look: a classifier, two detectors, and a reader of text."""

from __future__ import annotations

import importlib
import re
from typing import Any

import efficientnet
import minilm
import numpy as np
import photographs
import text_images
import torch
from checkpoints import Arrays, fetch, load
from fidelity_network import DIVERGENCE, SQUARES, Network, State
from torch import Tensor
from torch.nn import functional


def classifier() -> Network:
    """EfficientNet-Lite0: probabilities of 1000 classes for 64 crops of photographs."""
    batches = torch.split(photographs.crops(photographs.TEST, 64, seed=5), 32)
    model = efficientnet.load(fetch("efficientnet-lite0"))

    def outputs(state: State) -> Tensor:
        model.load_state_dict(state)
        return torch.cat([torch.log_softmax(model(batch), 1) for batch in batches])

    return Network(
        "efficientnet-lite0",
        "images",
        lambda: load(fetch("efficientnet-lite0")),
        outputs,
        DIVERGENCE,
        held_out=False,
    )


def text_detector() -> Network:
    """CRAFT: maps of where characters are, for four crops of photographs."""
    crops = photographs.crops(photographs.TEST, 4, seed=3)

    def outputs(state: State) -> Tensor:
        return text_images.find_text(state, crops)

    return Network("CRAFT", "images", lambda: load(fetch("craft")), outputs, SQUARES)


def reader() -> Network:
    """english_g2: probabilities of characters along 16 drawn lines of text."""
    lines = text_images.drawn_lines(texts())

    def outputs(state: State) -> Tensor:
        return torch.log_softmax(text_images.read_lines(state, lines), -1)

    return Network("english_g2", "images", lambda: load(fetch("english-g2")), outputs, DIVERGENCE)


def texts(count: int = 16) -> list[str]:
    """Beginnings of sentences of Python's language reference, in letters and blanks."""
    plain = (re.sub(r"[^A-Za-z0-9 ,.]", "", sentence) for sentence in minilm.manual()[:count])
    return [sentence[:18].strip() for sentence in plain]


def object_detector() -> Network:
    """NudeNet's YOLOv8n: log-odds of its classes at every place, for 12 crops of photographs."""
    model: Any = importlib.import_module("onnx").load(fetch("nudenet"))
    crops = photographs.crops(photographs.TEST, 12, seed=4)
    shares = ((crops * 128 + 127) / 255).clamp(0, 1)
    images = functional.interpolate(shares, (320, 320), mode="bilinear").numpy()

    def outputs(state: State) -> Tensor:
        return _log_odds(model, state, images)

    return Network("NudeNet 320n", "images", lambda: _initialisers(model), outputs, SQUARES)


def _initialisers(model: Any) -> Arrays:
    to_array = importlib.import_module("onnx.numpy_helper").to_array
    return {each.name: np.array(to_array(each)) for each in model.graph.initializer}


def _log_odds(model: Any, state: State, images: np.ndarray[Any, np.dtype[np.float32]]) -> Tensor:
    """Log-odds about their mean, (n, classes, places); the four rows before them are boxes."""
    from_array = importlib.import_module("onnx.numpy_helper").from_array
    changed = type(model)()
    changed.CopyFrom(model)
    for each in changed.graph.initializer:
        each.CopyFrom(from_array(state[each.name].numpy(), each.name))
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(
        changed.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {session.get_inputs()[0].name: images})
    odds = torch.from_numpy(found)[:, 4:].clamp(1e-7, 1 - 1e-7).logit()
    return odds - odds.mean()
