"""Which reader a path is for: by the fields of its first row, or the names in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..cli.errors import UserError
from . import aime, humaneval, jsonl, longbench, sharegpt, speed_bench
from .files import SUFFIXES
from .prompt import Prompt
from .rows import Row

OfRows = Callable[[Sequence[Row]], list[Prompt]]

# The first whose fields are all there reads the file; any of those joined by | will do.
_FIELDS: tuple[tuple[tuple[str, ...], OfRows], ...] = (
    (("conversations|conversation",), sharegpt.of_rows),
    (("choice_A", "context"), longbench.of_rows),
    (("context", "input"), longbench.of_rows),
    (("question_id", "category", "src_id", "turns|messages"), speed_bench.of_rows),
    (("turns|messages",), jsonl.of_rows),
    (("task_id", "prompt"), humaneval.of_rows),
    (("problem|Problem", "answer|Answer"), aime.of_rows),
)


def reader(first: Row) -> OfRows:
    """The reader of rows like this one; plain prompts, where nothing tells otherwise."""
    there = first.fields if isinstance(first.value, dict) else {}
    for fields, read in _FIELDS:
        if all(any(name in there for name in field.split("|")) for field in fields):
            return read
    return jsonl.of_rows


def folder(path: Path) -> tuple[str, Path]:
    """Name of the data set that a folder holds, or ``""``, and the path to read.

    Raises ``UserError`` for a folder with no data file, or with several that nothing tells apart.
    """
    names = {entry.name.partition(".")[0] for entry in path.iterdir()}
    if names & set(speed_bench.CONFIGS):
        return speed_bench.NAME, path
    if names & set(longbench.ALL):
        return longbench.NAME, path
    files = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
    if len(files) == 1:
        return "", files[0]
    told = ", ".join(file.name for file in files[:5]) or "none"
    raise UserError(f"--dataset {path}: a folder with data files {told}; give one of them")
