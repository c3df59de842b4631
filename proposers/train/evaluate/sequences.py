"""The target's greedy answers of a feature folder, as a simulation reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

from torch import Tensor

from ..features.shards import load_shard, open_index

SHORTEST = 2
"""Tokens of an answer in which something can be drafted: the first comes from the prompt."""


@dataclass(frozen=True)
class Answer:
    """One sequence of ``T`` tokens: a prompt and the target's greedy answer.

    Attributes:
        tokens: ``[T]``.
        hidden: ``[T, H]`` the target's last state after each token.
        keys, values: ``[T, kv_heads, d]`` of its last layer.
    """

    id: str
    category: str
    prompt_len: int
    tokens: Tensor
    hidden: Tensor
    keys: Tensor
    values: Tensor

    def walked(self, limit: int) -> int:
        """Answer tokens that a walk of at most ``limit`` (0: all) passes."""
        length = len(self.tokens) - self.prompt_len
        return min(length, limit) if limit else length

    @property
    def fingerprint(self) -> str:
        """Tells apart two texts of one id."""
        return blake2b(self.tokens.numpy().tobytes(), digest_size=4).hexdigest()


def read_answers(folder: Path, every: bool, limit: int) -> list[Answer]:
    """Greedy answers at plain positions that no draft was trained on, categories in turn.

    Args:
        every: also those that are marked as trained on: the folder is one of held-out prompts.
        limit: at most so many (0: all).

    Raises:
        ValueError: one line; the folder has none.
    """
    found = list(_answers(folder, every))
    if not found:
        kind = "greedy" if every else "held-out greedy"
        hint = "" if every else ", or give --all true for a folder that was never trained on"
        raise ValueError(f"{folder} holds no {kind} answer at plain positions; make more{hint}")
    turn: Counter[str] = Counter()
    ranks = []
    for answer in found:
        ranks.append(turn[answer.category])
        turn[answer.category] += 1
    ordered = [found[i] for i in sorted(range(len(found)), key=ranks.__getitem__)]
    return ordered[:limit] if limit else ordered


def _answers(folder: Path, every: bool) -> Iterator[Answer]:
    for shard in open_index(folder).shards:
        data = load_shard(folder, shard)
        names = ("prompt_len", "greedy", "held_out", "shift", "offsets")
        prompts, greedy, held, shift, offsets = (data[name].tolist() for name in names)
        for i, (start, end) in enumerate(pairwise(offsets)):
            usable = greedy[i] and not shift[i] and (held[i] or every)
            if not usable or end - start - prompts[i] < SHORTEST:
                continue
            rows = {n: data[n][start:end] for n in ("tokens", "hidden", "keys", "values")}
            yield Answer(shard.ids[i], shard.categories[i], prompts[i], **rows)
