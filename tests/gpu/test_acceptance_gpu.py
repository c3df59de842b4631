"""The walk on a GPU: the compiled kernel's checks are those that its interpreter passes on a CPU.

    python -m pytest tests/gpu

needs an NVIDIA GPU, a CUDA build of PyTorch and Triton, and is skipped without them.
"""

from __future__ import annotations

import pytest
import torch

from proposers import kernels
from proposers.acceptance_triton import greedy_walk_triton
from tests.unit.proposers import walk_checks

if not kernels.available():
    pytest.skip("needs an NVIDIA GPU, PyTorch for CUDA and Triton", allow_module_level=True)

pytestmark = pytest.mark.gpu
globals().update({k: v for k, v in vars(walk_checks).items() if k.startswith("test_")})


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda"


def test_captured_in_a_graph() -> None:
    """What changes from step to step is read at the replay."""
    step = walk_checks.random_step(8, 16, 5, 0).on("cuda")
    given = {**vars(step), "drawn": step.drawn.clone()}
    greedy_walk_triton(**given)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        walk = greedy_walk_triton(**given)
    for drawn in (step.drawn, step.drawn.roll(1)):
        given["drawn"].copy_(drawn)
        graph.replay()
        assert walk_checks.same(walk, greedy_walk_triton(**given))
