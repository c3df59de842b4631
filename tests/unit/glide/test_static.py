"""Static steps: the same trees, shapes that options alone decide, and nothing read off the device.

The last is seen on PyTorch's meta device, whose tensors have shapes and nothing to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from proposers.acceptance import greedy_walk
from proposers.base import DraftContext, Proposer, TargetModel
from proposers.glide.proposer import GlideProposer
from proposers.glide_lookup import GlideLookupProposer
from proposers.prompt_lookup import PromptLookupProposer
from proposers.tree import DraftTrees, ancestor_mask
from tests.unit.proposers.contexts import first_trees, nodes, of_texts

from .test_proposer import context
from .tiny import DenseKV, tiny_draft, tiny_target

GLIDE: list[dict[str, Any]] = [
    {"tree_shape": [3, 2, 2]},
    {"tree_shape": [3, 2, 2], "min_probability": 0.02},
    {"tree_shape": [4, 5, 3], "nodes": 6},
    {"tree_shape": [2, 2], "nodes": 3, "min_probability": 0.05},
]
LOOKUP: list[dict[str, Any]] = [{"lookup_shape": [1] * 5}, {"lookup_shape": [2, 2, 2]}]
CASES: list[tuple[type[Proposer], dict[str, Any]]] = [
    *((GlideProposer, options) for options in GLIDE),
    *((GlideLookupProposer, {**one, **other}) for one in GLIDE for other in LOOKUP),
    *((PromptLookupProposer, {"tree_shape": shape}) for shape in ([2, 2, 2], [1] * 4)),
]


@pytest.fixture(scope="module", params=range(len(CASES)))
def proposer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Proposer:
    return made(request.param, tmp_path_factory.mktemp("draft"), tiny_target())


def made(case: int, folder: Path, target: TargetModel) -> Proposer:
    kind, options = CASES[case]
    tiny_draft(folder, temperature=2.0, num_layers=1 + case % 2)
    proposer = kind(None if kind is PromptLookupProposer else folder, options)
    proposer.bind(target, 4)
    inner = getattr(proposer, "glide", proposer)
    if isinstance(inner, GlideProposer):
        inner.model.quick = inner.window.filler = None  # never taken when static
    return proposer


def asked(texts: Sequence[Sequence[int]], seed: int, new: list[int] | None = None) -> DraftContext:
    drawn = context([len(text) for text in texts], seed)
    return replace(
        of_texts(texts, 64, new, junk=7),
        hidden_states=drawn.hidden_states,
        target_kv=drawn.target_kv,
    )


PHRASE = [9, 1, 2, 3, 4, 5, 6, 50, 1, 2, 3, 8, 51, 1, 2, 3]
BATCHES: list[list[Sequence[int]]] = [
    [PHRASE, range(10, 30), [5, 5]],
    [range(12), range(20, 33), [1, 2, 1]],
    [PHRASE[:7], PHRASE[3:], PHRASE],
]


def narrowed(trees: DraftTrees, budgets: torch.Tensor) -> list[Any]:
    """Nodes within the budgets, scores rounded."""
    rows = nodes(trees.truncated(budgets))
    return [[(*node[:3], round(node[3], 4)) for node in row] for row in rows]


@pytest.mark.parametrize("budgets", [[64, 64, 64], [3, 0, 5], [1, 2, 0]])
@pytest.mark.parametrize("batch", range(len(BATCHES)))
def test_the_trees_are_the_same(proposer: Proposer, batch: int, budgets: list[int]) -> None:
    step = replace(asked(BATCHES[batch], seed=batch), budgets=torch.tensor(budgets))
    static = first_trees(proposer, replace(step, static=True))
    if isinstance(proposer, GlideProposer) and proposer.whole:  # only ever cut
        step.budgets.fill_(64)
    free = first_trees(proposer, step)
    assert narrowed(static, step.budgets) == narrowed(free, step.budgets)
    assert bool((static.sizes <= step.budgets).all())


def test_shapes_are_those_of_the_options(proposer: Proposer) -> None:
    shapes = set()
    for seed, texts in enumerate(BATCHES):
        proposer.start(asked(texts, seed))
        for new in (1, 3):
            step = replace(asked(texts, seed, [new] * 3), static=True, most_new=4)
            trees = proposer.propose(step)
            parts = (trees.tokens, trees.parents, trees.depths, trees.log_probs, trees.sizes)
            shapes.add((*(tuple(part.shape) for part in parts), trees.levels))
    assert len(shapes) == 1
    (tokens, *_, levels) = shapes.pop()
    assert tokens == (3, proposer.max_nodes)
    assert levels == proposer.max_depth


def moved(value: Any) -> Any:
    """The same on the meta device."""
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, DenseKV):
        return DenseKV(*([part.to("meta") for part in parts] for parts in vars(value).values()))
    return value


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_is_read_off_the_device(case: int, tmp_path: Path) -> None:
    target = tiny_target()
    pieces = (moved(part) for part in (target.embedding, target.head, target.final_norm))
    proposer = made(case, tmp_path, TargetModel(target.shape, *pieces))
    step = replace(asked(BATCHES[0], seed=1, new=[2, 2, 1]), static=True)
    away = DraftContext(**{f.name: moved(getattr(step, f.name)) for f in fields(step)})
    trees = proposer.propose(away).truncated(away.budgets)
    assert trees.tokens.shape == (3, proposer.max_nodes)
    ancestor_mask(trees)
    walk = greedy_walk(trees, torch.zeros_like(trees.tokens[:, :1]).repeat(1, 99), static=True)
    assert walk.tokens.shape == (3, trees.levels + 1)


def test_the_meter_sees_a_read() -> None:
    """The control: steps that are not static look at the device."""
    step = of_texts(BATCHES[0])
    away = DraftContext(**{f.name: moved(getattr(step, f.name)) for f in fields(step)})
    with pytest.raises(RuntimeError, match="meta"):
        PromptLookupProposer(None, {}).propose(away)
