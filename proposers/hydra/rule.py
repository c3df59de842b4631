"""The acceptance rule of PoE decoding: functions on distributions, and the random choices.

With ``q`` the draft head's distribution and ``P`` the product of the others', a token drawn from q
is accepted with probability ``min(1, P/q)``, and the first refused one is replaced by a draw from
``(P - q)+``, normalised: what is emitted is distributed as P (Leviathan et al., 2023, theorem 1).
Greedy decoding needs no case of its own: its distributions are one-hot.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def distribution(logits: Tensor, temperature: float, power: float = 1.0) -> Tensor:
    """``softmax(power * logits / T)`` over the last axis, float32 or better; one-hot for T = 0."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        return torch.zeros_like(wide).scatter_(-1, wide.argmax(-1, keepdim=True), 1.0)
    return (wide * (power / temperature)).softmax(-1)


def product(logits: Tensor, beta: float, temperature: float) -> Tensor:
    """P proportional to ``exp(beta * sum_i log_softmax(l_i / T))``, as it is defined.

    Args:
        logits: ``[heads, ..., V]``.

    Returns:
        ``[..., V]``; for T = 0 the limit, one-hot at the greatest sum of logits.
    """
    if temperature == 0:
        return distribution(logits.sum(0), 0.0)
    return (beta * (logits / temperature).log_softmax(-1).sum(0)).softmax(-1)


def product_of_mean(mean: Tensor, heads: int, beta: float, temperature: float) -> Tensor:
    """:func:`product` from the mean of ``heads`` heads' logits ``[..., V]``.

    A log-softmax is its logits less a constant, which P's normalisation takes out again; so P is
    ``softmax(beta * heads / T * mean)``, and one product with the LM head is enough for it.
    """
    return distribution(mean, temperature, beta * heads)


def residual(p: Tensor, q: Tensor) -> Tensor:
    """``(p - q)+`` over the last axis, normalised; p where rounding leaves nothing of it."""
    rest = (p - q).clamp(min=0)
    mass = rest.sum(-1, keepdim=True)
    return torch.where(mass > 0, rest / mass, p)


class Chance:
    """The random choices of decoding, from one generator on the model's device."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator(device).manual_seed(seed)
        self.host = torch.Generator().manual_seed(seed)

    def token(self, probabilities: Tensor) -> Tensor:
        """A draw from ``[V]``, as ``[1]`` on the device: nothing waits for it."""
        return torch.multinomial(probabilities, 1, generator=self.generator)

    def accepted(self, ratios: Tensor) -> int:
        """How many are accepted before the first refusal, with probabilities ``ratios [g]``."""
        uniform = torch.rand(ratios.shape, generator=self.generator, device=ratios.device)
        return int((uniform < ratios).long().cumprod(0).sum())

    def head(self, heads: int) -> int:
        """One of ``heads`` heads, all alike."""
        return int(torch.randint(heads, (1,), generator=self.host))


@dataclass(frozen=True)
class Verdict:
    """What became of a block.

    Attributes:
        tokens: emitted: the accepted ones, and at most one more.
        accepted: drafted tokens among them.
        resampled: the last one was drawn from the residual.
        bonus: the last one was drawn from P behind a block that was accepted whole.
    """

    tokens: list[int]
    accepted: int
    resampled: bool = False
    bonus: bool = False


def verify(drafted: Tensor, q: Tensor, p: Tensor, chance: Chance) -> Verdict:
    """Accept or replace a block of drafted tokens.

    Args:
        drafted: ``[g]`` tokens, each drawn from its row of ``q``.
        q: ``[g, V]`` the draft head's distributions.
        p: ``[g, V]`` the product's; with one row more, that is where a bonus token comes from.
    """
    count = len(drafted)
    accepted = chance.accepted(_ratios(drafted, q, p)) if count else 0
    if accepted < count:
        last = chance.token(residual(p[accepted], q[accepted]))
        return Verdict(torch.cat([drafted[:accepted], last]).tolist(), accepted, resampled=True)
    if len(p) > count:
        last = chance.token(p[count])
        return Verdict(torch.cat([drafted, last]).tolist(), accepted, bonus=True)
    return Verdict(drafted.tolist(), accepted)


def _ratios(drafted: Tensor, q: Tensor, p: Tensor) -> Tensor:
    """``P/q [g]`` at the drafted tokens, which were drawn from q: it is not 0 there."""
    at = drafted[:, None]
    return (p[: len(drafted)].gather(1, at) / q.gather(1, at))[:, 0]
