"""What the SGLang adapter keeps of requests by slot, and what it tells a proposer of them."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from longspec_plugin.sglang.drafter import TreeDrafter
from longspec_plugin.sglang.history import TokenHistory
from proposers.base import DraftContext, Proposer
from proposers.tree import DraftTrees, chains

LIMIT = 40


def request(rid: str, prompt: list[int], output: list[int], **params: Any) -> SimpleNamespace:
    plain = {"frequency_penalty": 0, "presence_penalty": 0, "repetition_penalty": 1}
    more = {"min_new_tokens": 0, "stop_token_ids": None}
    sampling = SimpleNamespace(**{**plain, **more, **params})
    tokens = {"origin_input_ids": array("q", prompt), "output_ids": array("q", output)}
    rest = {"grammar": None, "beam_group": None, "custom_logit_processor": None}
    return SimpleNamespace(rid=rid, sampling_params=sampling, **rest, **tokens)


def batch(*rows: tuple[SimpleNamespace, int, int]) -> SimpleNamespace:
    """Of requests, their slots and how many of their tokens have KV."""
    requests, slots, lengths = zip(*rows, strict=True)
    return SimpleNamespace(
        reqs=list(requests),
        req_pool_indices=torch.tensor(slots),
        req_pool_indices_cpu=torch.tensor(slots),
        seq_lens=torch.tensor(lengths),
        seq_lens_cpu=torch.tensor(lengths),
    )


def history() -> TokenHistory:
    return TokenHistory(torch.zeros(4, LIMIT + 10, dtype=torch.int32))


def known(kept: TokenHistory, slot: int) -> list[int]:
    return kept.tokens[slot, : int(kept.known[slot])].tolist()


def test_the_history_is_ahead_of_sglangs_own_record() -> None:
    kept, one, other = history(), request("a", [1, 2, 3], []), request("b", [4], [5])
    kept.begin(batch((one, 2, 3), (other, 1, 2)), torch.tensor([9, 8]))  # prefilled: 9 and 8 drawn
    step = batch((other, 1, 2), (one, 2, 3))
    kept.settle(step)
    assert kept.new[[1, 2]].tolist() == [1, 1]
    assert kept.roots(step).tolist() == [8, 9]
    kept.extend(step, torch.tensor([[6, -1, -1], [7, 8, 9]]), torch.tensor([1, 2]))
    assert known(kept, 2) == [1, 2, 3, 9, 7, 8]
    assert known(kept, 1) == [4, 5, 8, 6]
    step = batch((one, 2, 5), (other, 1, 3))
    kept.settle(step)
    assert kept.new[[1, 2]].tolist() == [1, 2]
    assert kept.roots(step).tolist() == [8, 6]
    assert int(kept.tokens.min()) == 0  # what pads a step is no token


def test_what_was_not_prefilled_here_is_taken_from_the_request_or_refused() -> None:
    kept, one = history(), request("a", [1, 2, 3], [4, 5])
    kept.begin(batch((request("a", [1, 2], []), 1, 2)), torch.tensor([9]))  # another life of it
    kept.settle(batch((one, 1, 4)))
    assert known(kept, 1) == [1, 2, 3, 4, 5]
    with pytest.raises(RuntimeError, match="request a has 5 tokens, KV of 7"):
        kept.settle(batch((one, 2, 7)))
    kept.settle(batch((one, 3, 4)))  # never seen in this slot
    assert known(kept, 3) == [1, 2, 3, 4, 5]
    stranger = request("a", [7, 7, 7, 7], [8])  # as many tokens and the same id, another request
    kept.settle(batch((stranger, 3, 4)))
    assert known(kept, 3) == [7, 7, 7, 7, 8]


class Watching(Proposer):
    """Drafts a chain of three nodes; keeps what it was told."""

    max_nodes = max_depth = 3

    def __init__(self) -> None:
        self.started: list[list[int]] = []
        self.steps: list[DraftContext] = []

    def start(self, context: DraftContext) -> None:
        self.started.append(context.slots.tolist())

    def propose(self, context: DraftContext) -> DraftTrees:
        self.steps.append(context)
        return chains([[1, 2, 3]] * len(context.slots))


@pytest.fixture
def drafter(monkeypatch: pytest.MonkeyPatch) -> TreeDrafter:
    monkeypatch.setattr("longspec_plugin.sglang.drafter.target_model", lambda *_: None)
    pool = SimpleNamespace(req_to_token=torch.zeros(4, LIMIT + 10, dtype=torch.int32))
    config = SimpleNamespace(context_len=LIMIT)
    runner = SimpleNamespace(req_to_token_pool=pool, model=None, model_config=config)
    return TreeDrafter(Watching(), runner, 3, static=False)


def step(drafter: TreeDrafter, *rows: tuple[SimpleNamespace, int, int]) -> list[int]:
    """Draft, then accept the first node of every tree; the trees' sizes."""
    now = batch(*rows)
    trees = drafter.draft(now, lambda given: given)
    count = len(rows)
    counts = torch.where(trees.sizes > 0, 2, 1)
    drafter.history.extend(now, torch.tensor([[1, 7]] * count), counts)
    return trees.sizes.tolist()


