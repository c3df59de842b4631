"""GLIDE's tree and branches found in the request's own context, in one tree.

Long documents, code and quoted context repeat themselves where a small draft guesses; the lookup
costs a search over the tokens and no draft forward. Shared beginnings are verified once.

Where the nodes are limited, both kinds compete by path probability. After ``n`` tokens of agreement
the next is trusted with ``n / (n + 2)``: two doubts, and as many trials as tokens. Each token makes
the agreement one longer, so a path of depth ``d`` has ``n (n + 1) / ((n + d) (n + d + 1))``. On 116
greedy answers of SmolLM2-135M the next token held with 0.25, 0.51, 0.65, 0.68, 0.76 and 0.80 for
n = 1 to 6, and with 0.93 and more from 9 on. Where a long agreement says enough, the draft model is
not asked (:data:`SURE`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .base import DraftContext, Proposer, TargetModel, TargetShape
from .glide.proposer import GlideProposer
from .growth import MAX_NODES
from .joining import join
from .lookup import Continuations
from .prompt_lookup import OPTIONS, PromptLookupProposer, laid_out
from .tree import DraftTrees, prune

LOOKUP_OPTIONS = {"lookup_shape": "tree_shape"} | {
    name: name for name in OPTIONS if name != "tree_shape"
}
DEFAULTS = {"lookup_shape": [1, 1, 1, 1, 1], "max_ngram": 16}
SURE = 8
"""Tokens of agreement from which a lookup as deep as the draft's trees is drafted alone. Simulated
on the 116 answers, at one request: AL as before, and a draft forward less in 5 to 30% of steps."""


class GlideLookupProposer(Proposer):
    """Both proposers' trees, merged.

    Options: those of ``glide``, and ``lookup_shape`` (branches, then depth, as ``tree_shape`` of
    ``prompt_lookup``) and the others of ``prompt_lookup``. ``nodes`` limits the merged tree, and
    ``min_probability`` holds for all its nodes.
    """

    sharded = True
    cheaper = True

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        chosen = {**DEFAULTS, **options}
        lookup = {LOOKUP_OPTIONS[k]: v for k, v in chosen.items() if k in LOOKUP_OPTIONS}
        rest = {k: v for k, v in chosen.items() if k not in LOOKUP_OPTIONS}
        self.glide = GlideProposer(draft_dir, rest)
        self.lookup = PromptLookupProposer(None, lookup)
        both = self.glide.max_nodes + self.lookup.max_nodes
        self.max_nodes = min(both, self.glide.nodes or both)
        self.max_depth = min(max(self.glide.max_depth, self.lookup.max_depth), self.max_nodes)
        if self.max_nodes > MAX_NODES:
            raise ValueError(
                f"tree_shape and lookup_shape have {self.max_nodes} nodes together;"
                f" at most {MAX_NODES} are allowed, shrink one or say how many as nodes"
            )
        self._missed: dict[int, int] = {}
        """By slot, the last tokens that the draft has not seen, as steps were cheap; 0: none."""

    def check_target(self, shape: TargetShape) -> None:
        self.glide.check_target(shape)

    def bind(self, target: TargetModel, requests: int = 1) -> None:
        self.glide.bind(target, requests)

    def held(self) -> int:
        return self.glide.held()

    def start(self, context: DraftContext) -> None:
        self.lookup.start(context)
        if context.cheap:
            self._missed.update(dict.fromkeys(context.slots.tolist(), 0))
            return
        self.glide.start(context)
        for slot in context.slots.tolist() if self._missed else ():
            self._missed.pop(slot, None)

    def propose(self, context: DraftContext) -> DraftTrees:
        found = self.lookup.look_up(context)
        if context.cheap or self._says_enough(found, context):
            return self._found(found, context)
        context = self._caught_up(context)
        if not context.static and not bool(found.sizes.any()):
            return self.glide.propose(context)
        grown, (trusted, real) = self.glide.grown(context), self._trusted(found)
        both = join(grown, trusted, self.glide.worthy(grown, context), real).raised()
        return self._pruned(both, context)

    def _says_enough(self, found: Continuations, context: DraftContext) -> bool:
        """Of all requests: where one is drafted, the others cost little more."""
        if context.static:
            return False
        deep = found.sizes[:, 0] >= min(self.glide.max_depth, self.lookup.max_depth)
        return bool((deep & (found.agreed >= SURE)).all())

    def _found(self, found: Continuations, context: DraftContext) -> DraftTrees:
        """Lookups alone; the draft will catch up."""
        for slot, new in zip(context.slots.tolist(), context.num_new.tolist(), strict=True):
            if self._missed.get(slot) != 0:
                self._missed[slot] = self._missed.get(slot, 0) + new
        trees, real = self._trusted(found)
        likely = replace(trees, log_probs=trees.log_probs.masked_fill(~real, float("-inf")))
        return self._pruned(likely, context)

    def _pruned(self, trees: DraftTrees, context: DraftContext) -> DraftTrees:
        budgets = context.budgets.clamp(max=self.max_nodes)
        width = self.max_nodes if context.static else None
        return prune(trees, budgets, self.glide.least(context), width)

    def _caught_up(self, context: DraftContext) -> DraftContext:
        """Requests that the draft never saw start; of others it is told all that it missed."""
        if not self._missed:
            return context
        slots = context.slots.tolist()
        missed = [self._missed.pop(slot, None) for slot in slots]
        if fresh := [row for row, count in enumerate(missed) if count == 0]:
            self.glide.start(context.part(fresh))
        counts = [
            new + (count or 0) for new, count in zip(context.num_new.tolist(), missed, strict=True)
        ]
        return replace(context, most_new=max(context.most_new, *counts))

    def _trusted(self, found: Continuations) -> tuple[DraftTrees, Tensor]:
        """As :func:`laid_out`, with the scores of this module's docstring."""
        level = torch.arange(1, self.lookup.max_depth + 1, device=found.agreed.device)
        agreed = found.agreed[:, None]
        known = agreed + level
        return laid_out(found, (agreed * (agreed + 1) / (known * (known + 1))).log())
