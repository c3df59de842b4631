"""Optimisers: AdamW for all weights, or Muon for matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...native import multiplies_bfloat16
from .distributed import Processes
from .settings import TrainSettings

QUINTICS = (
    (7.6529, -22.0862, 16.0371),
    (4.0811, -3.5055, 0.7733),
    (2.7992, -2.2119, 0.4891),
    (2.5227, -2.4122, 0.8435),
)
"""Coefficients of the steps ``x -> a x + b x^3 + c x^5``.

Together they bring every singular value from 0.005 to 1 into 0.9 to 1.08 (found by minimising the
greatest distance from 1; the idea of a quintic for each step is Polar Express, arXiv 2505.16932).
Muon's own five equal steps leave 0.68 to 1.15 and take a quarter more time.
"""


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum, scaled to AdamW's update size, so that both share one rate.

    ``update = 0.2 sqrt(max(rows, columns)) UV'`` with ``USV'`` the momentum (Nesterov's) of a
    matrix (Muon: kellerjordan.github.io/posts/muon; scale: arXiv 2502.16982). Several
    ``processes`` with the same gradients divide the matrices among them.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        processes: Processes | None = None,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)
        self.processes = processes or Processes(0, 1, torch.device("cpu"))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all matrices that have a gradient."""
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            ahead = [self._ahead(matrix, group["momentum"]) for matrix in matrices]
            for matrix, update in zip(matrices, self._orthogonal(ahead), strict=True):
                size: float = 0.2 * max(matrix.shape) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * size)

    def _ahead(self, matrix: nn.Parameter, share: float) -> Tensor:
        """Nesterov's momentum of a matrix."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum"].lerp_(matrix.grad, 1 - share)
        return matrix.grad.lerp(momentum, share)

    def _orthogonal(self, matrices: list[Tensor]) -> list[Tensor]:
        """All updates; each process works out its own, the others' are zeros until added up."""
        if not matrices:
            return []
        owners = divided([m.numel() * min(m.shape) for m in matrices], self.processes.size)
        sizes = [m.numel() for m in matrices]
        buffer = matrices[0].new_zeros(sum(sizes), dtype=torch.bfloat16)
        updates = [u.view_as(m) for u, m in zip(buffer.split(sizes), matrices, strict=True)]
        for matrix, update, owner in zip(matrices, updates, owners, strict=True):
            if owner == self.processes.rank:
                update.copy_(orthogonal(matrix))
        self.processes.add_up(buffer)
        return updates


def divided(costs: list[int], shares: int) -> list[int]:
    """Which share each cost goes to, so that the shares come out about equal."""
    totals, owners = [0] * shares, [0] * len(costs)
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        owners[i] = totals.index(min(totals))
        totals[owners[i]] += costs[i]
    return owners


def orthogonal(matrix: Tensor) -> Tensor:
    """About ``UV'`` of ``matrix = USV'``, by steps of Newton-Schulz: in bfloat16, which is enough,
    where the device multiplies in it."""
    x = matrix.bfloat16() if multiplies_bfloat16(matrix.device) else matrix.float()
    if len(matrix) > matrix.shape[1]:
        x = x.T
    x = x / x.norm().clamp(min=1e-7)
    for a, b, c in QUINTICS:
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if len(matrix) > matrix.shape[1] else x


def optimizers(
    layer: nn.Module, settings: TrainSettings, processes: Processes
) -> list[torch.optim.Optimizer]:
    """Those that ``settings`` ask for; norms and biases do not decay."""
    decay = settings.weight_decay
    matrices = [p for p in layer.parameters() if p.ndim > 1]
    vectors = [p for p in layer.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": vectors, "weight_decay": 0.0}]
    found: list[torch.optim.Optimizer] = []
    if settings.optimizer == "muon":
        found.append(Muon(matrices, weight_decay=decay, processes=processes))
    else:
        groups.append({"params": matrices, "weight_decay": decay})
    return [*found, torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)]
