"""A network that hears where somebody speaks."""

from __future__ import annotations

import io
import wave

import numpy as np
import numpy.typing as npt
import torch
from checkpoints import fetch, load, packaged
from fidelity_network import SQUARES, Network, State, about_mean
from torch import Tensor, nn
from torch.nn import functional

RATE = 16000
# Samples that the network hears at once, and those before them that it hears again.
PIECE, BEFORE = 512, 64
# Numbers of the convolutions over a piece's spectra, and their strides.
_STRIDES = ((1, 1), (2, 2), (3, 2), (4, 1))
_FREQUENCIES = 129


def voice_detector() -> Network:
    """Silero VAD: log-odds of speech in each 32 ms of a recording, clear and in noise."""
    waves = torch.from_numpy(noisy(recording()))

    def outputs(state: State) -> Tensor:
        return about_mean(log_odds(state, waves))

    return Network("Silero VAD", "sound", lambda: load(fetch("silero-vad")), outputs, SQUARES)


def log_odds(state: State, waves: Tensor) -> Tensor:
    """Log-odds of speech: float32 (waves, samples) to (waves, pieces)."""
    heard = functional.pad(waves, (BEFORE, 0)).unfold(1, BEFORE + PIECE, PIECE)
    features = _features(state, heard.flatten(0, 1)).view(*heard.shape[:2], -1)
    prefix = "lstm_cell."
    lstm = nn.LSTM(128, 128, batch_first=True)
    lstm.load_state_dict(
        {f"{k.removeprefix(prefix)}_l0": v for k, v in state.items() if k.startswith(prefix)}
    )
    remembered = functional.relu(lstm(features)[0])
    weight, bias = state["final_conv.weight"], state["final_conv.bias"]
    return functional.linear(remembered, weight.squeeze(-1), bias).squeeze(-1)


def _features(state: State, pieces: Tensor) -> Tensor:
    """Magnitudes of spectra, then convolutions: float32 (pieces, samples) to (pieces, 128)."""
    x = functional.pad(pieces, (0, BEFORE), mode="reflect")[:, None]
    x = functional.conv1d(x, state["stft_conv.weight"], stride=128)
    x = torch.hypot(x[:, :_FREQUENCIES], x[:, _FREQUENCIES:])
    for number, stride in _STRIDES:
        weight, bias = (state[f"conv{number}.{part}"] for part in ("weight", "bias"))
        x = functional.relu(functional.conv1d(x, weight, bias, stride, padding=1))
    return x.squeeze(-1)


def recording() -> npt.NDArray[np.float32]:
    """Ten seconds of a voice, from -1 to 1: the recording that Moonshine brings."""
    content = packaged("useful-moonshine-onnx", "moonshine_onnx/assets/beckett.wav")
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    whole = samples[: len(samples) // PIECE * PIECE].astype(np.float32)
    return whole / np.float32(32768)


def noisy(voice: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The voice alone, in noise, faint in noise, and backwards in noise: (4, samples)."""
    noise = np.random.default_rng(4).normal(0, 1, len(voice) + 7)
    dull = np.convolve(noise, np.full(8, 1 / 8), "valid")
    waves = (voice, voice + 0.01 * dull, 0.3 * voice + 0.02 * dull, 0.7 * voice[::-1] + 0.03 * dull)
    return np.stack(waves).astype(np.float32)
