"""What a segment of training left, kept so that no run repeats it.

A run that was interrupted goes on after its last whole segment, and a recipe that begins as another
one did starts where they part. Segments are known by their settings and by the code that runs them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import chain
import mnist
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import nn

import dcz

CODE = ("best.py", "chain.py", "loops.py", "networks.py", "prices.py", "teachers.py")


class Store:
    """The segments of one run, each named by all that came before it.

    Attributes
    ----------
    seconds : float
        Of processor time, that earlier runs spent on what was found stored.
    """

    def __init__(self, name: str, history: list[object]) -> None:
        self._name, self._history = name, [_code(), *history]
        self.seconds = 0.0

    def segment(self, settings: object, train: Callable[[], nn.Module]) -> nn.Module:
        """Return the network that is stored for the next segment, or train and store it."""
        self._history.append(settings)
        digest = hashlib.sha256(repr(self._history).encode()).hexdigest()[:12]
        path = mnist.cache_folder() / f"{self._name}-{digest}.safetensors"
        if not path.exists():
            started = time.process_time()
            network = train()
            save(network, path, {"seconds": f"{time.process_time() - started:.0f}"})
            return network
        with safe_open(path, "pt") as file:
            seconds = float(file.metadata()["seconds"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self.seconds += seconds
        print(f"{self._name}: {path.name} is stored, {seconds:.0f} s of processor time before")
        return chain.of_state(self._name, state)


def save(network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write the state dict so that `path` is never seen half written."""
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        unfinished.write_bytes(to_safetensors(state, metadata))
        os.replace(unfinished, path)


def _code() -> str:
    samples, training = Path(__file__).parent, Path(dcz.training.__file__).parent
    files = [*(samples / name for name in CODE), *sorted(training.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
