"""Knowledge distillation: learn from a teacher's probabilities, not from labels alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class DistillationLoss(nn.Module):
    """alpha T**2 KL(teacher || student) at temperature T, and 1 - alpha of the cross-entropy.

    Hinton, Vinyals and Dean 2015, *Distilling the knowledge in a neural network*: the factor T**2
    keeps the gradients of soft targets at the scale of hard ones.
    """

    def __init__(self, temperature: float = 4.0, alpha: float = 0.9) -> None:
        """Set the two weights.

        Parameters
        ----------
        temperature : float
            T > 0; both distributions are softmax(logits / T).
        alpha : float
            Share of the teacher in the loss, 0 to 1.

        Raises
        ------
        ValueError
            Outside these ranges.
        """
        super().__init__()
        if temperature <= 0 or not 0 <= alpha <= 1:
            raise ValueError("the temperature must be above 0, and alpha within 0 and 1")
        self.temperature, self.alpha = temperature, alpha

    def forward(self, logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch.

        Parameters
        ----------
        logits, teacher_logits : float[n, classes]
        labels : int64[n]
        """
        soft = functional.log_softmax(logits / self.temperature, dim=1)
        target = functional.log_softmax(teacher_logits.detach() / self.temperature, dim=1)
        divergence = (target.exp() * (target - soft)).sum(1).mean()
        hard = functional.cross_entropy(logits, labels)
        return self.alpha * self.temperature**2 * divergence + (1 - self.alpha) * hard
