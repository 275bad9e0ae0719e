"""Checkpoints as libraries save them: every tensor is listed and packed, whoever's classes it took.

The libraries need not be installed: classes of the same names are made here, saved, and gone again
when the file is read.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import pathlib
import pickle
import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support_pickles as hostile

import dcz
from dcz.formats.checkpoints.registry import open_checkpoint

torch = pytest.importorskip("torch")
nn = torch.nn

LOSSLESS = dcz.Recipe(quantizer="lossless")


class Library:
    """Classes of modules that exist for as long as a file is written."""

    def __init__(self) -> None:
        self._made: list[str] = []

    def make(self, path: str, base: Any = object, **members: Any) -> Any:
        """A class by its full name; the packages above it are made too."""
        module, _, name = path.rpartition(".")
        for end, letter in enumerate(module + "."):
            if letter == "." and module[:end] not in sys.modules:
                sys.modules[module[:end]] = types.ModuleType(module[:end])
                self._made.append(module[:end])
        kind = type(name, (base,), {"__module__": module, **members})
        setattr(sys.modules[module], name, kind)
        return kind

    def forget(self) -> None:
        """Let them be gone."""
        for name in self._made:
            sys.modules.pop(name, None)


def filled(kind: Any, **state: Any) -> Any:
    """An object with attributes, made without its constructor."""
    made = kind.__new__(kind)
    made.__dict__.update(state)
    return made


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def trained() -> tuple[Any, Any]:
    """A network and its optimizer after a step."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    model(torch.randn(2, 3, 3, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def prefixed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in state.items()}


# Each gives what is saved, the state dict that is expected, and keys that are told as left out.
Saved = tuple[Any, dict[str, Any], set[str]]
MAKERS: dict[str, Callable[[Library], Saved]] = {}


def maker(function: Callable[[Library], Saved]) -> Callable[[Library], Saved]:
    MAKERS[function.__name__] = function
    return function


@maker
def pytorch_tutorial(library: Library) -> Saved:
    model, optimizer = trained()
    saved = {"epoch": 5, "model_state_dict": model.state_dict(), "loss": torch.tensor(0.5)}
    saved["optimizer_state_dict"] = optimizer.state_dict()
    return saved, model.state_dict(), {"epoch", "loss", "optimizer_state_dict"}


@maker
def torchvision_references(library: Library) -> Saved:
    model, optimizer = trained()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10)
    args = argparse.Namespace(lr=0.1, device="cuda", output_dir=pathlib.PurePosixPath("out"))
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "args": args}
    saved |= {"lr_scheduler": scheduler.state_dict(), "epoch": 3, "scaler": {"scale": 65536.0}}
    return saved, model.state_dict(), {"optimizer", "args", "lr_scheduler", "epoch", "scaler"}


@maker
def timm(library: Library) -> Saved:
    model, optimizer = trained()
    saved = {"epoch": 9, "arch": "resnet18", "version": 2, "metric": np.float64(76.1)}
    saved |= {"state_dict": model.state_dict(), "state_dict_ema": network().state_dict()}
    saved |= {"optimizer": optimizer.state_dict(), "amp_scaler": {}, "args": argparse.Namespace()}
    left = {"epoch", "arch", "version", "metric", "state_dict_ema", "optimizer", "args"}
    return saved, model.state_dict(), left | {"amp_scaler"}


@maker
def deit(library: Library) -> Saved:
    model, _ = trained()
    saved = {"model": model.state_dict(), "model_ema": network().state_dict(), "epoch": 299}
    return saved, model.state_dict(), {"model_ema", "epoch"}


