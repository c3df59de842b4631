"""The rivals' table: its numbers, and a run against scripted servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eval.servers import server
from eval.servers.http import Address
from recipes.eval import rivals
from recipes.eval.fake import Script, serving
from recipes.eval.rivals_table import POOLED, Found, pooled, spread, tables

FAST = {f"p{i}": 2.0 for i in range(6)}
SLOW = {f"p{i}": 1.0 + i / 10 for i in range(5)}
CELLS = {
    "edits": {
        "longspec": Found(FAST, [(11, 4, 6), (6, 2, 3)], 6, 6),
        "ngram": Found(SLOW, [(10, 3, 3)], 4, 6),
    },
    "json": {"longspec": Found({"p0": 0.5}, [(7, 2, 2)], 1, 1)},
}


def test_pooled_over_prompts_not_over_sets() -> None:
    whole = pooled(CELLS)["longspec"]
    assert len(whole.speedups) == 7
    assert whole.speedup().mean == pytest.approx((2**6 * 0.5) ** (1 / 7))
    assert (whole.identical, whole.compared) == (7, 7)


def test_ours_over_another_takes_common_prompts_alone() -> None:
    ours, other = CELLS["edits"]["longspec"], CELLS["edits"]["ngram"]
    assert ours.over(other) == spread(2.0 / SLOW[name] for name in sorted(SLOW))


def test_the_tables() -> None:
    over, ahead = tables(CELLS, ["longspec", "ngram"], "Speedup")
    assert list(over.columns) == ["edits", "json", POOLED, "answers as vanilla's"]
    assert over.lines["longspec"][0] == "2.00 [2.00, 2.00], AL 2.50"
    assert over.lines["longspec"][1] == "0.50, AL 1.50"  # of one prompt there is no interval
    assert over.lines["ngram"][1] == "-"
    assert over.lines["ngram"][-1] == "4/6"
    assert list(ahead.lines) == ["longspec over ngram"]
    assert ahead.lines["longspec over ngram"][1] == "-"
    assert float(ahead.lines["longspec over ngram"][0].split()[0]) == pytest.approx(1.68, abs=0.01)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[list[str], Any]]:
    """Scripted servers in the place of vLLM's; their command lines and environments."""
    lines: list[tuple[list[str], Any]] = []

    @contextmanager
    def running(line: list[str], env: Any, *_: Any) -> Iterator[server.Server]:
        lines.append((line, env))
        with serving(Script()) as url:
            yield server.Server(Address(url))

    monkeypatch.setattr(server, "running", running)
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    return lines


def test_a_run(
    tmp_path: Path, started: list[tuple[list[str], Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    line = ["--quick", "--sets", "edits,json", "--arms", "longspec,chain,ngram", "--at-once", "2"]
    line += ["--model", "fake", "--output-dir", str(folder)]
    assert rivals.main(line) == 0
    configs = [
        json.loads(command[command.index("--speculative-config") + 1])
        if "--speculative-config" in command
        else None
        for command, _ in started
    ]
    methods = [config and config["method"] for config in configs]
    assert methods == [None, "longspec", "longspec", None, "ngram"]  # vanilla beside each group
    assert configs[2]["proposer"] == "glide"
    told = capsys.readouterr()
    assert "no EAGLE-3 head" in told.err
    assert "no suffix decoding" in told.err
    table = (folder / "quick" / "table.md").read_text()
    assert "longspec over ngram" in table
    runs = sorted(str(p.parent.relative_to(folder)) for p in folder.rglob("results.json"))
    groups = ("longspec+chain", "ngram")
    assert runs == sorted(f"quick/{name}/{group}" for name in ("edits", "json") for group in groups)
    started.clear()
    assert rivals.main(line) == 0  # all is there
    assert not started


def test_as_many_prompts_as_are_at_work_at_a_time(
    tmp_path: Path, started: list[tuple[list[str], Any]]
) -> None:
    line = ["--sets", "json", "--arms", "ngram", "--concurrency", "32", "--model", "fake"]
    assert rivals.main([*line, "--output-dir", str(tmp_path)]) == 0
    run = tmp_path / "json" / "ngram@32" / "results.json"
    assert [arm["num_requests"] for arm in json.loads(run.read_text())["arms"]] == [64, 64]


def test_suffix_decoding_finds_its_tree(
    started: list[tuple[list[str], Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "complete", lambda _: True)
    monkeypatch.setenv("PYTHONPATH", "mine")
    line = ["--quick", "--sets", "json", "--arms", "suffix", "--model", "fake"]
    assert rivals.main([*line, "--output-dir", str(tmp_path / "out")]) == 0
    paths = [env.get("PYTHONPATH") for _, env in started]
    assert paths == ["mine", f"{rivals.suffix_folder()}:mine"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--arms", "medusa"), "unknown; there are longspec"),
        (("--sets", "spec"), "unknown; there are builtin"),
        (("--concurrency", "16"), "documents has 12 prompts; give 1 to 12, or other --sets"),
    ],
)
def test_what_cannot_be_is_refused(
    given: tuple[str, str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert rivals.main([*given, "--output-dir", str(tmp_path)]) == 2
    assert f"{given[0]} {given[1]}: {told}" in capsys.readouterr().err
