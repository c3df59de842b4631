"""The kernels of a step on a GPU, captured in a graph and played again for another step.

    python -m pytest tests/gpu

needs an NVIDIA GPU, a CUDA build of PyTorch and Triton, and is skipped without them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from proposers import kernels
from proposers.attention.kv_move_triton import KVMover
from proposers.attention.paged_triton import paged_attention
from proposers.attention.tree_triton import ragged_tree_attention_triton
from tests.unit.attention import case_checks, move_checks
from tests.unit.attention.paged_checks import LONG, TREES
from tests.unit.attention.steps import (
    FENCE,
    Step,
    answer,
    flash_prefix,
    keys_dense,
    random_step,
    refill,
)

if not kernels.available():
    pytest.skip("needs an NVIDIA GPU, PyTorch for CUDA and Triton", allow_module_level=True)

pytestmark = pytest.mark.gpu
globals().update({k: v for k, v in vars(case_checks).items() if k.startswith("test_")})


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda"


def capture(region: Callable[[], None]) -> torch.cuda.CUDAGraph:
    region()  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        region()
    return graph


def steps() -> tuple[Step, Step]:
    """Two of one size: the second has other trees, slots and pages, and other prefixes in turn."""
    first = random_step(TREES, LONG, 2, 4, 64, device="cuda", seed=0)
    return first, random_step(TREES[::-1], LONG[::-1], 2, 4, 64, device="cuda", seed=1)


@pytest.mark.parametrize("splits", [1, 3])
def test_paged_attention_in_a_graph(splits: int) -> None:
    step, other = steps()
    out = torch.empty_like(step.query)
    parts = (step.query, step.keys, step.values, out, step.rows, step.scale, splits)
    graph = capture(lambda: paged_attention(*parts))
    for now in (step, other):
        refill(step, now)
        out.fill_(FENCE)
        graph.replay()
        torch.testing.assert_close(out.double().cpu(), answer(now), atol=2e-6, rtol=1e-5)


def test_ragged_tree_attention_in_a_graph() -> None:
    step, other = steps()
    out, prefix = torch.empty_like(step.query), flash_prefix(step)
    parts = (step.query, step.step_keys, step.step_values, out, step.rows, step.scale, prefix)
    graph = capture(lambda: ragged_tree_attention_triton(*parts))
    for now in (step, other):
        for mine, its in zip(prefix, flash_prefix(now), strict=True):
            mine.copy_(its)
        refill(step, now)
        out.fill_(FENCE)
        graph.replay()
        torch.testing.assert_close(out.double().cpu(), answer(now), atol=2e-6, rtol=1e-5)


def test_the_move_in_a_graph() -> None:
    caches = move_checks.caches_of("cuda", keys_dense, torch.bfloat16, 128)
    step = move_checks.step_of("cuda", move_checks.PATHS["overlap"])
    mover = KVMover(caches)
    graph = capture(lambda: mover.move(*step))
    for path in ([0, 1, 2, 3, 4], [0, 4, 8, -1, -1]):
        step[0][1] = torch.tensor(path)
        wanted: list[Tensor] = [move_checks.one_by_one(keys, step) for keys, _ in caches]
        graph.replay()
        for (keys, _), after in zip(caches, wanted, strict=True):
            assert torch.equal(keys.cpu(), after)
