"""The loop that the README shows runs, with as few added lines as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch import nn  # noqa: E402

import dcz  # noqa: E402

README = Path(__file__).parents[1] / "README.md"
MOST_ADDED_LINES = 10


def loop() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "training.Pruner" in block]
    return str(block)


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 32),
        nn.ReLU(),
        nn.Linear(32, 3),
    )


def test_added_lines_are_few() -> None:
    added = [line for line in loop().splitlines() if line.endswith("# +")]
    assert 0 < len(added) <= MOST_ADDED_LINES
    rest = [line for line in loop().splitlines() if not line.endswith("# +")]
    assert not any("dcz" in line for line in rest)


def test_the_loop_runs_and_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    centres = 2 * torch.randn(3, 1, 8, 8)
    labels = torch.arange(960) % 3
    images = centres[labels] + torch.randn(960, 1, 8, 8)
    data = list(zip(images.split(32), labels.split(32), strict=True))
    model = small()
    exec(compile(loop(), "README.md", "exec"), {"model": model, "data": data})
    weights = dcz.load_state_dict("model.dcz")
    kept = sum(int((w != 0).sum()) for name, w in weights.items() if "weight" in name)
    assert kept / sum(w.numel() for name, w in weights.items() if "weight" in name) < 0.101
    assert all(len(w.unique()) <= 17 for name, w in weights.items() if "weight" in name)
    model(images)  # the model that was trained still works, and what was packed is it
    fresh = small()
    dcz.load_model(fresh, "model.dcz")
    assert torch.equal(fresh(images), model(images))
    assert (fresh(images).argmax(1) == labels).double().mean() > 0.9
