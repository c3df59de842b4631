"""A GLIDE proposer that switches parts of the method off, for negative controls.

The server runs in other processes, so the switch is a file: ``LONGSPEC_BREAK`` names it, and it
says ``mask``, ``positions``, ``kv_move`` or nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from longspec_plugin.sglang import verify_input
from longspec_plugin.sglang.device_cpu import CPUDevice
from proposers.base import DraftContext
from proposers.glide.proposer import GlideProposer
from proposers.tree import DraftTrees, ancestor_mask, row_positions

MOVE = CPUDevice.move
PARTS = ("kv_move", "mask", "positions")


class BreakableGlide(GlideProposer):
    """GLIDE, and whatever is broken at the moment."""

    def propose(self, context: DraftContext) -> DraftTrees:
        switch(Path(os.environ["LONGSPEC_BREAK"]).read_text().strip())
        return super().propose(context)


def switch(part: str) -> None:
    """Break one part, mend the others."""
    verify_input.ancestor_mask = all_before if part == "mask" else ancestor_mask
    verify_input.row_positions = row_by_row if part == "positions" else row_positions
    CPUDevice.move = (lambda *args: None) if part == "kv_move" else MOVE  # type: ignore[method-assign,assignment]


def all_before(trees: DraftTrees) -> Tensor:
    """Each row sees all rows before it: a causal mask instead of the tree's."""
    return ancestor_mask(trees).fill_(True).tril()


def row_by_row(trees: DraftTrees, roots: Tensor) -> Tensor:
    """Positions by row instead of by depth."""
    return roots[:, None] + torch.arange(trees.max_nodes + 1)
