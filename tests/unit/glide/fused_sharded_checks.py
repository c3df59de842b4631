"""Two processes draft by kernels, each with its part of target and draft, as one by its layer.

Not collected by its name: ``test_fused`` runs it in Triton's interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from .fused_cases import kernels_run
from .test_sharded import ALL, Found, drafted, folder_of, found_by, one_rank, root, same

__all__ = ["root"]
NAMES = ["whole vocabulary", "published", "a KV head for two"]


def by_kernels(rank: int, root: Path, names: Sequence[str]) -> None:
    with kernels_run(True):
        one_rank(rank, root, names)


@pytest.fixture(scope="module")
def ranks(root: Path) -> Found:
    return found_by(by_kernels, root, [*NAMES, "no sum"])


@pytest.mark.parametrize("name", NAMES)
def test_trees_of_one_process(ranks: Found, root: Path, name: str) -> None:
    alone = drafted(ALL[name], folder_of(root, name))
    for found in ranks:
        assert same(found[name], alone)
        for a, b in zip(found[name], alone, strict=True):
            torch.testing.assert_close(a.log_probs, b.log_probs, rtol=1e-6, atol=1e-5)


def test_without_the_sums_trees_are_others(ranks: Found, root: Path) -> None:
    alone = drafted(ALL["no sum"], folder_of(root, "no sum"))
    assert not any(same(found["no sum"], alone) for found in ranks)
