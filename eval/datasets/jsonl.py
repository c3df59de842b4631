"""JSONL prompts: ``turns``, ``messages`` or ``prompt``, with an id and a category if there is one.

Nothing is dropped in silence: the first bad line is refused as ``FILE:LINE``, with the number of
lines that are bad in the same way.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..errors import UserError

PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED"


class Prompt(BaseModel):
    """A prompt: the user's turns of one conversation."""

    prompt_id: str
    category: str
    turns: list[str]


class _LineError(Exception):
    """Why a line is refused."""


def load(path: Path) -> list[Prompt]:
    """Read every line of ``path``; empty lines at the end are no lines."""
    prompts: list[Prompt] = []
    faults: list[tuple[int, str]] = []
    try:
        text = path.read_text("utf-8").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({type(error).__name__})") from None
    # Not splitlines, which also splits at U+2028 within a text.
    lines = text.split("\n") if text else []
    for number, line in enumerate(lines, 1):
        try:
            prompts.append(_prompt(line, number))
        except _LineError as bad:
            faults.append((number, str(bad)))
    _refuse(path, faults)
    if not prompts:
        raise UserError(f"{path}: holds no prompts; expected one JSON object a line")
    _refuse_double_ids(path, prompts)
    return prompts


def _refuse(path: Path, faults: list[tuple[int, str]]) -> None:
    if not faults:
        return
    number, why = faults[0]
    more = f" ({len(faults)} lines are refused in all)" if len(faults) > 1 else ""
    raise UserError(f"{path}:{number}: {why}{more}")


def _refuse_double_ids(path: Path, prompts: list[Prompt]) -> None:
    name, times = Counter(prompt.prompt_id for prompt in prompts).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path}: question_id {name} appears {times} times; ids must be unique")


def _prompt(line: str, number: int) -> Prompt:
    try:
        row = json.loads(line)
    except ValueError:
        raise _LineError("not JSON; expected one object a line") from None
    if not isinstance(row, dict):
        raise _LineError(f"a JSON {type(row).__name__}; expected an object")
    turns = _turns(row)
    if any(turn.startswith(PLACEHOLDER) for turn in turns):
        raise _LineError("a placeholder in place of the prompt; fetch the full data set first")
    if any(not turn.strip() for turn in turns):
        raise _LineError("an empty turn; give it text or take the line out")
    name = row.get("question_id", row.get("id", number))
    return Prompt(prompt_id=str(name), category=str(row.get("category", "all")), turns=turns)


def _turns(row: dict[str, Any]) -> list[str]:
    if "messages" in row:
        turns = _of_messages(row["messages"])
    elif "turns" in row:
        turns = row["turns"]
    elif "prompt" in row:
        turns = [row["prompt"]]
    else:
        raise _LineError("no turns, messages or prompt; expected one of them")
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
        raise _LineError("turns are not a list of texts")
    if not turns:
        raise _LineError("an empty list of turns; give at least one")
    return turns


def _of_messages(messages: Any) -> Any:
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise _LineError("messages are not a list of objects with role and content")
    if other := {str(m.get("role")) for m in messages} - {"user"}:
        raise _LineError(f"messages of role {', '.join(sorted(other))}; only user is supported")
    return [m.get("content") for m in messages]
