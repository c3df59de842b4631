"""A proposer of one's own, in a file of one's own.

It drafts the tokens that most often followed the last token so far in the same text:

    PYTHONPATH=examples vllm serve MODEL --speculative-config \
      '{"method": "longspec", "proposer": "bigram_proposer:BigramProposer", "branches": 3}'

Whatever a proposer drafts, the output stays the target's own; only the speed depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from proposers.base import DraftContext, TargetModel, TargetShape
from proposers.tree import DraftTrees, from_parents


class BigramProposer:
    """``branches`` children of the root, each with its own likeliest follower."""

    max_depth = 2

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        unknown = sorted(set(options) - {"branches"})
        if unknown:
            raise ValueError(f"{unknown[0]} is unknown to BigramProposer; allowed: branches")
        self.branches = int(options.get("branches", 2))
        self.max_nodes = 2 * self.branches

    def check_target(self, shape: TargetShape) -> None:
        """Every target will do."""

    def bind(self, target: TargetModel) -> None:
        """Nothing of the target is needed."""

    def forget(self, request_id: Hashable) -> None:
        """Nothing is kept."""

    def propose(self, context: DraftContext) -> DraftTrees:
        drafts = [
            self._draft(tokens)[: int(budget)]
            for tokens, budget in zip(context.token_ids, context.budgets, strict=True)
        ]
        tokens = [[token for token, _ in draft] for draft in drafts]
        parents = [[parent for _, parent in draft] for draft in drafts]
        return from_parents(tokens, parents)

    def _draft(self, tokens: np.ndarray) -> list[tuple[int, int]]:
        """(token, parent) pairs, parents first."""
        first = [(token, -1) for token in followers(tokens, int(tokens[-1]), self.branches)]
        second = [
            (token, node)
            for node, (parent, _) in enumerate(first)
            for token in followers(tokens, parent, 1)
        ]
        return first + second


def followers(tokens: np.ndarray, token: int, count: int) -> list[int]:
    """The ``count`` tokens that most often came after ``token``."""
    after = tokens[1:][tokens[:-1] == token]
    return [follower for follower, _ in Counter(after.tolist()).most_common(count)]
