"""Penalties and bad words along trees are, at each row, vLLM's own along that row's path.

Not collected by its name: ``test_interpreted`` runs it where vLLM's kernels are interpreted too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from vllm.v1.worker.gpu.sample.bad_words import BadWordsState
from vllm.v1.worker.gpu.sample.penalties import PenaltiesState

from longspec_plugin.errors import LongSpecError
from longspec_plugin.vllm.v2.rules import TreeRules
from longspec_plugin.vllm.v2.topology import TreeTopology
from proposers.tree import from_parents

VOCABULARY, SLOTS, NODES = 40, 5, 6
TREES = {3: [-1, -1, 0, 1, 3, 2], 1: [-1, 0, 1, 1], 4: [-1, 0, 1, 2, 3, 4], 0: []}
"""Parents of each slot's tree; the third is a chain, the last was not drafted."""
PROMPT, TEXT = 5, 9
WORDS = [
    [7],
    [3, 4],
    [9, 8],
    [4, 5, 3, 4, 1],
    *([a, b, 10 + 3 * a + b] for a in (3, 4) for b in (3, 5)),
]


def held(values: Any) -> Any:
    """As vLLM holds what is staged on the host."""
    gpu = torch.as_tensor(values)
    return SimpleNamespace(gpu=gpu, np=gpu.numpy())


@dataclass(frozen=True)
class Rows:
    """The rows of some trees, as vLLM lays them out: few words, so that they are said again."""

    slots: Tensor
    places: Tensor
    tokens: Tensor
    logits: Tensor

    @classmethod
    def of(cls, seed: int) -> Rows:
        torch.manual_seed(seed)
        sizes = [1 + len(parents) for parents in TREES.values()]
        slots = torch.tensor(list(TREES)).repeat_interleave(torch.tensor(sizes))
        places = torch.cat([torch.arange(size) for size in sizes])
        count = len(slots)
        tokens = torch.randint(3, 6, (count,), dtype=torch.int32)
        return cls(slots, places.int(), tokens, 4 * torch.randn(count, VOCABULARY))

    def context(self, rows: Sequence[int] | None = None) -> Any:
        """Of these rows alone, as a chain: a row's path."""
        at = torch.arange(len(self.slots)) if rows is None else torch.tensor(rows)
        return SimpleNamespace(
            expanded_idx_mapping=self.slots[at],
            idx_mapping_np=np.unique(self.slots[at].numpy()),
            expanded_local_pos=self.places if rows is None else torch.arange(len(at)).int(),
            input_ids=self.tokens[at],
        )

    def path(self, row: int) -> list[int]:
        """Rows from the root to ``row``."""
        parents, place = TREES[int(self.slots[row])], int(self.places[row])
        path, first = [row], row - place
        while place:
            place = parents[place - 1] + 1
            path.insert(0, first + place)
        return path


def topology() -> TreeTopology:
    made = TreeTopology(SLOTS, NODES, NODES, torch.device("cpu"))
    shapes = list(TREES.values())
    trees = from_parents([[0] * len(parents) for parents in shapes], shapes)
    made.write(torch.tensor(list(TREES)), trees)
    return made


def penalties() -> Any:
    state = object.__new__(PenaltiesState)
    state.use_penalty = np.ones(SLOTS, dtype=bool)
    state.repetition_penalty = held([1.0, 1.3, 1.0, 0.9, 1.05])
    state.frequency_penalty = held([0.0, 0.5, 0.0, -0.7, 0.0])
    state.presence_penalty = held([0.0, 1.0, 0.0, 0.3, -0.4])
    state.prompt_bin_mask = torch.randint(-(2**31), 2**31 - 1, (SLOTS, 2), dtype=torch.int32)
    state.output_bin_counts = torch.randint(0, 3, (SLOTS, VOCABULARY), dtype=torch.int32)
    return state


def bad_words() -> Any:
    state = object.__new__(BadWordsState)
    flat, ends = [token for word in WORDS for token in word], [0]
    for word in WORDS:
        ends.append(ends[-1] + len(word))
    state.bad_word_token_ids = held(torch.tensor([flat] * SLOTS, dtype=torch.int32))
    state.bad_word_offsets = held(torch.tensor([ends] * SLOTS, dtype=torch.int32))
    state.num_bad_words = held(torch.tensor([3, 8, 0, 8, 8], dtype=torch.int32))
    state.req_states = SimpleNamespace(
        all_token_ids=held(torch.randint(3, 6, (SLOTS, 2 * TEXT), dtype=torch.int32)),
        prompt_len=held(torch.full((SLOTS,), PROMPT, dtype=torch.int32)),
        total_len=held(torch.tensor([TEXT, PROMPT + 1, TEXT, TEXT, PROMPT + 1]).int()),
    )
    return state


STATES = {"penalise": penalties, "forbid": bad_words}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rule", STATES)
def test_each_row_is_as_vllms_along_its_path(rule: str, seed: int) -> None:
    """To the last bit."""
    rows, shape = Rows.of(seed), topology()
    state = STATES[rule]()
    apply = getattr(TreeRules(shape), rule)
    found = apply(state, rows.logits.clone(), rows.context())
    taken = 0
    for row in range(len(rows.slots)):
        path = rows.path(row)
        alone = state.apply(rows.logits[path].clone(), rows.context(path))[-1]
        assert torch.equal(found[row], alone), (row, path)
        taken += not torch.equal(alone, rows.logits[row])
    assert taken > 5
    stock = state.apply(rows.logits.clone(), rows.context())
    assert not torch.equal(found, stock)  # rows before a row are not its ancestors


@pytest.mark.parametrize("rule", STATES)
def test_nothing_is_launched_for_requests_without_rules(rule: str) -> None:
    rows, state = Rows.of(0), STATES[rule]()
    state.use_penalty = np.zeros(SLOTS, dtype=bool)
    state.num_bad_words = held(torch.zeros(SLOTS, dtype=torch.int32))
    logits = rows.logits[:, ::2]  # a kernel would take it for another shape
    assert getattr(TreeRules(topology()), rule)(state, logits, rows.context()) is logits


def test_they_take_the_place_of_vllms_own() -> None:
    states, rows = [penalties(), bad_words()], Rows.of(1)
    rules = TreeRules(topology())
    rules.attach(SimpleNamespace(logits_processors=states))
    for state, rule in zip(states, ("penalise", "forbid"), strict=True):
        expected = getattr(rules, rule)(state, rows.logits.clone(), rows.context())
        assert torch.equal(state.apply(rows.logits.clone(), rows.context()), expected)
    with pytest.raises(LongSpecError, match="no PenaltiesState of its own, only BadWordsState"):
        rules.attach(SimpleNamespace(logits_processors=[bad_words()]))
