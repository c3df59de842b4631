"""The training loss: cross-entropy against the target's own distribution, head included.

``loss = -sum_v t_v log softmax(W y)_v`` over the draft vocabulary, with
``t = (1 - hard) softmax(teacher logits) + hard onehot(argmax)``. Head and softmax are the largest
arrays of a step, so loss and gradient are computed together, chunk by chunk, and nothing of size
``[rows, Vd]`` outlives its chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

CHUNK = 512


class DistillationLoss(Function):
    """Mean loss over rows; differentiable in the rows only (the head is frozen)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, head: Tensor, teacher: Tensor, hard: float) -> Tensor:
        """Return the mean loss, a scalar.

        Args:
            rows: ``[N, H]`` inputs of the head.
            head: ``[Vd, H]`` frozen.
            teacher: ``[N, Vd]`` is never held: this is ``[N, H]``, the target's states, whose
                logits are made here.
            hard: weight of the teacher's argmax.
        """
        total = torch.zeros((), dtype=torch.float32)
        grad = torch.empty_like(rows, dtype=head.dtype)
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            logits = (rows[part].to(head.dtype) @ head.T).float()
            goal = (teacher[part] @ head.T).float()
            best = goal.argmax(-1, keepdim=True)
            goal = goal.softmax(-1).mul_(1 - hard)
            goal.scatter_add_(-1, best, torch.full_like(goal[:, :1], hard))
            log_probs = logits.log_softmax(-1)
            total -= torch.dot(goal.flatten(), log_probs.flatten())
            grad[part] = log_probs.exp_().sub_(goal).to(head.dtype) @ head
        ctx.save_for_backward(grad)
        return total / len(rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad.float() * (grads[0] / len(grad)), None, None, None


def distillation_loss(rows: Tensor, head: Tensor, teacher: Tensor, hard: float) -> Tensor:
    """Mean cross-entropy of ``head @ rows`` against the target's ``head @ teacher``.

    Args:
        rows: ``[N, H]`` after the final norm (its weight may be folded into neither head).
        head: ``[Vd, H]``.
        teacher: ``[N, H]`` the target's states after its final norm.
        hard: share of the target's argmax; the rest is its distribution.
    """
    loss: Tensor = DistillationLoss.apply(rows, head, teacher, hard)
    return loss