@maker
def lightning(library: Library) -> Saved:
    model, optimizer = trained()
    attributes = library.make("lightning.fabric.utilities.data.AttributeDict", dict)
    connector = library.make("pytorch_lightning.trainer.states.TrainerFn", str)
    callback = {"monitor": "loss", "best_model_score": torch.tensor(0.1), "dirpath": "x"}
    saved = {
        "epoch": 1,
        "global_step": 2,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": collections.OrderedDict(prefixed(model.state_dict(), "model.")),
        "loops": {"fit_loop": {"state_dict": {}, "stage": connector("fit")}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": callback},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": attributes(lr=0.1, loss=functools.partial(nn.functional.mse_loss)),
    }
    left = {"callbacks", "optimizer_states", "hyper_parameters", "loops", "epoch"}
    return saved, prefixed(model.state_dict(), "model."), left


@maker
def lightning_before_1(library: Library) -> Saved:
    model, _ = trained()
    checkpointing = library.make("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
    saved = {"state_dict": model.state_dict(), "callbacks": {checkpointing: {"best": None}}}
    saved["hparams"] = argparse.Namespace(layers=3)
    return saved, model.state_dict(), {"callbacks", "hparams"}


@maker
def ultralytics(library: Library) -> Saved:
    detector = library.make("ultralytics.nn.tasks.DetectionModel", nn.Module)
    space = library.make("ultralytics.utils.IterableSimpleNamespace", types.SimpleNamespace)
    model = detector()
    model.model, model.args = network(), space(imgsz=640, model=pathlib.PurePosixPath("yolo.yaml"))
    model.names, model.stride = {0: "person"}, torch.tensor([8.0, 16.0])
    model.half()
    saved = {"epoch": -1, "best_fitness": np.float64(0.5), "model": model, "ema": None}
    saved |= {"train_args": {"lr0": 0.01}, "date": datetime.datetime.now().isoformat()}
    saved |= {"train_metrics": {"map": np.float32(0.3)}, "version": "8.3.0"}
    return saved, model.state_dict(), {"epoch", "best_fitness", "train_args", "date"}


@maker
def ultralytics_while_training(library: Library) -> Saved:
    detector = library.make("ultralytics.nn.tasks.DetectionModel", nn.Module)
    average = detector()
    average.model = network()
    saved = {"epoch": 3, "model": None, "ema": average, "updates": 100, "optimizer": None}
    return saved, average.state_dict(), {"epoch", "updates"}


@maker
def yolov5(library: Library) -> Saved:
    convolution = library.make("models.common.Conv", nn.Module)
    head = library.make("models.yolo.Detect", nn.Module)
    model = library.make("models.yolo.Model", nn.Module)()
    block, last = convolution(), head()
    block.conv, block.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    last.m = nn.ModuleList([nn.Conv2d(4, 5, 1)])
    last.register_buffer("anchors", torch.ones(1, 3, 2))
    last.grid = [torch.empty(0)]
    model.model, model.yaml = nn.Sequential(block, last), {"nc": 80}
    _, optimizer = trained()
    saved = {"epoch": 1, "model": model, "optimizer": optimizer.state_dict(), "wandb_id": None}
    saved |= {"git": {"remote": "x"}, "date": datetime.datetime(2026, 1, 1, 12)}
    return saved, model.state_dict(), {"epoch", "optimizer", "git", "date"}


@maker
def yolov7_bare_module(library: Library) -> Saved:
    model = library.make("models.yolo.Model", nn.Module)()
    model.model = network()
    return model, model.state_dict(), set()


@maker
def deepspeed(library: Library) -> Saved:
    model, _ = trained()
    scaler = library.make("deepspeed.runtime.fp16.loss_scaler.LossScaler")
    saved = {
        "module": collections.OrderedDict(model.state_dict()),
        "buffer_names": ["1.running_mean"],
        "optimizer": None,
        "param_shapes": [{"0.weight": torch.Size([4, 3, 3, 3])}],
        "lr_scheduler": None,
        "sparse_tensor_module_names": set(),
        "skipped_steps": 0,
        "ds_config": {"train_batch_size": 8},
        "loss_scaler": filled(scaler, cur_scale=1.0),
        "ds_version": "0.15.0",
    }
    left = {"buffer_names", "param_shapes", "ds_config", "loss_scaler", "skipped_steps"}
    return saved, model.state_dict(), left


@maker
def deepspeed_optimizer_shard(library: Library) -> Saved:
    stage = library.make("deepspeed.runtime.zero.config.ZeroStageEnum", int)
    groups, flat = {0: {"step": 1, "exp_avg": torch.ones(5)}}, [torch.arange(5.0)]
    inner = {"base_optimizer_state": {"state": groups}, "single_partition_of_fp32_groups": flat}
    saved = {"optimizer_state_dict": {**inner, "zero_stage": stage(2)}, "ds_version": "0.15.0"}
    names = {
        "optimizer_state_dict.base_optimizer_state.state.0.exp_avg": groups[0]["exp_avg"],
        "optimizer_state_dict.single_partition_of_fp32_groups.0": flat[0],
    }
    return saved, names, set()


@maker
def megatron(library: Library) -> Saved:
    state = {"embedding": {"weight": torch.ones(4, 2)}, "encoder": {"layers.0.w": torch.ones(2)}}
    saved = {"args": argparse.Namespace(hidden=2), "checkpoint_version": 3.0, "iteration": 100}
    saved |= {"model": {"language_model": state}, "rng_state": [{"np_rng_state": _numpy_state()}]}
    names = {
        "language_model.embedding.weight": state["embedding"]["weight"],
        "language_model.encoder.layers.0.w": state["encoder"]["layers.0.w"],
    }
    return saved, names, {"args", "checkpoint_version", "iteration", "rng_state"}


def _numpy_state() -> Any:
    return np.random.RandomState(0).get_state()


@maker
def fairseq(library: Library) -> Saved:
    model, optimizer = trained()
    meters = library.make("fairseq.meters.AverageMeter")
    saved = {
        "args": None,
        "cfg": {"task": argparse.Namespace(data="x"), "model": {"_name": "wav2vec2"}},
        "model": model.state_dict(),
        "optimizer_history": [{"criterion_name": "Loss", "num_updates": 5}],
        "last_optimizer_state": optimizer.state_dict(),
        "extra_state": {"metrics": collections.OrderedDict(train=filled(meters, val=1.0))},
        "task_state": {},
    }
    left = {"cfg", "optimizer_history", "last_optimizer_state", "extra_state", "task_state"}
    return saved, model.state_dict(), left


@maker
def fairseq_of_old(library: Library) -> Saved:
    model, _ = trained()
    saved = {"args": argparse.Namespace(arch="transformer"), "model": model.state_dict()}
    return saved | {"extra_state": {"train_iterator": {"epoch": 3}}}, model.state_dict(), {"args"}


@maker
def mmcv(library: Library) -> Saved:
    model, optimizer = trained()
    config = library.make("addict.Dict", dict)
    meta = {"mmcv_version": "1.7", "CLASSES": ("a", "b"), "config": "x = 1", "hook_msgs": {}}
    meta["cfg"], meta["PALETTE"] = config(model=config(type="R")), np.zeros((2, 3), np.uint8)
    saved = {"meta": meta, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    return saved, model.state_dict(), {"meta", "optimizer"}


@maker
def mmengine(library: Library) -> Saved:
    model, _ = trained()
    history = library.make("mmengine.logging.history_buffer.HistoryBuffer")
    hub = library.make("mmengine.logging.message_hub.MessageHub")
    scalars = collections.OrderedDict(loss=filled(history, _log_history=np.ones(3)))
    saved = {"meta": {"epoch": 1, "seed": 5}, "state_dict": model.state_dict()}
    saved |= {"message_hub": filled(hub, _log_scalars=scalars), "param_schedulers": []}
    return saved, model.state_dict(), {"meta", "message_hub", "param_schedulers"}


@maker
def detectron2(library: Library) -> Saved:
    model, optimizer = trained()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": 99}
    return saved | {"scheduler": {"last_epoch": 3}}, model.state_dict(), {"optimizer", "iteration"}


@maker
def huggingface_weights(library: Library) -> Saved:
    state = prefixed(network().state_dict(), "bert.encoder.")
    return collections.OrderedDict(state), state, set()


@maker
def huggingface_trainer_optimizer(library: Library) -> Saved:
    _, optimizer = trained()
    saved = optimizer.state_dict()
    states = saved["state"].items()
    return saved, {f"state.{n}.{k}": v for n, one in states for k, v in one.items()}, set()


@maker
def huggingface_trainer_arguments(library: Library) -> Saved:
    arguments = library.make("transformers.training_args.TrainingArguments")
    strategy = library.make("transformers.trainer_utils.IntervalStrategy", str)
    noise = torch.arange(3.0)
    held = filled(arguments, lr=0.1, strategy=strategy("no"), device=torch.device("cpu"))
    return {"args": held, "noise": noise}, {"noise": noise}, {"args"}


@maker
def accelerate_random_states(library: Library) -> Saved:
    state = torch.get_rng_state()
    saved = {"step": 0, "random_state": random.getstate(), "numpy_random_seed": _numpy_state()}
    saved["torch_manual_seed"] = state
    return saved, {"torch_manual_seed": state}, {"step", "random_state", "numpy_random_seed"}


@maker
def fastai_learner(library: Library) -> Saved:
    learner = library.make("fastai.learner.Learner")
    callback = library.make("fastai.callback.core.TrainEvalCallback")
    loss = library.make("fastai.losses.CrossEntropyLossFlat")
    model = network()
    held = filled(learner, model=model, cbs=[filled(callback, run=True)], lr=0.001)
    held.loss_func, held.path = filled(loss, axis=-1), pathlib.PurePosixPath(".")
    return held, model.state_dict(), {"cbs", "lr", "loss_func", "path"}


@maker
def fastai_weights(library: Library) -> Saved:
    model, optimizer = trained()
    saved = {"model": model.state_dict(), "opt": optimizer.state_dict()}
    return saved, model.state_dict(), {"opt"}


@maker
def esrgan(library: Library) -> Saved:
    state = network().state_dict()
    return {"params_ema": state}, state, set()


@maker
def gan_of_two(library: Library) -> Saved:
    first, second, optimizer = network(), nn.Linear(2, 2), trained()[1]
    saved = {"generator": first.state_dict(), "critic": second.state_dict(), "steps": 7}
    names = prefixed(first.state_dict(), "generator.") | prefixed(second.state_dict(), "critic.")
    return saved | {"optim_g": optimizer.state_dict()}, names, {"steps", "optim_g"}


@maker
def stable_diffusion(library: Library) -> Saved:
    state = prefixed(network().half().state_dict(), "model.diffusion_model.")
    checkpoint = library.make("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
    saved = {"state_dict": state, "callbacks": {checkpoint: {}}, "global_step": 470000}
    return saved, state, {"callbacks", "global_step"}


@maker
def whisper(library: Library) -> Saved:
    model = network()
    saved = {"dims": {"n_mels": 80, "n_vocab": 51865}, "model_state_dict": model.state_dict()}
    return saved, model.state_dict(), {"dims"}


@maker
def speechbrain_average(library: Library) -> Saved:
    meter = library.make("speechbrain.utils.AverageModel")
    average = filled(meter, module=network(), n_averaged=torch.tensor(3), decay=0.99)
    return {"ema": average}, average.module.state_dict(), {"ema.n_averaged", "ema.decay"}


@maker
def data_parallel_module(library: Library) -> Saved:
    model = nn.DataParallel(network())
    return {"net": model, "acc": 93.1}, model.state_dict(), {"acc"}


@maker
def compiled_model(library: Library) -> Saved:
    state = prefixed(network().state_dict(), "_orig_mod.")
    config = library.make("__main__.GPTConfig")
    saved = {"model": state, "model_args": {"n_layer": 2}, "config": filled(config, bias=False)}
    return saved | {"iter_num": 5, "best_val_loss": torch.tensor(2.0)}, state, {"config"}


@maker
def omegaconf_inside(library: Library) -> Saved:
    config = library.make("omegaconf.dictconfig.DictConfig")
    node = library.make("omegaconf.nodes.AnyNode")
    container = library.make("omegaconf.base.ContainerMetadata")
    inner = filled(config, _content={"lr": filled(node, _val=0.1)}, _metadata=filled(container))
    inner._parent = inner
    model = network()
    return {"net": model.state_dict(), "cfg": inner}, model.state_dict(), {"cfg"}


def written(tmp_path: Path, name: str) -> tuple[Path, dict[str, Any], set[str]]:
    library = Library()
    try:
        saved, expected, left_out = MAKERS[name](library)
        torch.save(saved, tmp_path / "m.pt")
    finally:
        library.forget()
    return tmp_path / "m.pt", expected, left_out


@pytest.mark.filterwarnings("ignore:.*left out were")
@pytest.mark.parametrize("name", MAKERS)
def test_every_tensor_is_listed_and_packed(tmp_path: Path, name: str) -> None:
    path, expected, left_out = written(tmp_path, name)
    hostile.read_all(path)
    with hostile.nothing_runs():
        hostile.read_all(path)
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.tensors) == list(expected)
        assert left_out <= {part.key for part in checkpoint.left_out}
    dcz.pack(path, tmp_path / "m.dcz", LOSSLESS)
    found = dcz.load_file(tmp_path / "m.dcz")
    assert list(found) == list(expected)
    for tensor_name, tensor in expected.items():
        assert found[tensor_name].tobytes() == tensor.detach().numpy().tobytes()


@pytest.fixture
def library() -> Iterator[Library]:
    made = Library()
    yield made
    made.forget()


def test_the_library_s_classes_are_really_needed(tmp_path: Path) -> None:
    path, _, _ = written(tmp_path, "deepspeed")
    with pytest.raises(ModuleNotFoundError, match="deepspeed"):
        torch.load(path, weights_only=False)


def test_plain_pickles_of_arrays_are_read(tmp_path: Path) -> None:
    """As Detectron2's model zoo, PaddlePaddle and Flax save them."""
    arrays = {"conv1_w": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones(2, ">f4")}
    arrays["fortran"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    zoo = {"model": arrays, "__author__": "somebody", "matching_heuristics": True}
    tree = {"params": {"Dense_0": {"kernel": np.ones((2, 2)), "bias": np.zeros(2)}}}
    for protocol in range(2, 6):
        (tmp_path / "zoo.pkl").write_bytes(pickle.dumps(zoo, protocol))
        with open_checkpoint(tmp_path / "zoo.pkl") as checkpoint:
            assert {name: checkpoint.read(name).tolist() for name in checkpoint.tensors} == {
                name: array.tolist() for name, array in arrays.items()
            }
            assert [part.key for part in checkpoint.left_out] == [
                "__author__",
                "matching_heuristics",
            ]
        (tmp_path / "flax.pkl").write_bytes(pickle.dumps(tree, protocol))
        with open_checkpoint(tmp_path / "flax.pkl") as checkpoint:
            assert list(checkpoint.tensors) == ["Dense_0.kernel", "Dense_0.bias"]


def test_plain_pickles_of_tensors_are_read(tmp_path: Path) -> None:
    state = network().state_dict()
    for protocol in range(6):
        (tmp_path / "m.pt").write_bytes(pickle.dumps(state, protocol))
        with open_checkpoint(tmp_path / "m.pt") as checkpoint:
            for name, tensor in state.items():
                assert checkpoint.read(name).tobytes() == tensor.numpy().tobytes()
