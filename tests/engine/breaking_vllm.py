"""A GLIDE proposer that breaks parts of Model Runner V1's trees, for negative controls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from torch import Tensor
from vllm.v1.worker import gpu_model_runner as stock

from longspec_plugin.vllm.v1 import device, runner, sampling
from proposers.base import DraftContext
from proposers.glide_lookup import GlideLookupProposer
from proposers.tree import DraftTrees, ancestor_mask
from proposers.visits import Visits

from .breaking import all_before, wanted

MOVE = runner.TreeRunner._move_accepted
PLACE = runner.TreeRunner._place_tree_positions
LENGTHEN = sampling._Draws.lengthen
CONSTRAIN = stock.apply_grammar_bitmask


class BreakableLookup(GlideLookupProposer):
    """GLIDE with lookups, and whatever is broken at the moment."""

    def propose(self, context: DraftContext) -> DraftTrees:
        switch(wanted())
        return super().propose(context)


def switch(part: str) -> None:
    """Break one part, mend the others."""
    kind, nothing = runner.TreeRunner, lambda *args: None
    device.ancestor_mask = all_before if part == "mask" else ancestor_mask
    kind._move_accepted = nothing if part == "kv_move" else MOVE  # type: ignore[method-assign]
    kind._place_tree_positions = nothing if part == "positions" else PLACE  # type: ignore[method-assign]
    sampling.Visits = rows_before if part == "head" else Visits  # type: ignore[misc, assignment]
    sampling._Draws.lengthen = nothing if part == "penalties" else LENGTHEN  # type: ignore[method-assign]
    stock.apply_grammar_bitmask = at_roots if part == "grammars" else CONSTRAIN


def rows_before(
    trees: DraftTrees, first_rows: Tensor, compute: Callable[[Tensor], Tensor]
) -> Visits:
    """Computes the logits of the row before each one that is asked for."""
    return Visits(trees, first_rows, lambda rows: compute((rows - 1).clamp(min=0)))


def at_roots(scheduled: Any, grammar: Any, batch: Any, logits: Tensor) -> None:
    """Grammars hold at roots only, not along what was drafted."""
    drafts, before = scheduled.scheduled_spec_decode_tokens, logits.clone()
    rows = accumulate((1 + len(drafts.get(request, ())) for request in batch.req_ids), initial=0)
    roots = list(rows)[:-1]
    CONSTRAIN(scheduled, grammar, batch, logits)
    before[roots] = logits[roots]
    logits.copy_(before)
