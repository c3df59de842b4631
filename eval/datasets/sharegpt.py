"""ShareGPT: conversations of people with assistants; the people's turns are the prompt.

Two things are left out and counted aloud: an answer that a conversation begins with, and
conversations in which nobody asks anything.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..cli.errors import UserError
from .prompt import Prompt
from .rows import Row, prompts

FILES = ("sharegpt.json", "sharegpt.jsonl")
HUMANS = frozenset({"human", "user"})
SYSTEM = frozenset({"system", "developer"})
ASSISTANTS = frozenset({"gpt", "chatgpt", "assistant", "bard", "bing"})


def of_rows(rows: Sequence[Row]) -> list[Prompt]:
    """A prompt of each conversation in which someone asks; says on stderr what is left out."""
    made = prompts(rows, _prompt)
    if not made:
        raise UserError(f"{rows[0].path}: no conversation has a turn of human")
    roles = [_roles(row) for row in rows]
    spoken = [[role for role in found if role not in SYSTEM] for found in roles]
    leading = sum(bool(HUMANS & set(found)) and found[0] in ASSISTANTS for found in spoken)
    _tell(leading, "answers that conversations begin with")
    _tell(len(rows) - len(made), "conversations without a turn of human")
    return made


def _tell(count: int, what: str) -> None:
    if count:
        print(f"sharegpt: left out {count} {what}", file=sys.stderr)


def _conversation(row: Row) -> list[dict[str, Any]]:
    turns = row.get("conversations", "conversation")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise row.bad("conversations is not a list of objects with from and value")
    return turns


def _role(turn: dict[str, Any]) -> str:
    return str(_first(turn, "from", "role"))


def _first(turn: dict[str, Any], *names: str) -> Any:
    """The first of these fields that is not null."""
    return next((turn[name] for name in names if turn.get(name) is not None), None)


def _roles(row: Row) -> list[str]:
    roles = [_role(turn) for turn in _conversation(row)]
    if other := set(roles) - HUMANS - ASSISTANTS - SYSTEM:
        raise row.bad(
            f"turns of {', '.join(sorted(other))}; only system, human and gpt are supported"
        )
    if SYSTEM & set(roles[1:]):
        raise row.bad("a turn of system after the first turn; put it before")
    return roles


def _prompt(row: Row) -> Prompt | None:
    if not HUMANS & set(_roles(row)):
        return None
    asked = [turn for turn in _conversation(row) if _role(turn) in HUMANS]
    turns = row.turns([_said(turn) for turn in asked])
    name = row.fields.get("id", row.number)
    return Prompt(prompt_id=str(name), category="sharegpt", turns=turns, system=_system(row))


def _system(row: Row) -> str | None:
    """What is said to the model first: a turn, or a field of the conversation."""
    first = _conversation(row)[0]
    said = _said(first) if _role(first) in SYSTEM else row.fields.get("system")
    if said is not None and not isinstance(said, str):
        raise row.bad("the turn of system is no text")
    return said or None


def _said(turn: dict[str, Any]) -> Any:
    return _first(turn, "value", "content")
