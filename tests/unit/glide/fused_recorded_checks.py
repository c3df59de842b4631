"""Drafting by kernels as a graph captures it: what it reads, and how many launches it takes.

Not collected by its name: ``test_fused`` runs it in Triton's interpreter.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.interpreter.recording import as_kernel, launches, record

from .fused_cases import (
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

CPU = "cpu"


@pytest.mark.parametrize("name", ["one block", "two blocks"])
def test_a_replay_on_other_slots_and_lengths_is_a_fresh_run(name: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, name)
    proposer, fresh = (bound(folder, OPTIONS[0], CPU) for _ in range(2))
    first, *_, last = steps(proposer, CPU, static=True)
    assert last.hidden_states is not None
    other = replace(last, slots=torch.tensor([1, 5, 6]), hidden_states=-last.hidden_states)
    other = replace(other, most_new=5)
    buffers, found = buffered(first), []
    proposer.start(buffers)
    recording = record(lambda: found.append(proposed(proposer, buffers)))
    before = copied(found[0])
    overwrite(buffers, other)
    proposer.start(buffers)
    recording.replay()
    fresh.start(other)
    expected = proposed(fresh, other)
    assert same(found[0], expected)
    assert torch.equal(found[0].log_probs, expected.log_probs)
    assert not same(before, expected)


def count(folder: Path, shape: list[int], kernel: bool = True) -> int:
    """Launches of drafting trees once; reading the target's KV counts as one."""
    proposer = bound(folder, {"tree_shape": shape}, CPU, kernel)
    first = next(steps(proposer, CPU, static=True))
    attend = as_kernel(first.target_kv.attend)
    step = replace(first, target_kv=SimpleNamespace(attend=attend), most_new=5)
    proposer.start(step)
    return len(launches(record(lambda: proposed(proposer, step))))


@pytest.mark.parametrize(
    ("name", "most"),
    [("one block", 26), ("published", 23), ("two blocks", 42), ("whole vocabulary", 25)],
)
def test_launches_of_a_level(name: str, most: int, tmp_path: Path) -> None:
    """Of the draft's forward and of the choice of nodes; a product is one."""
    folder = folder_of(tmp_path, name)
    level = count(folder, [3, 3, 3]) - count(folder, [3, 3])
    assert level <= most
    plain = count(folder, [3, 3, 3], False) - count(folder, [3, 3], False)
    assert plain > 2 * level


def test_a_launch_is_what_writes() -> None:
    """The count itself: views and empty memory are none, kernels and operators are."""
    line: Any = torch.zeros(6)

    def region() -> None:
        line.view(2, 3).mT[1:].flatten(0, 1)
        line.new_empty(3)
        line.add_(1)
        line * 2

    assert len(launches(record(region))) == 3  # flattening copied
