"""Files and their rows: what comes back as it was, and every bad row by its number."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import datasets

from .test_datasets import (
    CHOICES,
    FUNCTION,
    HIDDEN,
    LONG,
    LONG2,
    PROBLEM,
    QUESTION,
    SPEED,
    TALK,
    refusal,
    write,
)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (SPEED | {"turns": [f"{HIDDEN}\n\nSum up {{article}}"]}, "a placeholder in place of"),
        (QUESTION | {"turns": ["Hi", " "]}, "an empty turn"),
        (QUESTION | {"turns": []}, "an empty list of turns"),
        (QUESTION | {"turns": "Hi"}, "turns are not a list of texts"),
        (SPEED | {"turns": [HIDDEN]}, "prepare_data speed-bench"),
        (LONG | {"context": " "}, "an empty turn"),
        (LONG | {"dataset": "vcsum"}, "no prompt for task vcsum; there are prompts for gov_report"),
        (LONG2 | CHOICES | {"choice_C": 1}, "choice_C is a JSON int; expected a text"),
        (PROBLEM | {"problem": ""}, "an empty turn"),
        (PROBLEM | {"problem": HIDDEN}, "a placeholder in place of"),
        (FUNCTION | {"prompt": "\n"}, "an empty turn"),
        (TALK | {"conversations": ["Hi"]}, "conversations is not a list of objects"),
        (TALK | {"conversations": [{"from": "human", "value": ""}]}, "an empty turn"),
        (TALK | {"conversations": [{"from": "tool", "value": "x"}]}, "turns of tool; only"),
        ("{", "not JSON; expected one object a line"),
        ("", "not JSON; expected one object a line"),
        ("[1]", "a JSON list; expected an object"),
    ],
)
def test_bad_rows_are_named_and_counted(row: Any, why: str, tmp_path: Path) -> None:
    """The reader is that of the first row, a good one of the same kind."""
    kinds = (QUESTION, SPEED, LONG, LONG2 | CHOICES, PROBLEM, FUNCTION, TALK)
    good = next((k for k in kinds if isinstance(row, dict) and set(k) <= set(row)), QUESTION)
    path = write(tmp_path / "gov_report.jsonl", good, row, row, good)
    found = refusal(str(path))
    assert found.startswith(f"{path}:2: ")
    assert why in found
    assert found.endswith("(3 lines are refused in all)")  # the last has the id of the first


def test_double_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", QUESTION, QUESTION | {"question_id": 2}, QUESTION)
    assert refusal(str(path)) == f"{path}:3: id 1 as in line 1; ids must be unique"


def test_questions_by_name_need_their_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "question.jsonl", {"prompt": "Hi"})
    assert refusal(f"mt-bench:{path}") == f"{path}:1: no key question_id; it has prompt"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.jsonl")
    assert refusal(str(empty)) == f"{empty}: holds no prompts; expected one JSON object a line"
    for name in ("text.jsonl", "packed.jsonl.gz"):
        (tmp_path / name).write_bytes(b"\xff")
        assert "cannot be read as UTF-8 text" in refusal(str(tmp_path / name))


class FakeParquet(ModuleType):
    """Stands for ``pyarrow.parquet``: a table of these rows, or this error."""

    def __init__(self, found: list[dict[str, Any]] | Exception) -> None:
        super().__init__("pyarrow.parquet")
        self.found = found

    def read_table(self, path: Path) -> SimpleNamespace:
        if isinstance(self.found, Exception):
            raise self.found
        rows = self.found
        return SimpleNamespace(to_pylist=lambda: rows)


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test-0.parquet"
    path.touch()

    def holds(found: list[dict[str, Any]] | Exception) -> None:
        package = ModuleType("pyarrow")
        package.parquet = FakeParquet(found)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pyarrow", package)
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", package.parquet)

    holds([SPEED | {"turns": ["a", "b"], "messages": None}])
    assert datasets.load(str(path))[0].turns == ["a", "b"]
    holds(ValueError("magic bytes"))
    assert refusal(str(path)) == f"{path}: cannot be read as parquet (ValueError)"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "parquet needs pyarrow; pip install" in refusal(str(path))


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)


@given(st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=5))
def test_turns_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, turns: list[list[str]]
) -> None:
    """Any text, line separators of Unicode and control characters included."""
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    lines = [json.dumps({"turns": several}, ensure_ascii=False) for several in turns]
    path.write_bytes("\n".join(lines).encode())
    assert [prompt.turns for prompt in datasets.load(str(path))] == turns
