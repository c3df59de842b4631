"""What a graph captures of verification and drafting reads persistent buffers and nothing else.

Not collected by its name: ``test_interpreted`` runs it in Triton's interpreter.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from vllm.v1.attention.backends import flash_attn

from longspec_plugin.vllm.v2.attention import PagedTrees, halves
from longspec_plugin.vllm.v2.attention_flash import HybridTrees, Prefix
from longspec_plugin.vllm.v2.topology import StepRows, TreeTopology
from proposers import kernels
from proposers.attention.paged_triton import PagedRows
from proposers.tree import DraftTrees, from_parents
from tests.interpreter.recording import LAUNCH, Call, Recording, as_kernel, record, tensors
from tests.unit.attention.flash import flash_attn_varlen_func as plain

from .steps import PAGE, PAGES, SLOTS, batch, speculator, stage

HEADS, KV_HEADS, DIM, NODES = 4, 2, 32, 6
SCALE = DIM**-0.5
FIRST, SECOND = [3, 0, 5], [1, 4, 2]
SHAPES = {
    1: [[-1, -1, 0, 0, 1, 2], [-1, 0, 1, 2], [-1, -1, -1]],
    2: [[-1, 0, 0, 0, 2, 4], [-1, -1, 1, 1, 3], [-1, 0, 1, 2, 3, 4]],
}


class Paged:
    """Rows of trees in one layer, as in a graph: queries, cache, table and output stay in place."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        device = torch.device("cpu")
        self.topology = TreeTopology(SLOTS, NODES, NODES, device)
        self.rows = StepRows(SLOTS, device)
        self.table = torch.zeros(3, 8, dtype=torch.int32)
        self.starts = torch.zeros(4, dtype=torch.int32)
        self.query = torch.zeros(3 * (1 + NODES), HEADS, DIM)
        self.key, self.value = torch.zeros(2, 3 * (1 + NODES), KV_HEADS, DIM)
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
        self.rows.fill(self.given, len(slots), False)
        self.table.copy_(self.given.tables)
        self.starts.copy_(self.given.query_start_loc)
        for part in (self.query, self.key, self.value):
            part.copy_(torch.randn(part.shape))

    def region(self) -> None:
        self.attend(self.rows.paged(self.table, 1 + NODES, self.topology.mask))

    def careless(self) -> None:
        """The same but for one tensor that is the step's own, as ``idx_mapping`` is."""
        rows = self.rows.paged(self.table, 1 + NODES, self.topology.mask)
        self.attend(replace(rows, slots=self.given.idx_mapping))

    def attend(self, rows: PagedRows) -> None:
        PagedTrees(rows, halves, True).attend(self.query, self.cache, self.out, SCALE)


class Hybrid(Paged):
    """The same with FlashAttention over prefixes."""

    def attend(self, rows: PagedRows) -> None:
        impl = SimpleNamespace(scale=SCALE, logits_soft_cap=0, vllm_flash_attn_version=3)
        prefix = Prefix(self.starts, rows.prefix, self.table, 1 + NODES, 128)
        step = HybridTrees(rows, prefix, len(self.query), None)
        step.attend_rows(impl, self.query, self.key, self.value, self.cache, self.out)


@pytest.fixture(autouse=True)
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash_attn, "flash_attn_varlen_func", as_kernel(plain), raising=False)


def replayed(step: Paged, region: str) -> tuple[Tensor, Tensor]:
    """The second step by a replay of the first one's calls, and by a run of its own."""
    step.stage(FIRST, 1)
    recording = record(getattr(step, region))
    step.stage(SECOND, 2)
    recording.replay()
    found = step.out.clone()
    step.out.zero_()
    step.region()
    return found, step.out


@pytest.mark.parametrize("kind", [Paged, Hybrid])
def test_verification(kind: type[Paged]) -> None:
    found, fresh = replayed(kind(), "region")
    assert torch.equal(found, fresh)


@pytest.mark.parametrize("kind", [Paged, Hybrid])
def test_verification_by_the_steps_own_tensors_is_noticed(kind: type[Paged]) -> None:
    found, fresh = replayed(kind(), "careless")
    assert not torch.allclose(found, fresh, atol=1e-3)


