"""One block: drafted by a head, and the trunk states that its verification reads.

Between blocks the caches hold all tokens but the last, which is the block's root. A head may stand
behind the trunk (a block accepted whole leaves its drafter one token short, and a block drafted
without the trunk gives its drafter nothing), so the trunk's last states are kept for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .model import HydraTransformer
from .rule import Chance, distribution

Drafted = tuple[Tensor, Tensor]
"""``[g]`` tokens, each drawn from its row of ``[g, V]``."""


class Tail:
    """The trunk's states ``[1, k, H]`` of the last k tokens that it has read."""

    def __init__(self, model: HydraTransformer, states: Tensor) -> None:
        self.model, self.states = model, states

    @property
    def start(self) -> int:
        """Position of the first one."""
        return self.model.trunk_length - self.states.shape[1]

    def read(self, tokens: Tensor) -> None:
        """Run the trunk over ``[1, T]`` tokens and keep their states."""
        self.states = torch.cat([self.states, self.model.trunk_forward(tokens)], dim=1)

    def unread(self, head: int) -> Tensor:
        """What a head has not seen yet."""
        return self.states[:, self.model.head_lengths[head] - self.start :]

    def roll_back(self, length: int) -> None:
        """Forget the trunk's tokens behind ``length``, and states that no head lacks.

        The last one stays: drafting without the trunk begins from it.
        """
        end = length - self.start
        self.model.roll_back(length)
        least = min(*self.model.head_lengths, length - 1)
        self.states = self.states[:, least - (length - end) : end]


def read_with_trunk(
    tail: Tail, head: int, root: Tensor, gamma: int, temperature: float, chance: Chance
) -> Drafted:
    """``trunk="drafted"``: trunk and head, a token at a time.

    Args:
        root: ``[1]`` the last token.
        gamma: 1 or more.
    """
    model, tokens, rows = tail.model, [root], []
    for _ in range(gamma):
        tail.read(tokens[-1][None])
        logits = model.head_forward(head, tail.unread(head), last_token_only=True)[0, 0]
        rows.append(distribution(logits, temperature))
        tokens.append(chance.token(rows[-1]))
    return _stacked(tokens, rows)


def guess_without_trunk(
    tail: Tail, head: int, root: Tensor, gamma: int, temperature: float, chance: Chance
) -> Drafted:
    """``trunk="verified"``: the head alone, fed states guessed from its own.

    Its cache is rolled back at the end: what it read was not the trunk's.
    """
    model, tokens, rows = tail.model, [root], []
    verified = model.trunk_length
    model.roll_back(verified - 1, trunk=False, heads=[head])
    state = model.head_states(head, tail.unread(head))[:, -1:]
    for _ in range(gamma):
        state = model.head_states(head, model.guess(state, tokens[-1][None]))
        rows.append(distribution(model.logits(state)[0, 0], temperature))
        tokens.append(chance.token(rows[-1]))
    model.roll_back(verified, trunk=False, heads=[head])
    return _stacked(tokens, rows)


DRAFTERS = {"drafted": read_with_trunk, "verified": guess_without_trunk}


def mean_logits(tail: Tail, heads: Sequence[int], rows: int) -> Tensor:
    """Mean of the heads' logits ``[rows, V]`` over the trunk's last ``rows`` states."""
    model = tail.model
    return model.mean_logits([model.head_states(i, tail.unread(i))[0, -rows:] for i in heads])


def _stacked(tokens: list[Tensor], rows: list[Tensor]) -> Drafted:
    return torch.cat(tokens[1:]), torch.stack(rows)
