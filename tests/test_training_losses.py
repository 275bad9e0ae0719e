"""The rate is the cross-entropy under the code, distillation the divergence that PyTorch finds."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from dcz import training  # noqa: E402

LEVELS = torch.tensor([-1.0, -0.25, 0.0, 0.25, 1.0])


def quantized(count: int = 400) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shares = torch.tensor([0.05, 0.2, 0.6, 0.1, 0.05])
    return LEVELS[torch.multinomial(shares, count, replacement=True, generator=generator)]


def test_rate_of_weights_at_levels_is_their_entropy() -> None:
    weights = quantized()
    rate = training.RateLoss({"w": weights}, {"w": LEVELS})
    counts = [int((weights == level).sum()) for level in LEVELS]
    entropy = sum(c * math.log2(len(weights) / c) for c in counts)
    assert float(rate()) == pytest.approx(entropy, rel=1e-5)


def test_rate_is_the_cross_entropy_under_the_last_code() -> None:
    weights = quantized()
    rate = training.RateLoss({"w": weights}, {"w": LEVELS})
    counts = [int((weights == level).sum()) for level in LEVELS]
    weights[:] = LEVELS[3]
    assert float(rate()) == pytest.approx(400 * math.log2(400 / counts[3]), rel=1e-5)
    rate.renew()
    assert float(rate()) < 400 * 0.01


def test_rate_pulls_towards_the_cheaper_level() -> None:
    weights = nn.Parameter(quantized())
    rate = training.RateLoss({"w": weights}, {"w": LEVELS})
    with torch.no_grad():
        weights[:4] = torch.tensor([0.1, -0.1, 0.5, -3.0])
    rate().backward()
    assert weights.grad is not None
    assert weights.grad[0] > 0  # towards zero, the most frequent
    assert weights.grad[1] < 0
    assert weights.grad[2] > 0
    assert weights.grad[3] == 0
    step = 1e-3
    with torch.no_grad():
        first = rate()
        weights[2] += step
        assert float((rate() - first) / step) == pytest.approx(float(weights.grad[2]), rel=0.05)


def test_training_with_the_rate_needs_fewer_bits() -> None:
    torch.manual_seed(0)
    target = torch.randn(2000)
    levels = torch.linspace(-3, 3, 13)

    def bits(weight_of_rate: float) -> float:
        weights = nn.Parameter(target.clone())
        rate = training.RateLoss({"w": weights}, {"w": levels})
        optimizer = torch.optim.SGD([weights], 0.1)
        for _ in range(50):
            optimizer.zero_grad()
            loss = (weights - target).square().sum() / 2 + weight_of_rate * rate()
            loss.backward()
            optimizer.step()
        rate.renew()
        nearest = levels[(weights.detach()[:, None] - levels).abs().argmin(1)]
        weights.data[:] = nearest
        return float(rate().detach())

    assert bits(0.3) < 0.85 * bits(0.0)


def test_rate_needs_levels() -> None:
    with pytest.raises(ValueError, match="two levels"):
        training.RateLoss({"w": torch.zeros(3)}, {"w": torch.zeros(1)})


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.9), (2.5, 0.0)])
def test_distillation_is_what_pytorch_calculates(temperature: float, alpha: float) -> None:
    torch.manual_seed(0)
    logits = (5 * torch.randn(32, 10)).requires_grad_()
    teacher = 5 * torch.randn(32, 10)
    labels = torch.arange(32) % 10
    ours = training.DistillationLoss(temperature, alpha)(logits, teacher, labels)
    (gradient,) = torch.autograd.grad(ours, logits)
    soft = functional.log_softmax(logits / temperature, 1)
    probabilities = functional.softmax(teacher / temperature, 1)
    divergence = functional.kl_div(soft, probabilities, reduction="batchmean")
    theirs = alpha * temperature**2 * divergence
    theirs = theirs + (1 - alpha) * functional.cross_entropy(logits, labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, logits)[0])


def test_distillation_leaves_the_teacher_alone() -> None:
    teacher = torch.randn(4, 3, requires_grad=True)
    student = torch.randn(4, 3, requires_grad=True)
    training.DistillationLoss()(student, teacher, torch.tensor([0, 1, 2, 0])).backward()
    assert teacher.grad is None


def test_distillation_refuses_what_makes_no_sense() -> None:
    for temperature, alpha in ((0.0, 0.5), (2.0, 1.5)):
        with pytest.raises(ValueError, match="temperature"):
            training.DistillationLoss(temperature, alpha)
