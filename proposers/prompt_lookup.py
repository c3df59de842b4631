"""Prompt lookup with branches: continuations of the last n-gram found in the request's own context.

Prompt lookup decoding (Saxena, 2023) drafts one continuation; here the latest few distinct
continuations are merged into one tree. Works without a draft model; pays on code and on answers
that quote a long context.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .base import DraftContext, TargetModel, TargetShape
from .growth import check_shape
from .tree import DraftTrees, from_parents

TOKEN_PROBABILITY = 0.5
"""What a looked-up token is held for when branches compete for room in a tree."""
OPTIONS = {"tree_shape": [2, 2, 2, 2], "max_ngram": 4, "min_ngram": 2}


class PromptLookupProposer:
    """Branches found in the request's own tokens.

    ``tree_shape`` gives the branches (its first level), the depth (its length) and the budget (its
    sum); ``max_ngram`` and ``min_ngram`` the lengths of suffix that are looked for, longest first.
    """

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        chosen = {**OPTIONS, **options}
        if unknown := sorted(set(chosen) - set(OPTIONS)):
            raise ValueError(
                f"{unknown[0]}={chosen[unknown[0]]!r} is unknown to proposer 'prompt_lookup';"
                f" allowed: {', '.join(OPTIONS)}"
            )
        shape = check_shape(chosen["tree_shape"])
        self.branches, self.max_depth, self.max_nodes = shape[0], len(shape), sum(shape)
        self.ngrams = range(chosen["max_ngram"], chosen["min_ngram"] - 1, -1)
        if not self.ngrams or self.ngrams[-1] < 1:
            raise ValueError(
                f"min_ngram={chosen['min_ngram']!r}, max_ngram={chosen['max_ngram']!r}:"
                " expected 1 <= min_ngram <= max_ngram"
            )

    def check_target(self, shape: TargetShape) -> None:
        """Every target will do."""

    def bind(self, target: TargetModel) -> None:
        """Nothing of the target is needed."""

    def forget(self, request_id: Hashable) -> None:
        """Nothing is kept."""

    def propose(self, context: DraftContext) -> DraftTrees:
        budgets = context.budgets.tolist()
        grown = [
            _merge(self._continuations(tokens), min(self.max_nodes, int(budget)))
            for tokens, budget in zip(context.token_ids, budgets, strict=True)
        ]
        tokens, parents = [one[0] for one in grown], [one[1] for one in grown]
        return from_parents(tokens, parents, [_scores(row) for row in parents])

    def _continuations(self, tokens: np.ndarray) -> list[list[int]]:
        """Up to ``branches`` distinct continuations, longest match first, then latest."""
        found: list[list[int]] = []
        for n in self.ngrams:
            for end in match_ends(tokens, n)[::-1]:
                continuation = tokens[end : end + self.max_depth].tolist()
                if not any(known[: len(continuation)] == continuation for known in found):
                    found.append(continuation)
                if len(found) == self.branches:
                    return found
        return found


def match_ends(tokens: np.ndarray, n: int) -> np.ndarray:
    """Ends of earlier occurrences of the last ``n`` tokens, ascending (1-d int array)."""
    if len(tokens) <= n:
        return np.empty(0, dtype=np.int64)
    hit = tokens[n - 1 : -1] == tokens[-1]
    for back in range(2, n + 1):
        hit &= tokens[n - back : len(tokens) - back] == tokens[-back]
    return np.flatnonzero(hit) + n


def _scores(parents: list[int]) -> list[float]:
    """Cumulative log-probability, at :data:`TOKEN_PROBABILITY` a token."""
    scores: list[float] = []
    for parent in parents:
        above = scores[parent] if parent >= 0 else 0.0
        scores.append(above + math.log(TOKEN_PROBABILITY))
    return scores


def _merge(continuations: list[list[int]], budget: int) -> tuple[list[int], list[int]]:
    """Merge continuations into one breadth-first tree of at most ``budget`` nodes."""
    tokens: list[int] = []
    parents: list[int] = []
    node_of: dict[tuple[int, ...], int] = {(): -1}
    for depth in range(max(map(len, continuations), default=0)):
        for path in (tuple(c[: depth + 1]) for c in continuations if len(c) > depth):
            if path in node_of or path[:-1] not in node_of or len(tokens) == budget:
                continue
            node_of[path] = len(tokens)
            tokens.append(path[-1])
            parents.append(node_of[path[:-1]])
    return tokens, parents
