"""Checks of the move of accepted KV on any device, against copies one by one.

Not collected by its name: ``test_kv_move_triton`` runs it in Triton's interpreter, ``tests/gpu`` on
a GPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from proposers.attention import kv_move_triton
from proposers.attention.kv_move_triton import KVMover

from ..launches import count_launches
from .steps import PAGE, Layout, keys_dense, keys_transposed

BLOCKS, LAYERS = 12, 3
PATHS = {
    "overlap": [[0, 2, 3, 4, 6], [0, 1, 3, 4, 5]],  # a row is moved to where another was
    "some": [[0, 5, 7, -1, -1], [0, -1, -1, -1, -1], [0, 1, 2, 3, 4], [0, 8, -1, -1, -1]],
    "one level": [[0, 3], [0, -1]],
    "no level": [[0], [0]],
}
DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.float8_e4m3fn], ids=str
)
LAYOUTS = pytest.mark.parametrize("layout", [keys_dense, keys_transposed])


def caches_of(device: str, layout: Layout, dtype: torch.dtype, dim: int) -> list[Any]:
    torch.manual_seed(0)
    memory = torch.randint(0, 100, (LAYERS, BLOCKS, 2, PAGE, 2 * dim)).to(device, dtype)
    return [layout(layer) for layer in memory]


def step_of(device: str, paths: list[list[int]]) -> tuple[Tensor, ...]:
    """Walk, first, flat rows and slots; each request has nine rows that have logits."""
    torch.manual_seed(1)
    count = 9 * len(paths)
    flat_rows = torch.randperm(count + 5)[:count].sort().values
    slots = torch.randperm(BLOCKS * PAGE)[: count + 5]
    parts = (torch.tensor(paths), torch.arange(len(paths)) * 9, flat_rows.int(), slots)
    return tuple(part.to(device) for part in parts)


def one_by_one(part: Tensor, step: tuple[Tensor, ...]) -> Tensor:
    """The part after the move. All is read from the part before."""
    rows, first, flat_rows, slots = (each.tolist() for each in step)
    before, after = part.cpu(), part.cpu().clone()
    for path, root in zip(rows, first, strict=True):
        for depth, row in enumerate(path):
            if row > 0:
                source, target = (slots[flat_rows[root + at]] for at in (row, depth))
                kept = before[source // PAGE, :, source % PAGE]
                after[target // PAGE, :, target % PAGE] = kept
    return after


@DTYPES
@LAYOUTS
@pytest.mark.parametrize("dim", [64, 80])
def test_accepted_kv_is_moved(device: str, dtype: torch.dtype, layout: Layout, dim: int) -> None:
    for paths in PATHS.values():
        caches, step = caches_of(device, layout, dtype, dim), step_of(device, paths)
        wanted = [[one_by_one(part, step) for part in layer] for layer in caches]
        KVMover(caches).move(*step)
        for layer, expected in zip(caches, wanted, strict=True):
            for part, after in zip(layer, expected, strict=True):
                assert torch.equal(part.cpu().float(), after.float())


def test_overlapping_paths_are_told_apart(device: str) -> None:
    """The control: rows moved in another order than read differ from the answer."""
    part = caches_of(device, keys_dense, torch.float32, 64)[0][0]
    rows, *places = step_of(device, PATHS["overlap"])
    wrong = part
    for depth in reversed(range(1, rows.shape[1])):
        single = torch.full_like(rows, -1)
        single[:, depth] = rows[:, depth]
        wrong = one_by_one(wrong, (single, *places))
    assert not torch.equal(wrong, one_by_one(part, (rows, *places)))


def test_a_shared_cache_is_moved_once(device: str) -> None:
    caches, step = caches_of(device, keys_dense, torch.float32, 64), step_of(device, PATHS["some"])
    expected = one_by_one(caches[0][0], step)
    KVMover([caches[0], caches[1], caches[0]]).move(*step)
    assert torch.equal(caches[0][0].cpu(), expected)


def test_one_launch_for_all_layers(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = count_launches(monkeypatch, kv_move_triton)
    mover = KVMover(caches_of(device, keys_dense, torch.float32, 64))
    for paths in PATHS.values():
        mover.move(*step_of(device, paths))
    assert launches == [(LAYERS, 2, 2), (LAYERS, 4, 2), (LAYERS, 2, 2)]
