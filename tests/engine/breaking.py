"""Switching parts of verification off in a server that runs, for negative controls.

Servers run in other processes, so the switch is a file: ``LONGSPEC_BREAK`` names it, and it says
``mask``, ``positions``, ``kv_move`` or nothing. A proposer of the tests reads it at every step.
"""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from proposers.tree import DraftTrees, ancestor_mask

PARTS = ("kv_move", "mask", "positions")


def wanted() -> str:
    """The part that is to be broken now."""
    return Path(os.environ["LONGSPEC_BREAK"]).read_text().strip()


def all_before(trees: DraftTrees) -> Tensor:
    """Each row sees all rows before it: a causal mask instead of the tree's."""
    return ancestor_mask(trees).fill_(True).tril()
