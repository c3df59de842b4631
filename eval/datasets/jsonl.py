"""Plain prompts: ``turns``, ``messages`` or ``prompt``, perhaps with an id and a category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .prompt import Prompt
from .rows import FULL, Row, prompts


def of_rows(rows: Sequence[Row]) -> list[Prompt]:
    """A prompt of each row."""
    return prompts(rows, _prompt)


def _prompt(row: Row) -> Prompt:
    turns = turns_of(row)
    name = row.fields.get("question_id", row.fields.get("id", row.number))
    return Prompt(prompt_id=str(name), category=row.maybe("category") or "all", turns=turns)


def turns_of(row: Row, fetch: str = FULL) -> list[str]:
    """The user's turns, in any of the three forms."""
    fields = row.fields
    if "messages" in fields:
        return row.turns(_of_messages(row, fields["messages"]), fetch)
    if "turns" in fields:
        return row.turns(fields["turns"], fetch)
    if "prompt" in fields:
        return row.turns([fields["prompt"]], fetch)
    raise row.bad("no turns, messages or prompt; expected one of them")


def _of_messages(row: Row, messages: Any) -> list[Any]:
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise row.bad("messages are not a list of objects with role and content")
    if other := {str(m.get("role")) for m in messages} - {"user"}:
        raise row.bad(f"messages of role {', '.join(sorted(other))}; only user is supported")
    return [m.get("content") for m in messages]
