"""Answers that a server gave lately, for lookups in all of them.

Repeated work (the same edit asked again, a form filled a hundred times) repeats earlier answers
more than its own prompt. Suffix decoding (arXiv 2411.04975) keeps them in a tree; here they are
lines of tokens in front of each request's own, which the same search takes along.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import DraftContext

NOTHING = -1
"""Stands between answers, and where none is yet; no token."""
SLOTS = 4096
"""Slots that are told apart. Were there more, two requests would write to one place: their drafts
would suffer, and no token that is emitted."""


class AnswerMemory:
    """The first tokens of the last answers; the oldest makes room for a new one.

    Attributes:
        table: ``[answers, length + 2]`` tokens; behind each answer one that is none, and one that
            is written to where there is nothing to write.
    """

    def __init__(self, answers: int, length: int) -> None:
        self.length = length
        self.table = torch.full((answers, length + 2), NOTHING, dtype=torch.int64)
        self.places = torch.zeros(SLOTS, dtype=torch.int64)
        self.first = torch.zeros(answers, dtype=torch.int64)  # where in its text an answer begins
        self.next = 0

    def start(self, context: DraftContext) -> None:
        """New requests, or such as come back, get the places of the oldest answers."""
        self._to(context.slots.device)
        answers = len(self.table)
        steps = torch.arange(len(context.slots), device=self.table.device)
        places = (self.next + steps) % answers
        self.next = (self.next + len(steps)) % answers
        self.places[context.slots % SLOTS] = places
        self.first[places] = context.lengths - 1
        self.table[places] = NOTHING

    def update(self, context: DraftContext) -> None:
        """Take in the tokens that came last. Shapes depend on ``most_new`` alone."""
        self._to(context.slots.device)
        tokens, positions = context.recent(context.most_new)
        place = self.places[context.slots % SLOTS][:, None]
        at = positions - self.first[place]
        known = (at >= 0) & (at < self.length)
        self.table[place, torch.where(known, at, self.length + 1)] = tokens

    def lines(self) -> Tensor:
        """``[answers, length + 1]`` int64, at least the last of each :data:`NOTHING`."""
        return self.table[:, : self.length + 1]

    def _to(self, device: torch.device) -> None:
        if self.table.device != device:
            self.table, self.places, self.first = (
                part.to(device) for part in (self.table, self.places, self.first)
            )
