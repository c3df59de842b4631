"""Where prompts come from: the shipped generator, or files."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..prompts import category_of, compose
from ..prompts.compose import MIX
from ..prompts.files import read_prompts
from .store import Source


@dataclass(frozen=True)
class Prompt:
    """A user's turn to answer; ``id`` is the same in every run."""

    id: str
    category: str
    source: Source
    text: str


def composed(seed: int, categories: Sequence[str], done: Container[str]) -> Iterator[Prompt]:
    """Prompts of the generator without end, but for those that are done."""
    for index in count():
        name = f"{category_of(index, categories or MIX)}-{seed}-{index}"
        if name not in done:
            category, text = compose(index, seed, categories or MIX)
            yield Prompt(name, category, "composed", text)


def given(paths: Sequence[Path]) -> list[Prompt]:
    """First turns of the lines of all files.

    Raises:
        ValueError: one line for a missing or bad file, or an id that two lines have.
    """
    found: dict[str, Prompt] = {}
    for path in paths:
        for row in read_prompts(path):
            if row.id in found:
                raise ValueError(f"{path}: the id {row.id!r} occurs twice; give each line its own")
            found[row.id] = Prompt(row.id, row.category, "file", row.turns[0])
    return list(found.values())
