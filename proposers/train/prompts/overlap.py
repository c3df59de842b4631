"""How alike texts are, by the words that they share: for held-out prompts and near copies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from .files import read_prompts

NGRAM = 8
Gram = tuple[str, ...]


def evaluation_prompts() -> Path:
    """The built-in evaluation prompts, in a checkout or as they are installed."""
    for package in ("longspec_eval", "eval"):  # looked up, not imported
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            if (path := Path(place) / "datasets/data/builtin.jsonl").is_file():
                return path
    return Path("eval/datasets/data/builtin.jsonl")


def words(text: str) -> list[str]:
    """Lower-case words of a text, punctuation dropped."""
    return re.findall(r"\w+", text.lower())


def ngrams(text: str, n: int = NGRAM) -> set[Gram]:
    """Word n-grams of a text; none if it is shorter than n words.

    Numbers alone are none: counting from one to nine is nobody's prompt.
    """
    tokens = words(text)
    grams = (tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    return {gram for gram in grams if not all(word.isdigit() for word in gram)}


def held_out_ngrams(paths: Iterable[Path]) -> set[Gram]:
    """All word n-grams of the evaluation prompts, which no training prompt may contain.

    A turn of fewer words counts as a whole: see `overlaps`.

    Raises:
        ValueError: one line for a missing or bad file.
    """
    texts = [text for path in paths for row in read_prompts(path) for text in row.turns]
    return set().union(*(ngrams(text) or {tuple(words(text))} for text in texts))


def overlaps(text: str, held_out: set[Gram]) -> bool:
    """Whether a text shares n words in a row with the held-out prompts, or is one of the short."""
    return tuple(words(text)) in held_out or not held_out.isdisjoint(ngrams(text))
