"""Two processes (gloo), each with its part of target and draft, draft the trees of one with all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional as F

from proposers.base import DraftContext, Proposer, TargetModel
from proposers.glide.config import TargetConfig
from proposers.glide.proposer import GlideProposer
from proposers.glide.sharded import local_config
from proposers.glide_lookup import GlideLookupProposer
from proposers.sharding import Shard
from proposers.tree import DraftTrees, from_parents
from tests.unit.proposers.contexts import nodes

from .test_proposer import context
from .tiny import DenseKV, tiny_config, tiny_draft, tiny_target

SIZE, PADDED = 2, 64
ALONE = Shard()


@dataclass(frozen=True)
class Case:
    """A draft, how it is asked, and what is broken in the processes."""

    draft: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    kind: type[Proposer] = GlideProposer
    kv_heads: int = 2
    static: bool = False
    broken: str = ""


CASES = {
    "one block": Case(),
    "two blocks": Case({"num_layers": 2, "window": 5, "temperature": 3.0}),
    "whole vocabulary": Case({"draft_vocab_size": None, "window": 3}),
    "published": Case(
        {"draft_vocab_size": None, "hidden_state_input": False, "final_norm": False,
         "attention_bias": True}
    ),
    "more than a rank's rows": Case({"draft_vocab_size": None}, {"tree_shape": [50, 2]}),
    "a KV head for two": Case({"num_layers": 2}, kv_heads=1),
    "ends early": Case({}, {"tree_shape": [4, 5, 3, 2], "nodes": 6, "min_probability": 0.02}),
    "static": Case({"num_layers": 2}, static=True),
    "with lookups": Case({}, {"nodes": 9}, GlideLookupProposer),
}  # fmt: skip
BROKEN = {
    "no sum": Case(broken="no sum"),
    "no sum, whole vocabulary": Case({"draft_vocab_size": None}, broken="no sum"),
    "ranks differ": Case(broken="ranks differ"),
    "ranks differ, nothing agreed": Case(broken="ranks differ, nothing agreed"),
}
ALL = {**CASES, **BROKEN}


def gathered(values: Tensor) -> Tensor:
    parts = [torch.empty_like(values) for _ in range(SIZE)]
    distributed.all_gather(parts, values)
    return torch.stack(parts)


def summed(values: Tensor) -> Tensor:
    distributed.all_reduce(values)
    return values


def local_target(shard: Shard, kv_heads: int) -> TargetModel:
    """A rank's part of the tiny target, its padding filled with what would be noticed."""
    whole = tiny_target()
    shape = replace(whole.shape, num_key_value_heads=kv_heads)
    table = whole.embedding
    if shard.size > 1:
        room = (0, 0, 0, PADDED - len(table))
        table = F.pad(table, room, value=100.0).chunk(shard.size)[shard.rank]
    return TargetModel(shape, table, table, whole.final_norm, shard=shard)


def part(step: DraftContext, shard: Shard, kv_heads: int) -> DraftContext:
    """The step with a rank's heads of the target's KV."""
    assert isinstance(step.target_kv, DenseKV)
    heads = shard.part(kv_heads)
    lines = (step.target_kv.keys, step.target_kv.values)
    keys, values = ([line[:, :kv_heads][:, heads] for line in part] for part in lines)
    return replace(step, target_kv=DenseKV(keys, values))


def drafted(case: Case, folder: Path, shard: Shard = ALONE) -> list[DraftTrees]:
    """Trees of growing texts, in steps of several sizes."""
    proposer = case.kind(folder, {"tree_shape": [3, 3, 2], **case.options})
    proposer.bind(local_target(shard, case.kv_heads), 2)
    whole = replace(part(context([45, 30], seed=3), shard, case.kv_heads), static=case.static)
    if shard.size > 1:
        whole = broken(case.broken, proposer, whole, shard)
    last, found = torch.zeros_like(whole.lengths), []
    for cut in (20, 19, 16, 0):
        lengths = whole.lengths - cut
        new = lengths - last
        step = replace(whole, lengths=lengths, num_new=new, most_new=int(new.max()))
        if not found:
            proposer.start(step)
        found.append(proposer.propose(step))
        last = lengths
    return found


def broken(what: str, proposer: Proposer, step: DraftContext, shard: Shard) -> DraftContext:
    if not what:
        return step
    assert isinstance(proposer, GlideProposer)
    if what == "no sum":
        quick = proposer.model.quick
        for block in (*proposer.model.layer.blocks(), *(quick.blocks if quick else ())):
            block.summed = ALONE.all_reduce
        return step
    if what == "ranks differ, nothing agreed":
        proposer.model.shard = replace(shard, all_gather=ALONE.all_gather)
    assert step.hidden_states is not None
    return replace(step, hidden_states=step.hidden_states + 0.5 * shard.rank)


