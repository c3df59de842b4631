"""Whole runs on tiny shapes: files, rows, numbering, Ctrl-C."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from eval.latency_bench import benchmarks, main, runner
from eval.latency_bench.results import new_folder

from .running import SMALL, run

TIMES = {"median_ms", "p20", "p80", "n_calls", "raw_ms", "filtered_ms"}


def test_random_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["baseline", "hydra_naive", "hydra_poe"]
    code, folder, found = run(tmp_path, "--size", "tiny", "--rows", ",".join(rows), "--seed", "3")
    assert code == 0
    check_provenance(found, rows)
    assert folder.name == f"{date.today()}_run01"
    assert {path.name for path in folder.iterdir()} == {"results.json", "graph.png", "table.md"}
    assert (folder / "graph.png").read_bytes().startswith(b"\x89PNG")
    assert found["complete"]
    assert list(found["rows"]) == rows
    for row in found["rows"].values():
        assert row["random_weights"]
        assert row["weights"] == "random"
        assert set(row["ttft"]) == TIMES
    again = [row.get("beside", {}).get("output_tokens_per_call") for row in found["rows"].values()]
    assert again == [None, 4, 4]
    for name in rows[:2]:
        points = found["rows"][name]["decode"]["per_position"]
        assert [(point["position"], point["context"]) for point in points] == [(0, 12), (2, 14)]
        assert found["rows"][name]["call"]["output_tokens_per_call"] == 4
    poe = found["rows"]["hydra_poe"]
    assert list(poe["per_gamma"]) == ["1", "3"]
    assert all("acceptance" not in gamma for gamma in poe["per_gamma"].values())
    assert poe["note"].startswith("latency only: without real heads")
    shown = capsys.readouterr().out
    assert "note: latency only" in shown
    assert "resampled " not in shown.partition("TTFT:")[0]
    assert "| hydra_poe γ=3" in (folder / "table.md").read_text("utf-8")


def test_without_pairs(tmp_path: Path) -> None:
    for more in (["--paired", "false"], ["--rows", "hydra_naive"]):
        _, _, found = run(tmp_path, "--size", "tiny", "--rows", "baseline,hydra_naive", *more)
        assert all("beside" not in row for row in found["rows"].values())


def check_provenance(found: dict[str, Any], rows: list[str]) -> None:
    source = found["provenance"]
    assert source["seed"] == found["settings"]["seed"] == 3
    assert source["versions"]["torch"]
    assert set(source["revision"]) == {"commit", "changed"}
    assert found["settings"]["rows"] == rows
    assert found["settings"]["prompt_length"] == found["prompt"]["tokens"] == 12
    assert found["device"]["name"].startswith("CPU, ")


def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*given: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmarks, "benchmark_call", stop)
    code, folder, found = run(tmp_path, "--size", "tiny")
    assert code == 130
    assert not found["complete"]
    assert set(found["rows"]["baseline"]) == {"random_weights", "weights", "ttft", "decode"}
    assert (folder / "graph.png").exists()
    shown = capsys.readouterr()
    assert "Stopped early" in shown.out
    assert "stopped by Ctrl-C; what was measured is written" in shown.err


def test_nothing_measured_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.rows, "measure", stop)
    assert main([*SMALL.split(), "--size", "tiny", "--output-dir", str(tmp_path / "out")]) == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_prompt_too_short(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The template alone may be longer."""
    from eval.cli.errors import UserError
    from eval.latency_bench.prompts import fitted

    with pytest.raises(UserError, match="has 31 tokens with the target's chat template; give at"):
        fitted(lambda text: 30 + len(text.split()), 20)
    assert len(fitted(lambda text: 30 + len(text.split()), 40).split()) == 10


def test_numbering(tmp_path: Path) -> None:
    day = date(2026, 11, 20)
    assert new_folder(tmp_path, day).name == "2026-11-20_run01"
    assert new_folder(tmp_path, day).name == "2026-11-20_run02"
    (tmp_path / "2026-11-20_run09").mkdir()
    (tmp_path / "2026-11-20_run09.png").touch()
    (tmp_path / "2026-11-19_run70").mkdir()
    assert new_folder(tmp_path, day).name == "2026-11-20_run10"
    assert new_folder(tmp_path, date(2026, 11, 21)).name == "2026-11-21_run01"
