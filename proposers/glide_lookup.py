"""GLIDE's tree and branches found in the request's own context, in one tree.

Long documents, code and quoted context repeat themselves where a small draft guesses; the lookup
costs a search over the tokens and no draft forward. Shared beginnings are verified once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .base import DraftContext, TargetModel, TargetShape
from .glide.proposer import GlideProposer
from .growth import MAX_NODES
from .prompt_lookup import PromptLookupProposer
from .tree import DraftTrees, merge, prune

LOOKUP_OPTIONS = {"lookup_shape": "tree_shape", "max_ngram": "max_ngram", "min_ngram": "min_ngram"}
DEFAULTS = {"lookup_shape": [1, 1, 1, 1, 1], "min_ngram": 2}


class GlideLookupProposer:
    """Both proposers' trees, merged.

    Options: those of ``glide``, and ``lookup_shape`` (branches, then depth, as ``tree_shape`` of
    ``prompt_lookup``), ``max_ngram`` and ``min_ngram``.
    """

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        chosen = {**DEFAULTS, **options}
        lookup = {LOOKUP_OPTIONS[k]: v for k, v in chosen.items() if k in LOOKUP_OPTIONS}
        rest = {k: v for k, v in chosen.items() if k not in LOOKUP_OPTIONS}
        self.glide = GlideProposer(draft_dir, rest)
        self.lookup = PromptLookupProposer(None, lookup)
        self.max_nodes = self.glide.max_nodes + self.lookup.max_nodes
        self.max_depth = max(self.glide.max_depth, self.lookup.max_depth)
        if self.max_nodes > MAX_NODES:
            raise ValueError(
                f"tree_shape and lookup_shape have {self.max_nodes} nodes together;"
                f" at most {MAX_NODES} are allowed, shrink one"
            )

    def check_target(self, shape: TargetShape) -> None:
        self.glide.check_target(shape)

    def bind(self, target: TargetModel) -> None:
        self.glide.bind(target)

    def forget(self, request_id: Hashable) -> None:
        self.glide.forget(request_id)

    def propose(self, context: DraftContext) -> DraftTrees:
        whole = torch.full_like(context.budgets, self.max_nodes)
        ample = replace(context, budgets=whole)
        trees = merge(self.glide.propose(ample), self.lookup.propose(ample))
        if bool((trees.sizes <= context.budgets).all()):
            return trees
        return prune(trees, context.budgets)
