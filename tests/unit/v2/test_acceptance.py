"""Trees between two steps of Model Runner V2, and orders of rows."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("vllm", reason="needs the engine: make setup")

from longspec_plugin.vllm.v2.acceptance import path_first
from longspec_plugin.vllm.v2.topology import TreeTopology
from proposers.tree import ancestor_mask

from .conftest import TREES


def test_what_was_drafted_is_kept_by_slot(topology: TreeTopology) -> None:
    assert topology.sizes.tolist() == [0, 2, 0, 4, 0]
    assert topology.parents[3].tolist() == TREES.parents[0].tolist()
    assert torch.equal(topology.mask[3].bool(), ancestor_mask(TREES)[0])
    assert torch.equal(topology.mask[1, :3, :3].bool(), ancestor_mask(TREES)[1, :3, :3])


def test_rows_lie_no_deeper_than_they_stand(topology: TreeTopology) -> None:
    slots, places = torch.tensor([3] * 5 + [1] * 3), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    assert topology.extra_depth(slots, places).tolist() == [0, 0, -1, -1, -2, 0, 0, 0]


def test_each_requests_rows_begin_with_its_path() -> None:
    rows = torch.tensor([[0, 2, 4], [0, -1, -1], [0, 1, -1]])
    order = path_first(rows, torch.tensor([0, 5, 6, 8]), 8)
    assert order.tolist()[:3] == [0, 2, 4]
    assert order.tolist()[5:] == [5, 6, 7]
