"""Walking answers with a way to draft, resumable answer by answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...base import Proposer, TargetModel
from .journal import Journal
from .sequences import Answer
from .simulate import Simulation
from .tally import Tally
from .ways import Way

TIMED = 40
"""Steps of one request that are timed; the first are warm-up."""
WARM_UP = 5
CROWD = 16_384
"""Tokens, padding included, of the answers that are walked together."""


class Walker:
    """One target, one set of answers, many ways to draft.

    Args:
        tokens, device: as of :class:`Simulation`.
    """

    def __init__(
        self,
        answers: Sequence[Answer],
        target: TargetModel,
        journal: Journal,
        tokens: int,
        batch: int,
        device: str,
    ) -> None:
        self.answers, self.target, self.journal = answers, target, journal
        self.tokens, self.batch, self.device = tokens, batch, device

    def size(self) -> int:
        """Answer tokens that each way walks."""
        return sum(answer.walked(self.tokens) for answer in self.answers)

    def run(self, way: Way, advance: Callable[[int], None]) -> tuple[list[Tally], dict[str, Any]]:
        """A tally per answer, and how long drafting takes."""
        keys = {answer: self._key(way, answer) for answer in range(len(self.answers))}
        left = [i for i, key in keys.items() if key not in self.journal]
        advance(sum(self.answers[i].walked(self.tokens) for i in keys if keys[i] in self.journal))
        timing = f"{way.key}|time|{self.device}"
        if left or timing not in self.journal:
            proposer = way.load(self.target)
            for group in self._groups(left):
                walk = Simulation(
                    proposer, [self.answers[i] for i in group], self.tokens, self.device
                )
                for i, tally in zip(group, walk.run(advance), strict=True):
                    self.journal.put(keys[i], tally.to_json())
            if timing not in self.journal:
                self.journal.put(timing, timed(proposer, self.answers, self.device))
        return [Tally(**self.journal[key]) for key in keys.values()], self.journal[timing]

    def _key(self, way: Way, answer: int) -> str:
        it = self.answers[answer]
        return f"{way.key}|{self.tokens}|{it.id}|{it.fingerprint}"

    def _groups(self, left: list[int]) -> list[list[int]]:
        """Neighbours in length, so that little is padded and all end together."""
        groups: list[list[int]] = []
        for i in sorted(left, key=lambda i: len(self.answers[i].tokens)):
            size = len(self.answers[i].tokens)
            room = min(self.batch, max(CROWD // size, 1))
            if not groups or len(groups[-1]) >= room:
                groups.append([])
            groups[-1].append(i)
        return groups


@torch.inference_mode()
def timed(proposer: Proposer, answers: Sequence[Answer], device: str) -> dict[str, Any]:
    """Milliseconds of drafting for one request alone, and the greatest tree.

    The lower quartile of wall time: what else runs on the machine can only add to it.
    """
    seconds: list[float] = []
    for answer in answers:
        walk = Simulation(proposer, [answer], device=device)
        while int(walk.root) + 1 < int(walk.end) and len(seconds) + len(walk.seconds) < TIMED:
            walk.step(torch.tensor([0]))
        seconds += walk.seconds
        if len(seconds) >= TIMED:
            break
    calm = sorted(seconds[WARM_UP:] or seconds)
    return {
        "ms": 1e3 * calm[len(calm) // 4],
        "nodes": proposer.max_nodes,
        "depth": proposer.max_depth,
    }
