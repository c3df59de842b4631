"""A GLIDE proposer that breaks parts of verification in SGLang, for negative controls."""

from __future__ import annotations

import torch
from torch import Tensor

from longspec_plugin.sglang import rules, verify_input
from longspec_plugin.sglang.device_cpu import CPUDevice
from proposers.base import DraftContext
from proposers.glide.proposer import GlideProposer
from proposers.tree import DraftTrees, ancestor_mask, row_positions

from ..breaking import all_before, wanted

MOVE = CPUDevice.move
RULES = {"penalties": rules.Penalties, "grammars": rules.Grammars}
KEPT = {name: kind.lengthen for name, kind in RULES.items()}


class BreakableGlide(GlideProposer):
    """GLIDE, and whatever is broken at the moment."""

    def propose(self, context: DraftContext) -> DraftTrees:
        switch(wanted())
        return super().propose(context)


def switch(part: str) -> None:
    """Break one part, mend the others."""
    verify_input.ancestor_mask = all_before if part == "mask" else ancestor_mask
    verify_input.row_positions = row_by_row if part == "positions" else row_positions
    CPUDevice.move = (lambda *args: None) if part == "kv_move" else MOVE  # type: ignore[method-assign,assignment]
    for name, kind in RULES.items():
        kind.lengthen = (lambda *args: None) if part == name else KEPT[name]  # type: ignore[method-assign]


def row_by_row(trees: DraftTrees, roots: Tensor) -> Tensor:
    """Positions by row instead of by depth."""
    return roots[:, None] + torch.arange(trees.max_nodes + 1)
