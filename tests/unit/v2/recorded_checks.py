"""What a graph captures of verification and drafting reads persistent buffers and nothing else.

Not collected by its name: ``test_recorded`` runs it in Triton's interpreter.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from longspec_plugin.vllm.v2.attention import PagedTrees, views
from longspec_plugin.vllm.v2.topology import StepRows, TreeTopology
from proposers.tree import DraftTrees, from_parents

from .recorded import record
from .steps import PAGE, PAGES, SLOTS, batch, speculator, stage

HEADS, KV_HEADS, DIM, NODES = 4, 2, 32, 6
FIRST, SECOND = [3, 0, 5], [1, 4, 2]
SHAPES = {
    1: [[-1, -1, 0, 0, 1, 2], [-1, 0, 1, 2], [-1, -1, -1]],
    2: [[-1, 0, 0, 0, 2, 4], [-1, -1, 1, 1, 3], [-1, 0, 1, 2, 3, 4]],
}


class Verification:
    """Rows of trees in one layer, as in a graph: queries, cache, table and output stay in place."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        device = torch.device("cpu")
        self.topology, self.rows = (
            TreeTopology(SLOTS, NODES, NODES, device),
            StepRows(SLOTS, device),
        )
        self.table = torch.zeros(3, 8, dtype=torch.int32)
        self.query = torch.zeros(3 * (1 + NODES), HEADS, DIM)
        self.cache = torch.randn(PAGES, KV_HEADS, PAGE, 2 * DIM)
        self.out = torch.zeros_like(self.query)
        self.given: Any = None

    def stage(self, slots: list[int], number: int) -> None:
        """A step's values into the buffers."""
        torch.manual_seed(number)
        shapes = SHAPES[number]
        self.topology.write(
            torch.tensor(slots), from_parents([[0] * len(s) for s in shapes], shapes)
        )
        self.given = batch(slots, NODES, torch.tensor([40, 9, 77, 23, 61, 33]) + number, number)
        self.rows.fill(self.given)
        self.table.copy_(self.given.tables)
        self.query.copy_(torch.randn(self.query.shape))

    def region(self) -> None:
        rows = self.rows.paged(self.table, self.topology, self.topology.mask)
        PagedTrees(rows, views, True).attend(self.query, self.cache, self.out, DIM**-0.5)

    def careless(self) -> None:
        """The same but for one tensor that is the step's own, as ``idx_mapping`` is."""
        rows = self.rows.paged(self.table, self.topology, self.topology.mask)
        rows = replace(rows, slots=self.given.idx_mapping)
        PagedTrees(rows, views, True).attend(self.query, self.cache, self.out, DIM**-0.5)


def replayed(region: str, patch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """The second step by a replay of the first one's calls, and by a run of its own."""
    step = Verification()
    step.stage(FIRST, 1)
    recording = record(getattr(step, region), patch)
    step.stage(SECOND, 2)
    recording.replay()
    found = step.out.clone()
    step.out.zero_()
    step.region()
    return found, step.out


def test_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    found, fresh = replayed("region", monkeypatch)
    assert torch.equal(found, fresh)


def test_verification_by_the_steps_own_tensors_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found, fresh = replayed("careless", monkeypatch)
    assert not torch.allclose(found, fresh, atol=1e-3)


def drafted(made: Any, slots: list[int]) -> list[Tensor]:
    """Tokens and topology of a batch, where vLLM and the next step read them."""
    topology = made.topology
    held = (topology.parents, topology.depths, topology.sizes, topology.mask)
    return [made.drafts[: len(slots)].clone(), *(part[slots].clone() for part in held)]


@pytest.mark.parametrize("kind", ["glide", "glide_lookup"])
def test_drafting(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, other = (speculator(kind, tmp_path) for _ in range(2))
    lengths = made.runner.req_states.total_len.gpu
    nodes = made.topology.nodes
    stage(made, batch(FIRST, nodes, lengths, 1))
    context = made.context(len(FIRST))
    recording = record(lambda: made.draft(context), monkeypatch)
    before = drafted(made, FIRST)
    stage(made, batch(SECOND, nodes, lengths, 2))
    recording.replay()
    stage(other, batch(SECOND, nodes, lengths, 2))
    with torch.inference_mode():
        other.draft(other.context(len(SECOND)))
    found, fresh = drafted(made, SECOND), drafted(other, SECOND)
    assert all(torch.equal(a, b) for a, b in zip(found, fresh, strict=True))
    assert not torch.equal(found[0], before[0])
    assert int(fresh[3].min()) > 0


def test_drafting_by_the_steps_own_tensors_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = speculator("glide", tmp_path)
    lengths = made.runner.req_states.total_len.gpu
    given = batch(FIRST, made.topology.nodes, lengths, 1)
    stage(made, given)
    context = replace(made.context(3), slots=given.idx_mapping, rows=given.idx_mapping)
    recording = record(lambda: made.draft(context), monkeypatch)
    stage(made, batch(SECOND, made.topology.nodes, lengths, 2))
    made.topology.sizes.fill_(-1)
    recording.replay()
    assert (made.topology.sizes[SECOND] == -1).all()  # it wrote to the first step's slots


def test_padding_is_never_a_token_of_its_own(tmp_path: Path) -> None:
    """vLLM embeds whatever lies in the drafts; what is no node must still be a token."""
    made = speculator("glide", tmp_path)
    given = batch(FIRST, made.topology.nodes, made.runner.req_states.total_len.gpu, 1)
    stage(made, given)
    made.drafts.fill_(-1)  # as vLLM leaves the end of fewer drafts
    with torch.inference_mode():
        made.draft(made.context(3))
    assert int(made.drafts[:3].min()) >= 0
    none = DraftTrees(*(torch.zeros(3, 2, dtype=torch.int64) for _ in range(3)),
                      torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), 1)  # fmt: skip
    made.keep(replace(none, tokens=none.tokens - 1))
    assert not made.drafts[:3].any()
