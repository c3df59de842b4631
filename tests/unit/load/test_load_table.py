"""The table of nodes by batch size: what is best, and a run against scripted servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eval.servers import server
from eval.servers.http import Address
from proposers.load.schedule import NodeSchedule
from recipes.eval import load_table
from recipes.eval.fake import Script, serving
from recipes.eval.load_cells import Cell, Rates, doubled, schedule

RATES = {
    1: {"vanilla": 50, "0": 49, "2": 70, "8": 100},
    2: {"vanilla": 90, "0": 90, "2": 149, "8": 150},
    4: {"vanilla": 99, "0": 90, "2": 80, "8": 60},
}


def cells() -> list[Cell]:
    return [
        Cell(
            nodes=name, requests=size, round=round_, tokens=rate * (round_ + 1), seconds=round_ + 1
        )
        for size, row in RATES.items()
        for name, rate in row.items()
        for round_ in range(2)
    ]


def test_the_fewest_nodes_near_the_best() -> None:
    rates = Rates(cells())
    assert [rates.best(size) for size in (1, 2, 4, 8)] == [8, 2, 0, None]
    assert [rates.lost(size) for size in (1, 2, 4, 8)] == [False, False, True, False]
    assert rates.of("8", 1) == 100
    assert rates.of("8", 3) is None


@pytest.mark.parametrize(
    ("sizes", "entries"),
    [
        ([1, 2, 4], [[1, 1, 8], [2, 3, 2], [4, 32, 0]]),
        ([1, 4], [[1, 3, 8], [4, 32, 0]]),
        ([4, 8], [[1, 32, 0]]),
        ([8], []),
    ],
)
def test_entries_cover_all_batch_sizes(sizes: list[int], entries: list[list[int]]) -> None:
    found = schedule(Rates(cells()), sizes, 32)
    assert found == entries
    if found:
        assert NodeSchedule.read(found).nodes(32) == found[-1][2]


def test_equal_neighbours_are_one_entry() -> None:
    same = [Cell(nodes="3", requests=n, round=0, tokens=9, seconds=1) for n in (1, 2, 4)]
    assert schedule(Rates(same), [1, 2, 4], 4) == [[1, 4, 3]]


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_batch_sizes(most: int, sizes: list[int]) -> None:
    assert list(doubled(most)) == sizes


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Scripted servers in the place of vLLM's; their command lines."""
    lines: list[list[str]] = []

    @contextmanager
    def running(line: list[str], *_: Any) -> Iterator[server.Server]:
        if len(lines) == 2:
            lines.append([])
            raise KeyboardInterrupt
        lines.append(line)
        with serving(Script()) as url:
            yield server.Server(Address(url))

    monkeypatch.setattr(server, "running", running)
    return lines


def test_a_run_that_is_stopped_goes_on(
    tmp_path: Path, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    own = json.dumps({"proposer": "prompt_lookup", "follow_load": True})
    line = ["--model", "target", "--speculative-config", own, "--max-num-seqs", "2", "--least"]
    line += ["2", "--nodes", "0,2,99", "--output-dir", str(tmp_path)]
    assert load_table.main(line) == 130  # while the third server starts
    assert len((tmp_path / "cells.jsonl").read_text().splitlines()) == 4
    assert "goes on" in capsys.readouterr().err
    assert load_table.main(line) == 0
    configs = [
        json.loads(command[command.index("--speculative-config") + 1])
        for command in started
        if "--speculative-config" in command
    ]
    nodes = [config["num_speculative_tokens_per_batch_size"][0][2] for config in configs]
    assert nodes == [0, 2, 8]  # all of the tree is tried, more is not
    assert not any("follow_load" in config for config in configs)
    told = json.loads((tmp_path / "schedule.json").read_text())
    NodeSchedule.read(told["num_speculative_tokens_per_batch_size"])
    assert "num_speculative_tokens_per_batch_size" in capsys.readouterr().out
    assert load_table.main([*line, "--output-len", "9"]) == 2
    assert "was measured with --output-len 64, not 9" in capsys.readouterr().err
