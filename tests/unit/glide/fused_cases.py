"""Drafts by kernels and by the layer, side by side on any device, and steps of growing texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from proposers import kernels
from proposers.base import DraftContext, TargetModel
from proposers.glide.fused import FusedGlide
from proposers.glide.proposer import GlideProposer
from proposers.tree import DraftTrees

from .test_proposer import context
from .tiny import DenseKV, tiny_config, tiny_draft, tiny_target

VARIANTS: dict[str, dict[str, Any]] = {
    "one block": {},
    "published": {"hidden_state_input": False, "final_norm": False, "attention_bias": True},
    "two blocks": {"num_layers": 2, "window": 5, "temperature": 3.0, "attention_bias": True},
    "two, no states": {"num_layers": 2, "hidden_state_input": False, "draft_vocab_size": 21},
    "whole vocabulary": {"draft_vocab_size": None, "window": 3, "final_norm": False},
    "one KV head": {"target": tiny_config().target.model_copy(update={"num_key_value_heads": 1})},
}
OPTIONS: list[dict[str, Any]] = [
    {"tree_shape": [4, 6, 4, 2]},
    {"tree_shape": [2, 20, 3], "nodes": 12, "min_probability": 0.001},
]


@contextmanager
def kernels_run(there: bool) -> Iterator[None]:
    """Drafts and trees are made by kernels meanwhile, on whatever device, or by no kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "runs_on", lambda device: there)
        yield


def moved(value: Any, device: str, dtype: torch.dtype = torch.float32) -> Any:
    """The same on a device; numbers in ``dtype``."""
    if isinstance(value, Tensor):
        return value.to(device, dtype if value.is_floating_point() else None)
    if isinstance(value, DenseKV):
        lists = vars(value).values()
        return DenseKV(*([moved(part, device, dtype) for part in parts] for parts in lists))
    return value


def bound(
    folder: Path,
    options: dict[str, Any],
    device: str,
    kernel: bool = True,
    dtype: torch.dtype = torch.float32,
) -> GlideProposer:
    """A draft of the tiny target, by the kernels or by the layer: no C++ takes its small heads."""
    proposer, target = GlideProposer(folder, options), tiny_target()
    shape = replace(target.shape, num_key_value_heads=kv_heads(proposer))
    parts = (target.embedding, target.head, target.final_norm)
    with kernels_run(kernel):
        proposer.bind(TargetModel(shape, *(moved(part, device, dtype) for part in parts)), 8)
    assert isinstance(proposer.model.quick, FusedGlide) == kernel
    return proposer


def kv_heads(proposer: GlideProposer) -> int:
    return proposer.config.target.num_key_value_heads


def steps(
    proposer: GlideProposer, device: str, static: bool, dtype: torch.dtype = torch.float32
) -> Iterator[DraftContext]:
    """Of three requests in slots of no order: short ones, and ones whose window has wrapped."""
    drawn = context([29, 3, 24], seed=3)
    kv = drawn.target_kv
    assert isinstance(kv, DenseKV)
    count = kv_heads(proposer)
    kv = DenseKV(*([part[:, :count] for part in parts] for parts in (kv.keys, kv.values)))
    whole = replace(drawn, target_kv=kv, slots=torch.tensor([6, 0, 3]), static=static)
    whole = replace(whole, budgets=torch.full((3,), 64))
    last = torch.zeros_like(whole.lengths)
    for cut in (4, 3, 0):
        lengths = (whole.lengths - cut).clamp(min=1)
        new = lengths - last
        step = replace(whole, lengths=lengths, num_new=new, most_new=int(new.max()))
        last = lengths
        names = (field.name for field in fields(step))
        yield DraftContext(**{name: moved(getattr(step, name), device, dtype) for name in names})


def drafted(proposer: GlideProposer, asked: list[DraftContext]) -> list[DraftTrees]:
    """Trees of each step, of which the first is the requests' first; :func:`proposed`."""
    proposer.start(asked[0])
    return [proposed(proposer, step) for step in asked]


def proposed(proposer: GlideProposer, step: DraftContext) -> DraftTrees:
    """Trees that are grown by kernels where the draft has them."""
    with kernels_run(proposer.model.quick is not None):
        return proposer.propose(step)


def folder_of(root: Path, name: str) -> Path:
    folder = root / name.replace(" ", "_")
    tiny_draft(folder, **VARIANTS[name])
    return folder


def same(one: DraftTrees, other: DraftTrees) -> bool:
    """Nodes alike; padding does not count."""
    valid = one.valid()
    pairs = ((one.tokens, other.tokens), (one.parents, other.parents))
    return torch.equal(one.sizes, other.sizes) and all(
        torch.equal(a[valid], b[valid]) for a, b in pairs
    )


def copied(trees: DraftTrees) -> DraftTrees:
    return trees.rows(list(range(trees.batch_size)))


def buffered(step: DraftContext) -> DraftContext:
    """The step in tensors of its own, to be overwritten by another's."""
    tensors = {f.name: getattr(step, f.name) for f in fields(step)}
    copies = {name: part.clone() for name, part in tensors.items() if isinstance(part, Tensor)}
    return replace(step, **copies, most_new=5)


def overwrite(buffers: DraftContext, step: DraftContext) -> None:
    for field in fields(step):
        part = getattr(buffers, field.name)
        if isinstance(part, Tensor):
            part.copy_(getattr(step, field.name))
