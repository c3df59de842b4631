"""The training loss: cross-entropy against the target's own distribution, head included.

``loss = -sum_v t_v log softmax(W y)_v`` over the draft vocabulary, with
``t = (1 - hard) softmax(teacher logits) + hard onehot(argmax)``. Head and softmax are the largest
arrays of a step, so loss and gradient are computed together, chunk by chunk, and nothing of size
``[rows, Vd]`` outlives its chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

CHUNK_BYTES = 16 * 2**20
"""Most bytes of a chunk's logits."""
CHUNK_ROWS = 512
"""Most rows of a chunk: more of them leave the cores' caches."""
NEVER = -30.0
"""Log-probability of a token outside the draft vocabulary, or outside the draft's tree."""
TREE_WIDTH = 4
"""Best tokens of a node that the draft's own tree holds, for ``weighting="tree"``."""
Weighting = Literal["none", "reach", "tree", "mistakes"]
"""What a row weighs; see :class:`Goal`."""


@dataclass(frozen=True)
class Goal:
    """What ``N`` rows shall say: either the teacher's states, or its greatest logits.

    Attributes:
        hard: share of the teacher's argmax; the rest is its distribution.
        states: ``[N, H]`` the target's states after its final norm, whose logits are made here.
        tokens: ``[N, k]`` entries of the draft vocabulary, -1 outside of it.
        logits: ``[N, k]`` of these, falling.
        following: ``[N]`` entries of the text's next tokens, -1 outside.
        depths: ``[N]`` how many rows before this one lie on its path of a tree.
        weighting: a row weighs 1 (``none``); the draft's own probability to get there along that
            path (``reach``); 1 if the draft's own tree gets there, each token of the path being
            among its node's best :data:`TREE_WIDTH`, else 0 (``tree``); or the probability that
            the draft gives to other tokens than the text's (``mistakes``).
    """

    hard: float
    states: Tensor | None = None
    tokens: Tensor | None = None
    logits: Tensor | None = None
    following: Tensor | None = None
    depths: Tensor | None = None
    weighting: Weighting = "none"


class DistillationLoss(Function):
    """Weighted sum of the rows' losses; differentiable in the rows only (the head is frozen)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, head: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
        """Sum of weighted losses and sum of weights, as :func:`distillation_loss`."""
        size = min(CHUNK_ROWS, max(1, CHUNK_BYTES // (len(head) * head.element_size())))
        sums = torch.zeros(2, dtype=torch.float64, device=rows.device)
        reached = torch.zeros(len(rows) + 1, dtype=torch.float64, device=rows.device)
        grad = torch.empty_like(rows, dtype=head.dtype)
        lines = torch.arange(size, device=rows.device)[:, None]
        for start in range(0, len(rows), size):
            part = slice(start, min(start + size, len(rows)))
            log_probs = (rows[part].to(head.dtype) @ head.T).log_softmax(-1)
            dense, entries, shares = _target(goal, part, head)
            losses = -(shares * log_probs.gather(1, entries)).sum(-1)
            if dense is not None:
                losses -= (dense * log_probs).sum(-1)
            weights = _weights(goal, part, log_probs, reached)
            if dense is None:  # a row none of whose tokens can be proposed teaches nothing
                weights = weights * (shares.sum(-1) > 0)
            sums += torch.stack([(losses.double() * weights).sum(), weights.double().sum()])
            slope = log_probs.exp_()
            if dense is not None:
                slope.sub_(dense)
            # scatter_add_ takes sixty times as long on a CPU
            slope.index_put_(
                (lines[: len(slope)], entries), -shares.to(slope.dtype), accumulate=True
            )
            torch.matmul(slope, head, out=grad[part])
            grad[part] *= weights[:, None].to(grad.dtype)
        ctx.save_for_backward(grad)
        ctx.dtype = rows.dtype
        total, weight = sums.float()
        ctx.mark_non_differentiable(weight)
        return total, weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return (grad * grads[0]).to(ctx.dtype), None, None


def distillation_loss(rows: Tensor, head: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
    """Sum of ``weight * cross-entropy`` of ``head @ rows`` over the rows, and of the weights.

    Args:
        rows: ``[N, H]`` after the final norm, if there is one.
        head: ``[Vd, H]``.
    """
    total, weight = DistillationLoss.apply(rows, head, goal)
    return total, weight


def _target(goal: Goal, part: slice, head: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """The goal's distribution: a dense part ``[n, Vd]``, and entries ``[n, j]`` with shares."""
    if goal.states is None:
        assert goal.tokens is not None
        assert goal.logits is not None
        entries, logits = goal.tokens[part], goal.logits[part].float()
        inside = entries >= 0
        shares = logits.masked_fill(~inside, -torch.inf).softmax(-1).nan_to_num(0) * (1 - goal.hard)
        first = inside & (inside.cumsum(-1) == 1)
        return None, entries.clamp(min=0), shares + goal.hard * first
    logits = goal.states[part] @ head.T
    best = logits.max(-1, keepdim=True).indices  # argmax takes six times as long on a CPU
    share = torch.full(best.shape, goal.hard, device=best.device)
    if goal.hard == 1:
        return None, best, share
    return logits.softmax(-1).mul_(1 - goal.hard), best, share


def _weights(goal: Goal, part: slice, log_probs: Tensor, reached: Tensor) -> Tensor:
    """``[n]`` weights of a chunk's rows; ``reached`` ``[N + 1]`` sums log-probabilities so far."""
    if goal.weighting == "none":
        return torch.ones(len(log_probs), device=log_probs.device)
    assert goal.following is not None
    here = goal.following[part]
    own = log_probs.gather(1, here.clamp(min=0)[:, None])[:, 0]
    if goal.weighting == "mistakes":
        return 1 - own.float().exp().masked_fill(here < 0, 0)
    if goal.weighting == "tree":
        least = log_probs.topk(TREE_WIDTH).values[:, -1]
        own = torch.where(own >= least, 0.0, NEVER)
    own = own.double().masked_fill(here < 0, NEVER).clamp(min=NEVER)
    reached[part.start + 1 : part.stop + 1] = reached[part.start] + own.cumsum(0)
    assert goal.depths is not None
    index = torch.arange(part.start, part.stop, device=here.device)
    return (reached[index] - reached[index - goal.depths[part]]).exp().float()
