"""AIME: competition problems with a whole number as the answer."""

from __future__ import annotations

from collections.abc import Sequence

from .prompt import Prompt
from .rows import Row, prompts

FILES = ("aime.jsonl", "aime.parquet")
PROMPT = (
    "{problem}\n\nThe answer is a whole number from 0 to 999. Work it out step by step, and end"
    " with the answer alone in \\boxed{{}}."
)


def of_rows(rows: Sequence[Row]) -> list[Prompt]:
    """A prompt of each problem; the reference is not looked at."""
    return prompts(rows, _prompt)


def _prompt(row: Row) -> Prompt:
    problem = row.turns([problem_of(row)])[0]
    turn = PROMPT.format(problem=problem)
    return Prompt(prompt_id=name_of(row), category="aime", turns=[turn])


def problem_of(row: Row) -> str:
    """The problem, as the exports name it."""
    return row.text("problem", "Problem", "question")


def name_of(row: Row) -> str:
    """The id; where there is none, as in some exports, the number of the line is one."""
    named = "id" in row.fields or "ID" in row.fields
    return str(row.get("id", "ID") if named else row.number)
