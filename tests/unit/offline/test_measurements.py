"""The measurements run, on a tiny target, and say what they measured."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from recipes.offline import exactness, kv, lag, shapes, step

from .tiny import tiny_draft, tiny_target


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("measured")
    tiny_draft(folder / "draft", tiny_target(folder / "target"))
    return ["--model", str(folder / "target"), "--draft", str(folder / "draft")]


def run(
    module: Any, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, list[Path]]:
    options = ["--output-dir", str(tmp_path), "--threads", "1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["x", *arguments, *options])
    code: int = module.main()
    return code, sorted(tmp_path.iterdir())


def test_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["--shapes", "tiny", "--contexts", "[16, 64]", "--repeats", "2"]
    code, (result, picture) = run(step, wanted, tmp_path, monkeypatch)
    rows = json.loads(result.read_text())["results"]
    assert (code, picture.suffix) == (0, ".png")
    assert [row["context"] for row in rows] == [16, 64]
    assert rows[0]["draft_mib"] == rows[1]["draft_mib"]
    assert rows[1]["kv_mib"] == 4 * rows[0]["kv_mib"] == 4 * 4 * 2 * 2 * 16 * 32 * 2 / 2**20
    assert all(row["own"] > 0 and row["floor"] < row["step"] for row in rows)


def test_kv(paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [*paths, "--contexts", "[32]", "--repeats", "2", "--dtype", "float32"]
    code, (result,) = run(kv, wanted, tmp_path, monkeypatch)
    (row,) = json.loads(result.read_text())["results"]
    assert code == 0
    assert 0 < row["move"] < row["forward"]


def prompts(*_: object) -> list[list[int]]:
    return [[5, 6, 7], [9, 9], [11]]


@pytest.mark.parametrize("module", [exactness, lag, shapes])
def test_over_prompts(
    module: Any, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "chat_prompts", prompts)
    every = ["--every", "1", "--dtype", "float32"] if module is shapes else []
    code, (result,) = run(module, [*paths, *every, "--tokens", "8"], tmp_path, monkeypatch)
    assert code == 0
    assert json.loads(result.read_text())["title"].startswith(
        {exactness: "float32, batch 8, 3 prompts", lag: "acceptance", shapes: "3 prompts"}[module]
    )


def test_a_difference_is_a_failure(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: an answer that is not vanilla's makes the exactness run fail."""
    monkeypatch.setattr(exactness, "chat_prompts", prompts)
    same = exactness.compare

    def differs(*args: Any) -> list[dict[str, Any]]:
        return [{**record, "tree_same": i > 0} for i, record in enumerate(same(*args))]

    monkeypatch.setattr(exactness, "compare", differs)
    code, _ = run(exactness, [*paths, "--tokens", "8"], tmp_path, monkeypatch)
    assert code == 1


def test_names_of_drafts() -> None:
    assert lag.named("a=x,b=y/z") == {"a": Path("x"), "b": Path("y/z")}
    with pytest.raises(argparse.ArgumentTypeError, match="'b': expected NAME=FOLDER"):
        lag.named("a=x,b")
