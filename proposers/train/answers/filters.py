"""Which prompts are answered: none twice, no near copies, none of the evaluation's."""

from __future__ import annotations

from collections import Counter

from ..prompts.overlap import Gram, ngrams, overlaps, words
from .store import Answer, Source

NEAR_GRAM = 5
NEAR = 0.6


class Gate:
    """Lets a prompt in unless one like it was there before; counts what it refuses, by reason.

    Exact copies are refused from any source. So are near copies among prompts that were written
    freely (by the target, or in files): more than 0.6 of a prompt's word 5-grams were seen before.
    Composed prompts share their templates' words on purpose.
    """

    def __init__(self, held_out: set[Gram]) -> None:
        self.refused: Counter[str] = Counter()
        self._held_out = held_out
        self._texts: set[int] = set()  # hashes, which are enough and a tenth of the space
        self._grams: set[int] = set()

    def admit(self, source: Source, text: str) -> bool:
        """Whether to answer this prompt; if so it is remembered."""
        reason = self._reason(source, text)
        if reason:
            self.refused[reason] += 1
            return False
        self.remember(source, text)
        return True

    def seen(self, answer: Answer) -> None:
        """Remember the prompt of an answer of an earlier run."""
        self.remember(answer.source, answer.prompt)

    def remember(self, source: Source, text: str) -> None:
        """Take a prompt for known."""
        self._texts.add(_exact(text))
        if source != "composed":
            self._grams |= _grams(text)

    def _reason(self, source: Source, text: str) -> str:
        if not words(text):
            return "no words"
        if overlaps(text, self._held_out):
            return "held out"
        if _exact(text) in self._texts:
            return "copies"
        grams = _grams(text) if source != "composed" else set()
        return "near copies" if len(grams & self._grams) > NEAR * len(grams) else ""


def _exact(text: str) -> int:
    return hash(" ".join(words(text)))


def _grams(text: str) -> set[int]:
    return {hash(gram) for gram in ngrams(text, NEAR_GRAM)}
