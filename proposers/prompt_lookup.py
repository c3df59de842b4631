"""Prompt lookup with branches: continuations of the last n-gram found in the request's own context.

Prompt lookup decoding (Saxena, 2023) drafts one continuation; here the latest few distinct
continuations are merged into one tree. Works without a draft model; pays on code and on answers
that quote a long context.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import DraftContext, Proposer
from .growth import check_shape
from .lookup import Continuations, continuations
from .memory import AnswerMemory
from .tree import DraftTrees, select

TOKEN_PROBABILITY = 0.5
"""What a looked-up token is held for when branches compete for room in a tree."""
OPTIONS = {
    "tree_shape": [2, 2, 2, 2],
    "max_ngram": 4,
    "min_ngram": 2,
    "remembered_answers": 64,
    "remembered_tokens": 256,
    "share_answers": "same_salt",
}
SHARED = ("same_salt", "all")


class PromptLookupProposer(Proposer):
    """Branches found in the request's own tokens.

    ``tree_shape`` gives the branches (its first level), the depth (its length) and the budget (its
    sum); ``max_ngram`` and ``min_ngram`` the lengths of suffix that are looked for, longest first.

    ``remembered_answers`` of the server are searched as well, ``remembered_tokens`` of each. How
    fast an answer comes then tells something of them, so a request sees those of its own scope
    (``DraftContext.scopes``, of the salt that it names) and without one none. ``share_answers``
    ``all`` shows all requests all answers.
    """

    sharded = True

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

        answers, length = chosen["remembered_answers"], chosen["remembered_tokens"]
        if type(answers) is not int or type(length) is not int or answers < 0 or length < 1:
            raise ValueError(
                f"remembered_answers={answers!r}, remembered_tokens={length!r}: expected whole"
                " numbers, at least 0 and 1"
            )
        if chosen["share_answers"] not in SHARED:
            raise ValueError(
                f"share_answers={chosen['share_answers']!r}: allowed are {' and '.join(SHARED)}"
            )
        self.memory = AnswerMemory(answers, length) if answers else None
        self.shared_by_all = chosen["share_answers"] == "all"

    def start(self, context: DraftContext) -> None:
        if self.memory is not None:
            self.memory.start(context, self._scopes(context))

    def propose(self, context: DraftContext) -> DraftTrees:
        level = torch.arange(1, self.max_depth + 1, device=context.lengths.device)
        scores = (level * math.log(TOKEN_PROBABILITY)).expand(len(context.slots), -1)
        trees, keep = laid_out(self.look_up(context), scores)
        keep = keep & (trees.log_probs >= context.least)
        first = torch.cumsum(keep, dim=1) <= context.budgets.clamp(max=self.max_nodes)[:, None]
        width = min(self.max_nodes, trees.max_nodes) if context.static else None
        return select(trees, keep & first, width)

    def look_up(self, context: DraftContext) -> Continuations:
        """What followed the last tokens before."""
        others, scopes = None, self._scopes(context)
        if self.memory is not None and scopes is not None:
            self.memory.update(context)
            others = self.memory.others(scopes)
        return continuations(context, self.ngrams, self.branches, self.max_depth, others)

    def _scopes(self, context: DraftContext) -> Tensor | None:
        return torch.ones_like(context.slots) if self.shared_by_all else context.scopes


def laid_out(found: Continuations, log_probs: Tensor) -> tuple[DraftTrees, Tensor]:
    """All tokens of all continuations in breadth-first order, and which of them are nodes.

    A token whose path an earlier continuation has is none: the nodes below it hang on the other's.

    Args:
        log_probs: ``[B, D]`` of a path of each depth.
    """
    batch, count, depth = found.tokens.shape
    level = torch.arange(depth, device=found.tokens.device)
    known = level < found.sizes[:, :, None]
    if count == 1:
        parents, keep = (level - 1).expand(batch, 1, -1), known
    else:
        parents, keep = _shared(found.tokens, known, level)
    trees = DraftTrees(
        _by_level(found.tokens),
        _by_level(parents),
        (level + 1).repeat_interleave(count).expand(batch, -1),
        log_probs.repeat_interleave(count, dim=1),
        torch.full_like(found.agreed, count * depth),
        depth,
    )
    return trees, _by_level(keep)


def _shared(tokens: Tensor, known: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """``[B, C, D]`` parents of tokens in breadth-first order, and which tokens are nodes."""
    count = tokens.shape[1]
    same = tokens[:, :, None] == tokens[:, None]
    same = (same & known[:, None]).to(torch.int8).cumprod(3)
    holder = same.argmax(2)  # the first continuation that has this path
    own = torch.arange(count, device=tokens.device)[:, None]
    parents = F.pad(holder[:, :, :-1] + level[:-1] * count, (1, 0), value=-1)
    return parents, known & (holder == own)


def _by_level(part: Tensor) -> Tensor:
    """``[B, C, D]`` to ``[B, D * C]``."""
    return part.transpose(1, 2).flatten(1)
