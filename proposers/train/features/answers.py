"""Answers as token sequences that are still to be read by the target."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..jsonl import records
from .shards import drawn

ANCHORS = 4
"""The first 0 to 3 tokens of an anchor-offset sequence keep their place (LongSpec, section 3.2)."""


@dataclass(frozen=True)
class Sequence:
    """One prompt with its answer; token i is at position ``i + shift * (i >= anchor)``."""

    id: str
    category: str
    tokens: array[int]
    prompt_len: int
    greedy: bool
    anchor: int = 0
    shift: int = 0

    def positions(self, plain: bool = False) -> list[int]:
        shift = 0 if plain else self.shift
        return [i + shift * (i >= self.anchor) for i in range(len(self.tokens))]


@dataclass(frozen=True)
class Limits:
    """What sequences have to keep to.

    Attributes:
        length: tokens of a sequence; longer ones are cut.
        vocabulary: token ids are below it.
        offset: share of the sequences at anchor-offset positions, which stay below ``position``.
    """

    length: int
    vocabulary: int
    offset: float = 0.0
    position: int = 0


@dataclass
class Work:
    """Sequences to read, how many of them were cut, and how many had a prompt that fills all."""

    sequences: list[Sequence]
    cut: int = 0
    dropped: int = 0

    @property
    def tokens(self) -> int:
        return sum(len(s.tokens) for s in self.sequences)


def read_answers(path: Path, done: set[str], limits: Limits) -> Work:
    """Sequences of an answers file that are not done; each id counts once.

    Raises:
        ValueError: in one line, for a missing file or a line that is no answer of this target.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file; run the answers command first")
    work, seen = Work([]), set(done)
    for number, record in records(path):
        try:
            whole = _sequence(record)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}:{number} is no answer ({error!r}); make it again") from None
        if min(whole.tokens, default=0) < 0 or max(whole.tokens, default=0) >= limits.vocabulary:
            raise ValueError(
                f"{path}:{number} has the token {max(whole.tokens)}; the target's vocabulary has"
                f" {limits.vocabulary}; give the answers of this target"
            )
        if whole.id in seen:
            continue
        seen.add(whole.id)
        _take(work, whole, limits)
    return work


def _take(work: Work, whole: Sequence, limits: Limits) -> None:
    size = min(len(whole.tokens), limits.length)
    if size <= whole.prompt_len:
        work.dropped += 1
        return
    work.cut += size < len(whole.tokens)
    anchor, shift = _offset(whole.id, size, limits)
    about = (whole.id, whole.category, whole.tokens[:size], whole.prompt_len, whole.greedy)
    work.sequences.append(Sequence(*about, anchor, shift))


def _offset(name: str, size: int, limits: Limits) -> tuple[int, int]:
    """Anchor and shift of a sequence: drawn from its id, so that a second run agrees."""
    room = max(0, limits.position - size - 1)
    if drawn(name, "offset") >= limits.offset:
        return 0, 0
    return int(drawn(name, "anchor") * ANCHORS), int(drawn(name, "shift") * (room + 1))


def _sequence(record: dict[str, Any]) -> Sequence:
    prompt, answer = (array("i", record[key]) for key in ("prompt_ids", "answer_ids"))
    greedy = float(record["temperature"]) == 0
    return Sequence(
        str(record["id"]), str(record["category"]), prompt + answer, len(prompt), greedy
    )


def batches(sequences: list[Sequence], batch_tokens: int, pool: int) -> Iterator[list[Sequence]]:
    """Sequences of like lengths, at most ``batch_tokens`` together with their padding.

    Only within ``pool`` sequences after each other, so that every shard is a mix of lengths.
    """
    for start in range(0, len(sequences), pool):
        group: list[Sequence] = []
        for s in sorted(sequences[start : start + pool], key=lambda s: len(s.tokens)):
            if group and len(s.tokens) * (len(group) + 1) > batch_tokens:
                yield group
                group = []
            group.append(s)
        yield group