def test_both_kinds_attend_alike() -> None:
    """Where the cache holds the step's own keys and values behind each prefix."""
    paged, hybrid = Paged(), Hybrid()
    for step in (paged, hybrid):
        step.stage(FIRST, 1)
    rows = paged.rows
    for b in range(3):
        for row in range(1 + NODES):
            at = int(rows.prefix[b]) + row
            page, flat = int(paged.table[b, at // PAGE]), int(rows.first[b]) + row
            both = torch.cat([paged.key[flat], paged.value[flat]], -1)
            paged.cache[page, :, at % PAGE] = both
    paged.region()
    hybrid.region()
    torch.testing.assert_close(hybrid.out, paged.out, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "launches"), [(Paged, 1), (Hybrid, 2)])
@pytest.mark.parametrize("requests", [1, 3])
def test_launches_a_layer(kind: type[Paged], launches: int, requests: int) -> None:
    step = kind()
    step.stage(FIRST, 1)
    rows = step.rows.paged(step.table[:requests], 1 + NODES, step.topology.mask)
    assert launched(record(lambda: step.attend(rows))) == launches


def launched(recording: Recording) -> int:
    return sum(call[0] in (LAUNCH, plain) for call in recording.calls)


def work(made: Any, slots: list[int], lengths: Tensor) -> tuple[int, int, int]:
    """Kernels of ours, tensors made, and elements in them, of drafting once."""
    stage(made, batch(slots, made.topology.nodes, lengths, 1))
    recording = record(lambda: made.draft_first(len(slots)))
    new = [part.numel() for call in recording.calls for part in made_by(call)]
    return launched(recording), len(new), sum(new)


def made_by(call: Call) -> list[Tensor]:
    """What a call has put into memory of its own."""
    _, args, kwargs, result = call
    given = {part.untyped_storage().data_ptr() for part in tensors((args, kwargs))}
    return [part for part in tensors(result) if part.untyped_storage().data_ptr() not in given]


@pytest.mark.parametrize("kind", ["glide", "glide_lookup"])
def test_drafting_does_as_much_for_any_context(kind: str, tmp_path: Path) -> None:
    """As many launches for any number of requests; nothing grows with what they hold."""
    made = speculator(kind, tmp_path)
    lengths = made.runner.req_states.total_len.gpu
    long = work(made, FIRST, lengths)
    launches, new, _ = work(made, FIRST[:2], lengths)
    assert (launches, new) == long[:2]
    assert launches == (3 if kind == "glide" else 2)  # one a level
    lengths.fill_(5)
    assert work(made, FIRST, lengths) == long


def drafted(made: Any, slots: list[int]) -> list[Tensor]:
    """Tokens and topology of a batch, where vLLM and the next step read them."""
    topology = made.topology
    held = (topology.parents, topology.depths, topology.sizes, topology.mask)
    return [made.drafts[: len(slots)].clone(), *(part[slots].clone() for part in held)]


@pytest.mark.parametrize("by_kernels", [False, True])
@pytest.mark.parametrize("kind", ["glide", "glide_lookup"])
def test_drafting_in_graphs(
    kind: str, by_kernels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured for four requests before there were any, replayed for three; then by operators."""
    other = speculator(kind, tmp_path)
    monkeypatch.setattr(kernels, "runs_on", lambda device: by_kernels)
    made = speculator(kind, tmp_path)
    made.graphs.record = made.chain_graphs.record = lambda region: record(region).replay
    made.sizes = [1, 4]
    made.capture()
    lengths, nodes = made.runner.req_states.total_len.gpu, made.topology.nodes
    before = drafted(made, SECOND)
    for slots, number in ((FIRST, 1), (SECOND, 2)):
        stage(made, batch(slots, nodes, lengths, number))
        made.graphs.run(3)
    monkeypatch.undo()
    stage(other, batch(SECOND, nodes, lengths, 2))
    with torch.inference_mode():
        other.draft(other.context(len(SECOND)))
    found, fresh = drafted(made, SECOND), drafted(other, SECOND)
    assert all(torch.equal(a, b) for a, b in zip(found, fresh, strict=True))
    assert not torch.equal(found[0], before[0])
    assert int(fresh[3].min()) > 0


def test_drafting_by_the_steps_own_tensors_is_noticed(tmp_path: Path) -> None:
    made = speculator("glide", tmp_path)
    lengths = made.runner.req_states.total_len.gpu
    given = batch(FIRST, made.topology.nodes, lengths, 1)
    stage(made, given)
    context = replace(made.context(3), slots=given.idx_mapping, rows=given.idx_mapping)
    recording = record(lambda: made.draft(context))
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
