"""Trees that two requests were given, as they are kept between two steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from proposers.tree import from_parents

CPU = torch.device("cpu")
TREES = from_parents([[5, 6, 7, 8], [9, 4]], [[-1, -1, 0, 1], [-1, 0]])


@pytest.fixture
def topology() -> Any:
    """A ``TreeTopology`` of five slots; the first tree is kept in slot 3, the second in 1."""
    from longspec_plugin.vllm.v2.topology import TreeTopology

    made = TreeTopology(slots=5, nodes=4, levels=2, device=CPU)
    made.write(torch.tensor([3, 1]), TREES)
    return made
