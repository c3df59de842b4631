"""Drafting steps of given texts, and the trees of a first step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from proposers.base import DraftContext, Proposer
from proposers.tree import DraftTrees


def of_texts(
    texts: Sequence[Sequence[int]],
    budget: int = 64,
    new: Sequence[int] | None = None,
    junk: int = 0,
    static: bool = False,
    scopes: Sequence[int] | None = None,
    slots: Sequence[int] | None = None,
) -> DraftContext:
    """One request a text. Lines lie in another order than requests, ``junk`` behind the texts.

    Args:
        new: tokens that came since the last step (1 each).
        slots: of the requests (counted).
    """
    count, new = len(texts), new or [1] * len(texts)
    rows = torch.arange(count).flip(0)
    lines = torch.full((count, max(map(len, texts)) + 3), junk, dtype=torch.int32)
    for row, text in zip(rows, texts, strict=True):
        lines[row, : len(text)] = torch.tensor(list(text), dtype=torch.int32)
    return DraftContext(
        slots=torch.arange(count) if slots is None else torch.tensor(slots),
        token_ids=lines,
        rows=rows,
        lengths=torch.tensor([len(text) for text in texts]),
        num_new=torch.tensor(new),
        most_new=max(new),
        hidden_states=None,
        target_kv=None,  # type: ignore[arg-type]
        budgets=torch.full((count,), budget),
        static=static,
        scopes=None if scopes is None else torch.tensor(scopes),
    )


def texts_of(context: DraftContext) -> list[list[int]]:
    """Each request's known tokens."""
    pairs = zip(context.token_ids[context.rows].tolist(), context.lengths.tolist(), strict=True)
    return [line[:length] for line, length in pairs]


def first_trees(proposer: Proposer, context: DraftContext) -> DraftTrees:
    """What is drafted for requests that are new."""
    proposer.start(context)
    return proposer.propose(context)


def nodes(trees: DraftTrees) -> list[list[tuple[int, int, int, float]]]:
    """Token, parent, depth and score of each tree's nodes, without the padding."""
    assert bool((trees.depths <= trees.levels)[trees.valid()].all())
    parts = (trees.tokens, trees.parents, trees.depths, trees.log_probs)
    rows = zip(*(part.tolist() for part in parts), trees.sizes.tolist(), strict=True)
    return [list(zip(*columns, strict=True))[:size] for *columns, size in rows]
