"""Negative controls: without the KV move, the mask or the positions, outputs must change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .serving import Client, Completion

pytestmark = pytest.mark.engine
COUNT = 6


@pytest.fixture(scope="module")
def answers(
    target_dir: Path, draft_dir: Path, prompts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[list[int]]]:
    folder = tmp_path_factory.mktemp("controls")
    (folder / "prompts.json").write_text(json.dumps(prompts[:COUNT]))
    script = Path(__file__).with_name("breaking.py")
    files = [str(folder / "out.json"), str(folder / "prompts.json")]
    command = [sys.executable, str(script), str(target_dir), str(draft_dir), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, list[list[int]]] = json.loads((folder / "out.json").read_text())
    return found


def test_whole_method_is_exact(
    answers: dict[str, list[list[int]]], plain: tuple[Client, list[Completion]]
) -> None:
    expected = [list(completion.tokens[:64]) for completion in plain[1][:COUNT]]
    assert [tokens[:64] for tokens in answers["none"]] == expected


@pytest.mark.parametrize("part", ["kv_move", "mask", "positions"])
def test_breaking_a_part_changes_the_output(answers: dict[str, list[list[int]]], part: str) -> None:
    changed = sum(a != b for a, b in zip(answers["none"], answers[part], strict=True))
    print(f"without {part}: {changed} of {COUNT} outputs differ")
    assert changed >= COUNT // 2
