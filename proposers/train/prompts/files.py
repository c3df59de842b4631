"""Prompts in JSONL files: a line has `turns` or `prompt`, and may have a category and an id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IDS = ("id", "prompt_id", "question_id", "task_id")


@dataclass(frozen=True)
class FilePrompt:
    """One line. ``id`` is told by the file's name and the line's own id, or else its number."""

    id: str
    category: str
    turns: list[str]


def read_prompts(path: Path) -> Iterator[FilePrompt]:
    """The prompts of a file.

    Raises:
        ValueError: one line for a missing file or a line that holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # texts may hold other line ends
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"{path}: {reason}; name JSONL files of prompts") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _prompt(path, number, line)


def _prompt(path: Path, number: int, line: str) -> FilePrompt:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{number}: not JSON ({error.msg}); one object a line") from None
    turns = _turns(row)
    if turns is None:
        raise ValueError(
            f"{path}:{number}: no prompt; expected `turns`, a list of texts, or `prompt`, a text"
        )
    name = next((row[key] for key in IDS if row.get(key) is not None), number)
    return FilePrompt(f"{path.stem}:{name}", str(row.get("category") or path.stem), turns)


def _turns(row: Any) -> list[str] | None:
    """The texts of a line; None if it has none, or others."""
    if not isinstance(row, dict):
        return None
    turns: Any = row["turns"] if row.get("turns") else [row.get("prompt")]
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
        return None
    return turns
