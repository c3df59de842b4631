"""Which tree each request was given, between the step that drafts it and the one that verifies."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from proposers.tree import DraftTrees, from_parents


class TreeBook:
    """Trees of the last drafting step, by request.

    An engine schedules draft tokens as plain lists, which it may drop or cut short. What it
    scheduled is a tree again only if it is a prefix of the nodes that were proposed; anything else
    is verified as a chain, which is right for any list of tokens.
    """

    def __init__(self) -> None:
        self._trees: DraftTrees | None = None
        self._row_of: dict[Hashable, int] = {}
        self._tokens: list[list[int]] = []

    def remember(self, request_ids: Sequence[Hashable], trees: DraftTrees) -> list[list[int]]:
        """Keep a step's trees; return their tokens as lists, for the engine to schedule."""
        self._trees = trees
        self._row_of = {request: row for row, request in enumerate(request_ids)}
        self._tokens = trees.token_lists()
        return self._tokens

    def recall(self, scheduled: Sequence[tuple[Hashable, Sequence[int]]]) -> DraftTrees:
        """The trees behind ``scheduled`` token lists, in this order; no tokens: an empty tree."""
        rows = [self._row_of.get(request, -1) for request, _ in scheduled]
        known = all(
            not tokens or (row >= 0 and self._tokens[row][: len(tokens)] == list(tokens))
            for row, (_, tokens) in zip(rows, scheduled, strict=True)
        )
        if not known or self._trees is None:
            return self._rebuilt(rows, scheduled)
        sizes = torch.tensor([len(tokens) for _, tokens in scheduled])
        return self._trees.rows([max(row, 0) for row in rows]).truncated(sizes)

    def _rebuilt(
        self, rows: Sequence[int], scheduled: Sequence[tuple[Hashable, Sequence[int]]]
    ) -> DraftTrees:
        tokens = [list(tokens) for _, tokens in scheduled]
        parents = [
            self._trees.parents[row, : len(line)].tolist()
            if self._trees is not None and row >= 0 and self._tokens[row][: len(line)] == line
            else list(range(-1, len(line) - 1))
            for row, line in zip(rows, tokens, strict=True)
        ]
        return from_parents(tokens, parents)
