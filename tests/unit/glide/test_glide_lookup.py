"""GLIDE and lookup in one tree: who gets the nodes when they are limited."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longspec_plugin.options import LongSpecOptions
from proposers.base import DraftContext
from proposers.glide_lookup import GlideLookupProposer
from proposers.tree import DraftTrees, select
from tests.unit.proposers.contexts import first_trees, of_texts

from .test_proposer import context, paths
from .tiny import tiny_draft, tiny_target


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draft")
    tiny_draft(folder, temperature=4.0)
    return folder


def bound(draft: Path, **options: object) -> GlideLookupProposer:
    proposer = GlideLookupProposer(draft, options)
    proposer.bind(tiny_target())
    return proposer


def repeating(budget: int = 128) -> DraftContext:
    """One request whose last three tokens occurred before, and one without any repetition."""
    asked = context([16, 8], seed=6, budget=budget)
    tokens = [50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 51, 52, 53, 1, 2, 3]
    texts = of_texts([tokens, range(8)], budget)
    return replace(asked, token_ids=texts.token_ids)


def looked_up(proposer: GlideLookupProposer, asked: DraftContext) -> DraftTrees:
    """The lookup's part of the trees."""
    return select(*proposer._trusted(proposer.lookup.look_up(asked)))


def test_a_long_agreement_is_trusted(draft: Path) -> None:
    proposer = bound(draft, lookup_shape=[1, 1, 1, 1])
    found = looked_up(proposer, repeating())
    assert found.token_lists() == [[4, 5, 6, 7], []]
    expected = [math.log(3 * 4 / (3 + depth) / (4 + depth)) for depth in (1, 2, 3, 4)]
    assert found.log_probs[0].tolist() == pytest.approx(expected)


def test_all_is_kept_without_a_budget(draft: Path) -> None:
    proposer = bound(draft, tree_shape=[3, 2], lookup_shape=[1, 1, 1, 1])
    trees = first_trees(proposer, repeating())
    glide = first_trees(proposer.glide, repeating())
    assert proposer.max_nodes == 9
    assert set(paths(trees, 0)) == set(paths(glide, 0)) | {(4,), (4, 5), (4, 5, 6), (4, 5, 6, 7)}
    assert set(paths(trees, 1)) == set(paths(glide, 1))


def competing(glide: DraftTrees, lookup: DraftTrees, nodes: int) -> set[tuple[int, ...]]:
    """The likeliest paths of both in the first request; a path is as likely as its best end."""
    scores = {**paths(lookup, 0), **paths(glide, 0)}
    for path in sorted(scores, key=len, reverse=True):
        if len(path) > 1:
            scores[path[:-1]] = max(scores[path[:-1]], scores[path])
    order = sorted(scores, key=lambda path: (-scores[path], len(path)))
    return set(order[:nodes])


@pytest.mark.parametrize("nodes", [1, 2, 5, 8, 12])
def test_the_merged_tree_keeps_to_the_budget(draft: Path, nodes: int) -> None:
    options = {"tree_shape": [4, 4, 4], "lookup_shape": [1] * 5}
    proposer, asked = bound(draft, **options, nodes=nodes), repeating()
    trees = first_trees(proposer, asked)
    assert proposer.max_nodes == nodes
    assert int(trees.sizes.max()) <= nodes
    glide = first_trees(bound(draft, **options).glide, asked)
    lookup = looked_up(proposer, asked)
    chosen = paths(trees, 0)
    assert set(chosen) == competing(glide, lookup, nodes)
    for b in range(2):
        assert all(path[:-1] in paths(trees, b) for path in paths(trees, b) if len(path) > 1)


@pytest.mark.parametrize("budget", [1, 2, 3, 5])
def test_a_smaller_budget_of_the_step_wins(draft: Path, budget: int) -> None:
    """Shared beginnings that GLIDE holds for unlikely do not lose their looked-up ends."""
    proposer = bound(draft, tree_shape=[4, 4, 4], lookup_shape=[1] * 5, nodes=9)
    trees = first_trees(proposer, repeating(budget))
    assert int(trees.sizes.max()) <= budget
    assert bool((trees.parents[trees.valid()] >= -1).all())
    assert all(path[:-1] in paths(trees, 0) for path in paths(trees, 0) if len(path) > 1)


def test_nodes_make_room_for_wide_trees(draft: Path) -> None:
    wide = {"tree_shape": [60, 60], "lookup_shape": [10]}
    with pytest.raises(ValueError, match=r"130 nodes together; at most 128 .*as nodes"):
        GlideLookupProposer(draft, wide)
    proposer = bound(draft, **wide, nodes=16)
    assert proposer.max_nodes == 16
    assert int(first_trees(proposer, repeating()).sizes.max()) == 16


def test_a_null_takes_the_drafts_default_away(tmp_path: Path) -> None:
    defaults = {"proposer": "glide_lookup", "tree_shape": [4, 4], "nodes": 3}
    tiny_draft(tmp_path, longspec_config=defaults)
    asked = {"method": "longspec", "model": str(tmp_path)}
    assert LongSpecOptions.from_config(asked).build().max_nodes == 3
    assert LongSpecOptions.from_config({**asked, "nodes": None}).build().max_nodes == 8 + 5


def test_no_path_is_less_likely_than_the_load_allows(draft: Path) -> None:
    options = {"tree_shape": [4, 4, 4], "lookup_shape": [1] * 5}
    whole = first_trees(bound(draft, **options), repeating())
    scores = whole.log_probs[whole.valid()]
    least = float(scores.median())
    trees = first_trees(bound(draft, **options), replace(repeating(), least=least))
    for row in (0, 1):
        expected = {path for path, score in paths(whole, row).items() if score >= least}
        assert set(paths(trees, row)) == expected
    assert 0 < int(trees.sizes.sum()) < len(scores)


def test_cheap_steps_are_lookups_alone_and_the_draft_catches_up(draft: Path) -> None:
    """Two steps without the draft, for a request that it knew and one that comes in meanwhile."""
    texts = [[50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 51, 52, 53, 1, 2, 3], list(range(8))]
    asked = context([16, 8], seed=6)
    given = {"hidden_states": asked.hidden_states, "target_kv": asked.target_kv}
    steps = [
        replace(of_texts([text[: len(text) - cut] for text in texts], 128, new), **given)
        for cut, new in ((4, [1, 1]), (2, [2, 2]), (1, [1, 1]), (0, [1, 1]))
    ]
    always, pausing = bound(draft), bound(draft)
    for step in steps[:-1]:
        first_trees(always, step)
    first_trees(pausing, steps[0])
    pausing.start(replace(steps[1], cheap=True).part([1]))
    for step in steps[1:-1]:
        cheap = pausing.propose(replace(step, cheap=True))
        assert cheap.token_lists() == looked_up(pausing, step).token_lists()
    assert any(cheap.token_lists())
    late, expected = pausing.propose(steps[-1]), always.propose(steps[-1])
    assert late.token_lists() == expected.token_lists()
    torch.testing.assert_close(late.log_probs, expected.log_probs)
