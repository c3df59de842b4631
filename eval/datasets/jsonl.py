"""Plain prompts: ``turns``, ``messages`` or ``prompt``, perhaps with an id and a category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .prompt import Prompt
from .rows import FULL, Row, prompts

SYSTEM = ("system", "developer")


def of_rows(rows: Sequence[Row]) -> list[Prompt]:
    """A prompt of each row."""
    return prompts(rows, _prompt)


def _prompt(row: Row) -> Prompt:
    turns = turns_of(row)
    name = row.fields.get("question_id", row.fields.get("id", row.number))
    category = row.maybe("category") or "all"
    return Prompt(prompt_id=str(name), category=category, turns=turns, system=system_of(row))


def turns_of(row: Row, fetch: str = FULL) -> list[str]:
    """The user's turns, in any of the three forms."""
    fields = row.fields
    if "messages" in fields:
        asked = [text for role, text in _messages(row) if role == "user"]
        return row.turns(asked, fetch)
    if "turns" in fields:
        return row.turns(fields["turns"], fetch)
    if "prompt" in fields:
        return row.turns([fields["prompt"]], fetch)
    raise row.bad("no turns, messages or prompt; expected one of them")


def system_of(row: Row) -> str | None:
    """What ``messages``, or a field ``system``, say to the model before the first turn."""
    if "messages" not in row.fields:
        said = row.text("system") if "system" in row.fields else ""
    else:
        said = "\n\n".join(text for role, text in _messages(row) if role in SYSTEM)
    return said or None


def _messages(row: Row) -> list[tuple[str, Any]]:
    """Roles and texts; the model is spoken to first, and answers only at run time."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise row.bad("messages are not a list of objects with role and content")
    roles = [str(m.get("role")) for m in messages]
    if other := set(roles) - {"user", *SYSTEM}:
        raise row.bad(
            f"messages of role {', '.join(sorted(other))}; only system and user are supported"
        )
    first = next((i for i, role in enumerate(roles) if role == "user"), len(roles))
    if set(roles[first:]) - {"user"}:
        raise row.bad("a message of role system after the first of the user; put it before")
    found = [
        (role, text_of(row, m.get("content"))) for role, m in zip(roles, messages, strict=True)
    ]
    return [(role, text) for role, text in found if role == "user" or text]


def text_of(row: Row, content: Any) -> Any:
    """The text of parts, ``[{"type": "text", "text": ...}]``; anything else as it is."""
    if not isinstance(content, list):
        return content
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
        raise row.bad("content has parts that are no text; only texts can be sent")
    return "".join(part["text"] for part in content)
