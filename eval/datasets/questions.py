"""``question.jsonl`` of Spec-Bench, MT-Bench and EAGLE: question_id, category, turns."""

from __future__ import annotations

from collections.abc import Sequence

from .prompt import Prompt
from .rows import Row, prompts

FILES = ("question.jsonl",)


def of_rows(rows: Sequence[Row]) -> list[Prompt]:
    """A prompt of each row; a ``reference`` is not looked at."""
    return prompts(rows, _prompt)


def _prompt(row: Row) -> Prompt:
    return Prompt(
        prompt_id=str(row.get("question_id")),
        category=str(row.get("category")),
        turns=row.turns(row.get("turns")),
    )
