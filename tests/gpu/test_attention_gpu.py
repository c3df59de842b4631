"""Attention of a tree on a GPU: the compiled kernel, and the whole of it behind a 4k prefix.

    python -m pytest tests/gpu

needs an NVIDIA GPU, a CUDA build of PyTorch and Triton, and is skipped without them. The kernel's
checks are those that its interpreter passes on a CPU (``tests/unit/attention``).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from proposers.attention import hybrid_attention, key_bias, tree_triton
from proposers.tree import ancestor_mask, from_parents
from tests.unit.attention import kernel_checks, move_checks, paged_checks, ragged_checks
from tests.unit.attention.cases import TOLERANCE, Case, random_case, softmax

if not tree_triton.available():
    pytest.skip("needs an NVIDIA GPU, PyTorch for CUDA and Triton", allow_module_level=True)

pytestmark = pytest.mark.gpu
globals().update(  # the same checks, here with the fixture below
    {
        name: check
        for checks in (kernel_checks, move_checks, paged_checks, ragged_checks)
        for name, check in vars(checks).items()
        if name.startswith("test_")
    }
)

DTYPES = kernel_checks.DTYPES
PREFIX = 4096
TREE = [4, 16, 16, 16, 16]
LLAMA_8B = {"kv_heads": 8, "groups": 4, "dim": 128}
"""Heads as in Llama-3-8B."""


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda"


def tree_case(batch: int, dtype: torch.dtype, prefix: int = PREFIX) -> Case:
    """A verified tree: the mask is of ancestors, as the target sees it."""
    generator = torch.Generator().manual_seed(1)
    parents, level = [-1] * TREE[0], list(range(TREE[0]))
    for size in TREE[1:]:
        picks = torch.randint(len(level), (size,), generator=generator).sort().values
        level, above = list(range(len(parents), len(parents) + size)), level
        parents += [above[pick] for pick in picks.tolist()]
    mask = ancestor_mask(from_parents([[0] * len(parents)] * batch, [parents] * batch)).cuda()
    rows = mask.shape[1]
    case = random_case(
        batch, LLAMA_8B["kv_heads"], LLAMA_8B["groups"], rows, rows, LLAMA_8B["dim"],
        prefix=prefix, dtype=dtype, device="cuda",
    )  # fmt: skip
    return replace(case, mask=mask)


def hybrid(case: Case, bias: torch.Tensor | None = None) -> torch.Tensor:
    parts = (case.query, case.prefix_keys, case.prefix_values, case.keys, case.values, case.mask)
    return hybrid_attention(*parts, bias=bias)


@DTYPES
@pytest.mark.parametrize("prefix", [PREFIX, PREFIX + 5])
def test_hybrid_is_one_softmax(dtype: torch.dtype, prefix: int) -> None:
    case = tree_case(2, dtype, prefix)
    out = hybrid(case)
    assert out.dtype == dtype
    bound = TOLERANCE[dtype]
    torch.testing.assert_close(out.double(), case.merged_answer()[0], rtol=bound, atol=bound)


@DTYPES
def test_requests_of_different_lengths(dtype: torch.dtype) -> None:
    case, lengths = tree_case(2, dtype), [PREFIX, PREFIX - 1023]
    out = hybrid(case, key_bias(lengths, PREFIX, case.query))
    for b, length in enumerate(lengths):
        one = Case(*(part[b : b + 1] for part in vars(case).values()))
        parts = one.prefix_keys[:, :, :length], one.prefix_values[:, :, :length]
        one = replace(one, prefix_keys=parts[0], prefix_values=parts[1])
        bound = TOLERANCE[dtype]
        wanted = one.merged_answer()[0]
        torch.testing.assert_close(out[b : b + 1].double(), wanted, rtol=bound, atol=bound)


@DTYPES
def test_control_a_causal_mask_is_wrong(dtype: torch.dtype) -> None:
    """A tree read as a chain differs even behind 4k tokens that are right."""
    case = tree_case(1, dtype)
    chain = replace(case, mask=torch.ones_like(case.mask).tril())
    error = (hybrid(chain).double() - case.merged_answer()[0]).abs().max()
    exact = (hybrid(case).double() - case.merged_answer()[0]).abs().max()
    assert error > 10 * exact


def test_captured_in_a_graph() -> None:
    """Nothing in it waits for the device or asks the host."""
    case = tree_case(1, torch.bfloat16)
    wanted = hybrid(case)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = hybrid(case)
    graph.replay()
    torch.testing.assert_close(out, wanted, rtol=0, atol=0)


def test_all_of_a_verified_tree_alone() -> None:
    case = tree_case(1, torch.bfloat16, prefix=16)
    out, _ = kernel_checks.alone(case)
    wanted, _ = softmax(case.query, case.keys, case.values, case.mask, case.scale)
    torch.testing.assert_close(out.double(), wanted, rtol=3e-2, atol=3e-2)
