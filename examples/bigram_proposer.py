"""A proposer of one's own, in a file of one's own.

It drafts the tokens that most often followed the last token so far in the same text:

    PYTHONPATH=examples vllm serve MODEL --speculative-config \
      '{"method": "longspec", "proposer": "bigram_proposer:BigramProposer", "branches": 3}'

Whatever a proposer drafts, the output stays the target's own; only the speed depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from proposers.base import HostProposer


class BigramProposer(HostProposer):
    """``branches`` children of the root, each with its own likeliest follower."""

    max_depth = 2

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        unknown = sorted(set(options) - {"branches"})
        if unknown:
            raise ValueError(f"{unknown[0]} is unknown to BigramProposer; allowed: branches")
        self.branches = int(options.get("branches", 2))
        self.max_nodes = 2 * self.branches

    def draft(self, tokens: np.ndarray, budget: int) -> tuple[list[int], list[int]]:
        first = followers(tokens, int(tokens[-1]), self.branches)
        second = [
            (follower, node)
            for node, token in enumerate(first)
            for follower in followers(tokens, token, 1)
        ]
        drafted = [*((token, -1) for token in first), *second][:budget]
        return [token for token, _ in drafted], [parent for _, parent in drafted]


def followers(tokens: np.ndarray, token: int, count: int) -> list[int]:
    """The ``count`` tokens that most often came after ``token``."""
    after = tokens[1:][tokens[:-1] == token]
    return [follower for follower, _ in Counter(after.tolist()).most_common(count)]