def test_new_requests_are_started_and_undraftable_ones_get_no_tree(drafter: TreeDrafter) -> None:
    watching = drafter.proposer
    assert isinstance(watching, Watching)
    one, beam = request("a", [1, 2, 3], []), request("b", [4, 5], [])
    beam.beam_group = object()
    drafter.history.begin(batch((one, 1, 3), (beam, 2, 2)), torch.tensor([9, 9]))
    drafter.remember_hidden(torch.tensor([1, 2]), torch.tensor([[1.0], [2.0]]))
    assert step(drafter, (one, 1, 3), (beam, 2, 2)) == [3, 0]
    assert step(drafter, (beam, 2, 3), (one, 1, 5)) == [0, 3]
    assert watching.started == [[1, 2]]
    first, second = watching.steps
    assert first.budgets.tolist() == [3, 0]
    assert second.lengths.tolist() == [4, 6]
    assert second.num_new.tolist() == [1, 2]
    assert second.most_new == 2
    assert second.roots().tolist() == [1, 7]
    assert second.hidden_states is not None
    assert second.hidden_states.flatten().tolist() == [2, 1]


def test_a_request_that_comes_again_or_paused_is_started_again(drafter: TreeDrafter) -> None:
    watching = drafter.proposer
    assert isinstance(watching, Watching)
    one, other = request("a", [1, 2, 3], []), request("b", [4, 5], [])
    drafter.history.begin(batch((one, 1, 3)), torch.tensor([9]))
    step(drafter, (one, 1, 3))
    drafter.history.begin(batch((other, 2, 2)), torch.tensor([9]))
    step(drafter, (one, 1, 5), (other, 2, 2))
    one.output_ids = array("q", [9, 1, 7, 1])  # retracted, and prefilled in another's slot
    drafter.history.begin(batch((one, 2, 7)), torch.tensor([7]))
    step(drafter, (one, 2, 7))
    one.beam_group = object()
    assert step(drafter, (one, 2, 9)) == [0]
    one.beam_group = None
    step(drafter, (one, 2, 10))
    assert watching.started == [[1], [2], [2], [2]]
    assert len(watching.steps) == 4


def test_no_tree_reaches_behind_the_length_limit(drafter: TreeDrafter) -> None:
    one = request("a", list(range(LIMIT - 5)), [])
    drafter.history.begin(batch((one, 1, LIMIT - 5)), torch.tensor([9]))
    sizes = [step(drafter, (one, 1, length)) for length in (LIMIT - 5, LIMIT - 3, LIMIT - 1)]
    assert sizes == [[3], [1], [0]]
