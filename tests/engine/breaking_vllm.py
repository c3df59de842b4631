"""A GLIDE proposer that breaks parts of Model Runner V1's trees, for negative controls."""

from __future__ import annotations

from longspec_plugin.vllm.v1 import runner
from proposers.base import DraftContext
from proposers.glide_lookup import GlideLookupProposer
from proposers.tree import DraftTrees, ancestor_mask

from .breaking import all_before, wanted

MOVE = runner.TreeRunner._move_accepted
PLACE = runner.TreeRunner._place_tree_positions


class BreakableLookup(GlideLookupProposer):
    """GLIDE with lookups, and whatever is broken at the moment."""

    def propose(self, context: DraftContext) -> DraftTrees:
        switch(wanted())
        return super().propose(context)


def switch(part: str) -> None:
    """Break one part, mend the others."""
    kind, nothing = runner.TreeRunner, lambda *args: None
    runner.ancestor_mask = all_before if part == "mask" else ancestor_mask
    kind._move_accepted = nothing if part == "kv_move" else MOVE  # type: ignore[method-assign]
    kind._place_tree_positions = nothing if part == "positions" else PLACE  # type: ignore[method-assign]
