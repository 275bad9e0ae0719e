"""Networks out of ONNX files, whose graphs run with other weights."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from checkpoints import Arrays
from fidelity_network import State
from torch import Tensor


class Graph:
    """The graph of an ONNX file.

    Its weights are the initialisers, and constants with dimensions that stand among the operations.

    Parameters
    ----------
    path : Path
    output : str, optional
        A tensor of the graph that is the output instead of the file's own.
    """

    def __init__(self, path: Path, output: str | None = None) -> None:
        self._model: Any = importlib.import_module("onnx").load(path)
        if output is not None:
            del self._model.graph.output[:]
            self._model.graph.output.add().name = output

    def state(self) -> Arrays:
        """The weights by name."""
        to_array = importlib.import_module("onnx.numpy_helper").to_array
        return {name: np.array(to_array(tensor)) for name, tensor in _weights(self._model.graph)}

    def run(self, state: State, inputs: npt.NDArray[np.float32]) -> Tensor:
        """The output, of these weights, for the graph's one input."""
        from_array = importlib.import_module("onnx.numpy_helper").from_array
        changed = type(self._model)()
        changed.CopyFrom(self._model)
        for name, tensor in _weights(changed.graph):
            tensor.CopyFrom(from_array(state[name].numpy(), tensor.name))
        session = _session(changed.SerializeToString())
        (found,) = session.run(None, {session.get_inputs()[0].name: inputs})
        return torch.from_numpy(found)


def _weights(graph: Any) -> Iterator[tuple[str, Any]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], tensor) for tensor in _floats(node))


def _floats(node: Any) -> Iterator[Any]:
    """The floating-point tensors with dimensions that a node carries."""
    library = importlib.import_module("onnx")
    kinds = (library.TensorProto.FLOAT, library.TensorProto.FLOAT16, library.TensorProto.DOUBLE)
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type in kinds and attribute.t.dims:
            yield attribute.t


def _session(model: bytes) -> Any:
    """Run on one thread, so that equal weights give equal outputs."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
