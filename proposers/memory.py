"""Answers that a server gave lately, for lookups in them.

Repeated work (the same edit asked again, a form filled a hundred times) repeats earlier answers
more than its own prompt. Suffix decoding (arXiv 2411.04975) keeps them in a tree; here they are
lines of tokens in front of each request's own, which the same search takes along. How fast an
answer comes tells something of those it was drafted from, so a request sees those of its own scope
alone (:attr:`.base.DraftContext.scopes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import DraftContext

NOTHING = -1
"""Stands between answers, and where none is yet; no token."""
LEAST = 2
"""Tokens that must agree with another's answer: one says too little (it held in 10% of 4,270)."""
NOBODY = 0
"""The scope that nobody shares anything in."""
SLOTS = 4096
"""Slots that are told apart. Were there more, two requests would write to one place: their drafts
would suffer, and no token that is emitted."""


@dataclass(frozen=True)
class Others:
    """Texts to search beside each request's own.

    Attributes:
        lines: ``[M, W]`` int64 texts, the last token of each and all behind its end
            :data:`NOTHING`. All are older than the requests' own.
        seen: ``[B, M]`` bool, which of them each request may see.
    """

    lines: Tensor
    seen: Tensor


class AnswerMemory:
    """The first tokens of the last answers; the oldest makes room for a new one.

    Attributes:
        table: ``[answers + 1, length + 2]`` tokens; behind each answer one that is none, and one
            that is written to where there is nothing to write. Whatever is of no scope is written
            to the last line.
        scopes: ``[answers + 1]`` whose each answer is.
        owners: ``[answers + 1]`` the slot that writes it. A request whose place has gone to another
            writes no more: it may be of another scope.
    """

    def __init__(self, answers: int, length: int) -> None:
        self.length, self.answers = length, answers
        self.table = torch.full((answers + 1, length + 2), NOTHING, dtype=torch.int64)
        self.scopes, self.first, self.owners = torch.zeros(3, answers + 1, dtype=torch.int64)
        self.places = torch.full((SLOTS,), answers, dtype=torch.int64)
        self.next = torch.zeros((), dtype=torch.int64)

    def start(self, context: DraftContext, scopes: Tensor | None) -> None:
        """New requests, or such as come back, get the places of the oldest answers.

        Args:
            scopes: ``[B]`` of the context's requests; None: none has any.
        """
        self._to(context.slots.device)
        slots = context.slots % SLOTS
        if scopes is None:
            self.places[slots] = self.answers
            return
        shared = scopes != NOBODY
        steps = self.next + shared.cumsum(0)
        places = torch.where(shared, (steps - 1) % self.answers, self.answers)
        self.next = steps[-1] % self.answers
        self.places[slots] = places
        # `first` is where in its text an answer begins
        self.first[places], self.scopes[places] = context.lengths - 1, scopes
        self.owners[places] = context.slots
        self.table[places] = NOTHING

    def update(self, context: DraftContext) -> None:
        """Take in the tokens that came last. Shapes depend on ``most_new`` alone."""
        self._to(context.slots.device)
        tokens, positions = context.recent(context.most_new)
        place = self.places[context.slots % SLOTS][:, None]
        at = positions - self.first[place]
        known = (at >= 0) & (at < self.length)
        known &= self.owners[place] == context.slots[:, None]
        self.table[place, torch.where(known, at, self.length + 1)] = tokens

    def others(self, scopes: Tensor) -> Others:
        """What requests of these scopes ``[B]`` see."""
        same = (scopes[:, None] == self.scopes[:-1]) & (scopes != NOBODY)[:, None]
        return Others(self.table[:-1, : self.length + 1], same)

    def _to(self, device: torch.device) -> None:
        if self.table.device != device:
            for name in ("table", "scopes", "owners", "first", "places", "next"):
                setattr(self, name, getattr(self, name).to(device))
