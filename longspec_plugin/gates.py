"""Refusals at start: one line that names what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from proposers.base import Proposer, TargetShape

from .errors import LongSpecError

Rule = tuple[Any, str, str]
"""Whether something was found, what it is called, and what works instead."""


@dataclass(frozen=True)
class Gate:
    """What an engine calls our method, for messages."""

    method: str

    def refusal(self, what: str, instead: str) -> LongSpecError:
        return LongSpecError(f"{what} does not work with {self.method}; {instead}")

    def check(self, rules: Iterable[Rule]) -> None:
        """Raise for the first rule whose thing was found."""
        for found, what, instead in rules:
            if found:
                raise self.refusal(what, instead)


def check_draft_fits(proposer: Proposer, target: TargetShape) -> None:
    """Refuse a draft that was made for another target."""
    try:
        proposer.check_target(target)
    except ValueError as error:
        raise LongSpecError(str(error)) from error
