"""Drafting by kernels on a GPU: the checks that Triton's interpreter passes, and a real graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from proposers import kernels
from tests.unit.glide import fused_checks
from tests.unit.glide.fused_cases import (
    OPTIONS,
    bound,
    buffered,
    copied,
    folder_of,
    overwrite,
    proposed,
    same,
    steps,
)
from tests.unit.proposers import growth_checks, lookup_checks, topology_checks

if not kernels.available():
    pytest.skip("needs an NVIDIA GPU, PyTorch for CUDA and Triton", allow_module_level=True)

pytestmark = pytest.mark.gpu
for checks in (fused_checks, growth_checks, lookup_checks, topology_checks):
    globals().update({name: part for name, part in vars(checks).items() if name[:5] == "test_"})


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda"


@torch.inference_mode()
def test_captured_in_a_graph(tmp_path: Path) -> None:
    """Captured for some slots and lengths, replayed for others."""
    proposer = bound(folder_of(tmp_path, "two blocks"), OPTIONS[0], "cuda")
    first, *_, last = (replace(s, target_kv=NoKV()) for s in steps(proposer, "cuda", static=True))
    buffers, graph = buffered(first), torch.cuda.CUDAGraph()
    proposer.start(buffers)
    proposed(proposer, buffers)  # compiles
    with torch.cuda.graph(graph):
        trees = proposed(proposer, buffers)
    graph.replay()
    before = copied(trees)
    overwrite(buffers, last)
    proposer.start(buffers)
    graph.replay()
    expected = proposed(proposer, replace(last, most_new=buffers.most_new))
    assert same(trees, expected)
    assert not same(before, expected)


class NoKV:
    """Nothing to read of a target whose KV is no tensor."""

    def attend(self, query: torch.Tensor) -> torch.Tensor:
        return torch.tanh(query)
