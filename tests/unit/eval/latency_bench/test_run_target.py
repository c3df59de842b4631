"""Whole runs on a tiny target with real heads and a GLIDE draft."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from eval.latency_bench import main

from .running import SMALL, run


def test_real_heads_and_drafts(tmp_path: Path, target: Path) -> None:
    given = ["--target", target, "--heads", target / "heads", "--draft", target / "draft"]
    given += ["--gammas", "2"]
    code, folder, found = run(tmp_path, *map(str, given))
    assert code == 0
    rows = found["rows"]
    assert len(rows) == 7
    assert not any(row["random_weights"] for row in rows.values())
    assert [name for name, row in rows.items() if "note" in row] == ["hydra_poe_verified"]
    assert "acceptance" not in rows["hydra_poe_verified"]["per_gamma"]["2"]  # without a bridge
    for name in ("hydra_poe", "hydra_poe_bonus"):
        for gamma in rows[name]["per_gamma"].values():
            told = gamma["acceptance"]
            assert told["output_tokens_per_call"] == 4
            assert told["avg_accepted_tokens_per_call"] <= 4
            expected = 1e3 * told["avg_accepted_tokens_per_call"] / told["median_ms"]
            assert told["effective_tps"] == pytest.approx(expected)
            if told["resample_rate"] < 1:
                visible = told["effective_tps"] / (1 - told["resample_rate"])
                assert told["user_tps"] == pytest.approx(visible)
    assert rows["hydra_poe"]["per_gamma"]["2"]["acceptance"]["avg_bonus_tokens_per_call"] == 0
    for name in ("glide_chain", "glide_tree"):
        assert rows[name]["call"]["output_tokens_per_call"] == 4
        assert rows[name]["call"]["acceptance_length"] >= 1
    assert found["prompt"]["tokens"] == 12
    assert "glide_tree" in (folder / "table.md").read_text("utf-8")


def test_bad_heads(tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(target / "heads", heads := tmp_path / "heads")
    (heads / "head-0.safetensors").write_text("x")
    given = ["--target", str(target), "--heads", str(heads), "--rows", "hydra_naive"]
    assert main([*SMALL.split(), *given, "--output-dir", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith(f"latency_bench: error: {heads}/head-0.safetensors cannot be read")
    assert list((tmp_path / "out").iterdir()) == []
