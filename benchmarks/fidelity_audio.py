"""Networks that listen: two pitch trackers, and a speaker encoder."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from checkpoints import Arrays, fetch, load
from fidelity_network import COSINE, SQUARES, Network, State
from torch import Tensor, nn
from torch.nn import functional

RATE = 16000
FRAME = 1024


def pitch(name: str) -> Network:
    """CREPE (Kim et al. 2018): 360 bins of pitch for 24 tones of known frequency."""
    waves = torch.from_numpy(tones()[0])

    def outputs(state: State) -> Tensor:
        return crepe(state, waves)

    return Network(
        name.replace("crepe", "CREPE"),
        "sound",
        lambda: load(fetch(name)),
        outputs,
        SQUARES,
        held_out=False,
    )


def crepe(state: State, waves: Tensor) -> Tensor:
    """Probabilities of pitches: float32 (frames, 1024) to (frames, 360)."""
    x = waves[:, None, :, None]
    for number in range(1, 7):
        pads, stride = ((254, 254), 4) if number == 1 else ((31, 32), 1)
        x = functional.pad(x, (0, 0, *pads))
        name = f"conv{number}"
        x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], (stride, 1))
        x = functional.max_pool2d(_normalised(state, f"{name}_BN", functional.relu(x)), (2, 1))
    flat = x.permute(0, 2, 1, 3).flatten(1)
    scores = functional.linear(flat, state["classifier.weight"], state["classifier.bias"])
    return scores.sigmoid()


def _normalised(state: State, name: str, x: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return functional.batch_norm(x, mean, variance, weight, bias, eps=1e-3)


def tones(count: int = 24) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Tones with overtones and noise, float32 (count, 1024), and their frequencies in Hz."""
    generator = np.random.default_rng(1)
    frequencies = 80 * 2 ** generator.uniform(0, 4, count)
    waves = np.stack([_tone(frequency, generator) for frequency in frequencies])
    waves -= waves.mean(1, keepdims=True)
    return (waves / waves.std(1, keepdims=True)).astype(np.float32), frequencies


def _tone(frequency: float, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    partials = np.arange(1, generator.integers(2, 20) + 1)
    partials = partials[partials * frequency < RATE / 2]
    loudness = 1 / partials ** generator.uniform(0.3, 2)
    phases = generator.uniform(0, 2 * np.pi, (len(partials), 1))
    angles = 2 * np.pi * frequency / RATE * np.outer(partials, np.arange(FRAME))
    noise = generator.normal(0, 10 ** generator.uniform(-3, -0.3), FRAME)
    wave: npt.NDArray[np.float64] = loudness @ np.sin(angles + phases) + noise
    return wave


def speaker() -> Network:
    """The speaker encoder of Resemblyzer (Wan et al. 2018): embeddings of 24 made-up voices."""
    voices = torch.from_numpy(spectrograms())
    lstm, linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)

    def outputs(state: State) -> Tensor:
        lstm.load_state_dict(_below("lstm.", state))
        linear.load_state_dict(_below("linear.", state))
        _, (hidden, _) = lstm(voices)
        return functional.normalize(functional.relu(linear(hidden[-1])), dim=1)

    return Network("Resemblyzer", "sound", _speaker_state, outputs, COSINE, held_out=False)


def _below(prefix: str, state: State) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _speaker_state() -> Arrays:
    saved = torch.load(fetch("resemblyzer"), map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in saved["model_state"].items()}


def spectrograms(count: int = 24) -> npt.NDArray[np.float32]:
    """Smooth random energies of 40 mel bands over 1.6 s, as of speech: (count, 160, 40)."""
    noise = np.random.default_rng(2).normal(0, 1, (count, 160, 40))
    bell = np.exp(-(np.arange(-8, 9) ** 2) / 18)
    bell /= bell.sum()
    smooth = _smoothed(_smoothed(noise, bell, 1), bell[4:13], 2)
    return (0.3 * np.exp(4 * smooth - 3)).astype(np.float32)


def _smoothed(
    values: npt.NDArray[np.float64], window: npt.NDArray[np.float64], axis: int
) -> npt.NDArray[np.float64]:
    smoothed: npt.NDArray[np.float64] = np.apply_along_axis(
        np.convolve, axis, values, window, "same"
    )
    return smoothed
