"""A proposer that knows the answers: decoys first, then the right path, all of it accepted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from proposers.base import HostProposer


class Oracle(HostProposer):
    """Levels of two nodes, a wrong one and its right sibling, down to ``depth``.

    Args:
        texts: ``[B, P + T]`` prompts and answers, ``lengths`` tokens of each being the prompt.
    """

    def __init__(self, texts: Sequence[Sequence[int]], depth: int) -> None:
        self.texts = [list(text) for text in texts]
        self.max_nodes, self.max_depth = 2 * depth, depth

    def draft(self, tokens: np.ndarray, budget: int) -> tuple[list[int], list[int]]:
        known = tokens.tolist()
        text = next(text for text in self.texts if text[: len(known)] == known)
        right = text[len(known) : len(known) + self.max_depth]
        nodes = [token for next_one in right for token in (next_one ^ 1, next_one)]
        parents = [2 * level - 1 for level in range(len(right)) for _ in range(2)]
        return nodes, parents


def joined(ids: Tensor, lengths: Sequence[int], answers: Tensor) -> list[list[int]]:
    """Prompts and their answers as lists."""
    both = zip(ids.tolist(), lengths, answers.tolist(), strict=True)
    return [prompt[:length] + answer for prompt, length, answer in both]


def everything_accepted(depth: int, new: int) -> tuple[int, int]:
    """``(count, num)`` of a row of ``new`` tokens: full paths, and a last one cut at the limit."""
    steps = -(-(new - 1) // (depth + 1))
    return new - 1 - steps, steps