def folder_of(root: Path, name: str) -> Path:
    return root / name.replace(" ", "_")


def one_rank(rank: int, root: Path, names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{root / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=SIZE)
    shard = Shard(rank, SIZE, summed, gathered)
    found = {name: drafted(ALL[name], folder_of(root, name), shard) for name in names}
    torch.save({name: [vars(t) for t in trees] for name, trees in found.items()}, root / f"{rank}")
    distributed.destroy_process_group()


Found = list[dict[str, list[DraftTrees]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sharded")
    for name, case in ALL.items():
        target = tiny_config().target.model_copy(update={"num_key_value_heads": case.kv_heads})
        tiny_draft(folder_of(root, name), **{"target": target, **case.draft})
    return root


@pytest.fixture(scope="module")
def ranks(root: Path) -> Found:
    """What each rank drafted, by case."""
    return found_by(one_rank, root, ALL)


def found_by(rank: Callable[..., None], root: Path, names: Iterable[str]) -> Found:
    """What processes that each run ``rank`` drafted."""
    multiprocessing.spawn(rank, (root, list(names)), nprocs=SIZE)
    saved = [torch.load(root / f"{rank}") for rank in range(SIZE)]
    return [{name: [DraftTrees(**t) for t in found[name]] for name in found} for found in saved]


def same(left: Sequence[DraftTrees], right: Sequence[DraftTrees]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(
        torch.equal(a.tokens, b.tokens)
        and torch.equal(a.parents, b.parents)
        and torch.equal(a.sizes, b.sizes)
        for a, b in pairs
    )


@pytest.mark.parametrize("name", CASES)
def test_trees_of_one_process(ranks: Found, root: Path, name: str) -> None:
    alone = drafted(CASES[name], folder_of(root, name))
    for found in ranks:
        assert same(found[name], alone)
        for a, b in zip(found[name], alone, strict=True):
            torch.testing.assert_close(a.log_probs, b.log_probs, rtol=1e-6, atol=1e-5)
    for a, b in zip(ranks[0][name], ranks[1][name], strict=True):
        assert torch.equal(a.log_probs, b.log_probs)


@pytest.mark.parametrize("name", ["no sum", "no sum, whole vocabulary"])
def test_without_the_sums_trees_are_others(ranks: Found, root: Path, name: str) -> None:
    alone = drafted(BROKEN[name], folder_of(root, name))
    assert not any(same(found[name], alone) for found in ranks)


def test_ranks_that_differ_take_the_first_ones_trees(ranks: Found) -> None:
    """As a last bit would, on a larger scale; and the control, each rank by itself."""
    assert same(*(found["ranks differ"] for found in ranks))
    assert not same(*(found["ranks differ, nothing agreed"] for found in ranks))


@pytest.mark.parametrize(
    ("count", "size", "parts"),
    [
        (8, 2, [(0, 4), (4, 8)]),
        (3, 3, [(0, 1), (1, 2), (2, 3)]),
        (2, 4, [(0, 1), (0, 1), (1, 2), (1, 2)]),
        (5, 1, [(0, 5)]),
    ],
)
def test_heads_of_ranks(count: int, size: int, parts: list[tuple[int, int]]) -> None:
    found = [Shard(rank, size).part(count) for rank in range(size)]
    assert [(part.start, part.stop) for part in found] == parts


def sizes(**changes: int) -> TargetConfig:
    return tiny_config().target.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, 4, "size 4 does not divide the draft's num_attention_heads=6"),
        ({"num_key_value_heads": 3}, 2, "num_key_value_heads=3; allowed: its divisors"),
        ({"intermediate_size": 63}, 2, "intermediate_size=63"),
    ],
)
def test_sizes_that_cannot_be_dealt_out(changes: dict[str, int], size: int, message: str) -> None:
    config = tiny_config(target=sizes(**changes))
    with pytest.raises(ValueError, match=message):
        local_config(config, Shard(0, size))


def test_a_proposer_in_python_counts_as_the_first_rank_saw_it() -> None:
    first = from_parents([[5, 6, 7], [8]], [[-1, 0, 0], [-1]], [[-1.0, -2.0, -3.5], [-0.25]])
    other = from_parents([[9], [5, 6]], [[-1], [-1, 0]])
    sent: list[Tensor] = []

    def heard(values: Tensor) -> Tensor:
        sent.append(values)
        return torch.stack([sent[0], values])

    Shard(0, 2, all_gather=heard).agreed(first, 4)
    told = Shard(1, 2, all_gather=heard).agreed(other, 4)
    assert nodes(told) == nodes(first)
    assert told.tokens.shape == (2, 4)  # as wide on every rank
    assert told.levels == 2
