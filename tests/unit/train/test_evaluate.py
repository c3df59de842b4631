"""Simulated acceptance, counted by hand on constructed answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from proposers.base import DraftContext, Proposer
from proposers.train.evaluate import walk as walk_module
from proposers.train.evaluate.calibration import bias, deciles, expected_error
from proposers.train.evaluate.journal import Journal
from proposers.train.evaluate.sequences import Answer
from proposers.train.evaluate.simulate import Simulation
from proposers.train.evaluate.summary import interval, lengths, summarise
from proposers.train.evaluate.tally import Tally
from proposers.train.evaluate.walk import Walker
from proposers.train.evaluate.ways import Way
from proposers.tree import DraftTrees, from_parents

PROMPT, STEPS = 4, 6


def answer(length: int, name: str = "a", category: str = "chat") -> Answer:
    """Tokens 0, 1, 2, ...: the prompt is the first four."""
    rows = torch.zeros(length, 1, 1)
    return Answer(name, category, PROMPT, torch.arange(length), rows[:, 0], rows, rows)


class Counting(Proposer):
    """Drafts a chain of ``depth`` tokens, each one more than the last, ``wrong`` ones first.

    Each level holds the wrong token with probability ``1 - right`` beside the right one.
    """

    def __init__(self, depth: int, right: float = 0.9, wrong: bool = False) -> None:
        self.depth, self.right, self.wrong = depth, right, wrong
        self.max_nodes, self.max_depth = 2 * depth, depth
        self.known: dict[int, int] = {}
        """Tokens of each slot, as far as they were told of."""

    def start(self, context: DraftContext) -> None:
        pairs = zip(context.slots.tolist(), context.lengths.tolist(), strict=True)
        self.known.update({slot: length - 1 for slot, length in pairs})

    def propose(self, context: DraftContext) -> DraftTrees:
        tokens, parents, scores = [], [], []
        assert int(context.num_new.max()) == context.most_new
        for slot, new in zip(context.slots.tolist(), context.num_new.tolist(), strict=True):
            self.known[slot] += new
        assert [self.known[slot] for slot in context.slots.tolist()] == context.lengths.tolist()
        for root in (context.roots() + (100 if self.wrong else 0)).tolist():
            tokens.append([t for d in range(self.depth) for t in (root + d + 1, 900)])
            above = [-1, *(2 * d for d in range(self.depth - 1))]
            parents.append([p for p in above for _ in range(2)])
            path = [d * math.log(self.right) for d in range(self.depth)]
            both = (self.right, 1 - self.right)
            scores.append([s + math.log(p) for s in path for p in both])
        return from_parents(tokens, parents, scores)


def simulate(proposer: Any, length: int, tokens: int = 0) -> Tally:
    return Simulation(proposer, [answer(length)], tokens).run()[0]


def test_an_oracle_accepts_its_whole_depth() -> None:
    # the root is the first answer token; each step accepts 3 and adds 1
    tally = simulate(Counting(3), PROMPT + 1 + 4 * STEPS)
    assert (tally.steps, tally.accepted, tally.nodes) == (STEPS, 3 * STEPS, 6 * STEPS)
    assert tally.acceptance_length == 4
    assert tally.reached == [STEPS] * 3


def test_a_wrong_draft_accepts_nothing() -> None:
    tally = simulate(Counting(3, wrong=True), PROMPT + 1 + STEPS)
    assert (tally.steps, tally.accepted, tally.acceptance_length) == (STEPS, 0, 1)
    assert tally.reached == [0, 0, 0]


def test_nothing_is_accepted_past_the_end() -> None:
    # root and two more: the oracle's third token is unknown, so neither right nor wrong
    tally = simulate(Counting(3), PROMPT + 3)
    assert (tally.steps, tally.accepted) == (1, 2)
    assert sum(row[0] for row in tally.node_bins) == 4
    assert sum(row[0] for row in tally.path_bins) == 4


def test_a_step_whose_draft_was_pruned_away_is_no_verify_step() -> None:
    class Hesitant(Counting):
        def propose(self, context: DraftContext) -> DraftTrees:
            trees = super().propose(context)
            return trees.truncated(trees.sizes * (context.roots() % 2))

    # roots 4, 5, 8, 9: an even one moves on by 1, an odd one by 3
    tally = simulate(Hesitant(2), PROMPT + 9)
    assert (tally.steps, tally.undrafted, tally.accepted, tally.nodes) == (2, 2, 4, 8)
    assert (tally.acceptance_length, tally.effective_length) == (3, 2)
    assert tally.reached == [2, 2]


def test_a_limit_ends_the_walk_where_a_server_would_stop() -> None:
    # 1 + 4 + 4 tokens reach 6; the last step is verified whole, as a server does
    tally = simulate(Counting(3), PROMPT + 40, tokens=6)
    assert (tally.steps, tally.accepted) == (2, 6)


def test_answers_of_unlike_length_walk_together_as_they_do_alone() -> None:
    sizes = [PROMPT + 3, PROMPT + 30, PROMPT + 11]
    proposer = Counting(2)
    advanced: list[int] = []
    together = Simulation(proposer, [answer(n) for n in sizes]).run(advanced.append)
    assert together == [simulate(Counting(2), n) for n in sizes]
    assert sum(advanced) <= sum(sizes) - 3 * PROMPT
    assert proposer.known.keys() == {0, 1, 2}


def test_calibration_of_known_probabilities() -> None:
    tally = simulate(Counting(2, right=0.75), PROMPT + 1 + 3 * STEPS)
    # each level: one node of 0.75 that comes true, one of 0.25 that does not
    right, wrong = tally.node_bins[7], tally.node_bins[2]
    assert right == pytest.approx([2 * STEPS, 1.5 * STEPS, 2 * STEPS], rel=1e-5)
    assert wrong == pytest.approx([2 * STEPS, 0.5 * STEPS, 0], rel=1e-5)
    assert expected_error(tally.node_bins) == pytest.approx(0.25, rel=1e-5)
    assert bias(tally.node_bins) == pytest.approx(1.0, rel=1e-5)
    # paths: 0.75 and 0.5625 come true, 0.25 and 0.1875 do not
    table = {decile.low: (decile.predicted, decile.observed) for decile in deciles(tally.path_bins)}
    expected = {0.1: (0.1875, 0), 0.2: (0.25, 0), 0.5: (0.5625, 1), 0.7: (0.75, 1)}
    assert {k: pytest.approx(v, rel=1e-5) for k, v in expected.items()} == table


def test_only_nodes_whose_parent_was_accepted_are_asked_alone() -> None:
    tally = simulate(Counting(3, wrong=True), PROMPT + 20)
    drafted_at_roots = sum(row[0] for row in tally.node_bins)
    assert drafted_at_roots == 2 * tally.steps
    assert sum(row[0] for row in tally.path_bins) > 2 * drafted_at_roots


def test_lengths_pool_steps_and_average_answers() -> None:
    short, long = simulate(Counting(3), PROMPT + 5), simulate(Counting(1), PROMPT + 21)
    long = Tally(
        long.steps, long.accepted, long.nodes, 0, [*long.reached, 0, 0], *[[[0.0] * 3] * 10] * 2
    )
    both = lengths([short, long])
    assert (short.acceptance_length, long.acceptance_length) == (4, 2)
    assert (both.pooled, both.mean, both.steps) == (1 + 13 / 11, 3, 11)
    assert both.low <= both.mean <= both.high


def test_the_interval_covers_the_mean_and_narrows() -> None:
    wide, narrow = interval([1.0, 3.0] * 4), interval([1.0, 3.0] * 40)
    assert wide[0] < narrow[0] < 2 < narrow[1] < wide[1]


def test_a_torn_line_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    journal = Journal(path)
    journal.put("one", {"x": 1})
    journal.close()
    with open(path, "a") as file:
        file.write('["two", {"x"')
    journal = Journal(path)
    assert "one" in journal
    assert "two" not in journal
    journal.put("three", 3)
    journal.close()
    assert [json.loads(line)[0] for line in path.read_text().splitlines()] == ["one", "three"]


def test_a_walk_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[int] = []

    class Spy(Simulation):
        def run(self, advance: Any = None) -> list[Tally]:
            walked.append(len(self.root))
            if len(walked) == 2:
                raise KeyboardInterrupt
            return super().run()

    monkeypatch.setattr(walk_module, "Simulation", Spy)
    monkeypatch.setattr(Way, "load", lambda *_: Counting(2))
    way = Way("2", tmp_path, "counting", {})
    answers = [answer(PROMPT + 12, str(i), "ab"[i % 2]) for i in range(4)]

    def run() -> tuple[list[Tally], Mapping[str, Any]]:
        journal = Journal(tmp_path / "journal.jsonl")
        try:
            return Walker(answers, None, journal, 0, 2, "cpu").run(way, lambda _: None)  # type: ignore[arg-type]
        finally:
            journal.close()

    with pytest.raises(KeyboardInterrupt):
        run()
    tallies, timing = run()
    assert walked == [2, 2, 2]
    assert run() == (tallies, timing)
    assert walked == [2, 2, 2]
    result = summarise(way, answers, tallies, timing)
    assert (result.all.pooled, result.all.steps) == (3, 16)
    assert {name: part.answers for name, part in result.by_category.items()} == {"a": 2, "b": 2}
    assert (result.nodes, result.depth, result.nodes_per_step) == (4, 2, 4)
