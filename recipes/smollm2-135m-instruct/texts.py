"""Texts and token sequences: overlap with held-out prompts, repetition loops."""

import json
import re
from pathlib import Path

NGRAM = 8


def words(text: str) -> list[str]:
    """Lower-case words of a text, punctuation dropped."""
    return re.findall(r"\w+", text.lower())


def ngrams(text: str, n: int = NGRAM) -> set[tuple[str, ...]]:
    """Word n-grams of a text; none if it is shorter than n words."""
    tokens = words(text)
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def held_out_ngrams(path: Path) -> set[tuple[str, ...]]:
    """All word n-grams of the evaluation prompts, which no training prompt may contain."""
    if not path.exists():
        return set()
    texts = [
        turn
        for line in path.read_text().splitlines()
        if line.strip()
        for turn in json.loads(line).get("turns", [])
    ]
    return set().union(*(ngrams(text) for text in texts)) if texts else set()


def given_prompts(path: Path) -> list[tuple[str, str]]:
    """(category, first turn) of each line of a JSONL file with `turns`."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [(line.get("category", ""), line["turns"][0]) for line in lines]


def loop_start(tokens: list[int], longest: int = 96) -> int | None:
    """Length to keep of a sequence whose tail repeats one block three times; None if it does not.

    Two repetitions are kept: a draft should know loops, but they must not dominate.
    """
    for period in range(1, min(longest, len(tokens) // 3) + 1):
        repeats = 3 if period > 12 else max(3, 36 // period)
        tail = tokens[-period * repeats :]
        if len(tail) == period * repeats and tail == tail[:period] * repeats:
            return len(tokens) - period * (repeats - 2)
    return None
