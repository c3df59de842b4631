"""The rows of a data file, each with its number and its fields.

Nothing is dropped in silence: the first bad row is refused as ``FILE:ROW``, with the number of
rows that are bad. Rows count from 1; of a JSON lines file they are its lines. A field that is null
counts as absent, as rows of a union of schemas have one for every field of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..cli.errors import UserError
from ..records.jsontext import is_writable
from . import files
from .files import NotJson
from .prompt import Prompt

T = TypeVar("T")
PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED"
FULL = "fetch the full data set first"


class RowError(UserError):
    """Why a row is refused; the text names its file and number."""


@dataclass(frozen=True)
class Row:
    """One row; its value is only looked at when its fields are asked for."""

    path: Path
    number: int
    value: object

    @property
    def fields(self) -> dict[str, Any]:
        """The row's fields that are not null; raises ``RowError`` where it is no object."""
        if isinstance(self.value, NotJson):
            raise self.bad(self.value.why)
        if not isinstance(self.value, dict):
            raise self.bad(f"a JSON {type(self.value).__name__}; expected an object")
        return {name: value for name, value in self.value.items() if value is not None}

    def get(self, *names: str) -> Any:
        """The value of the first of these keys that is there."""
        for name in names:
            if name in self.fields:
                return self.fields[name]
        raise self.bad(f"no key {' or '.join(names)}; it has {', '.join(self.fields) or 'none'}")

    def text(self, *names: str) -> str:
        """The same, if it is a text."""
        value = self.get(*names)
        if not isinstance(value, str):
            raise self.bad(f"{names[0]} is a JSON {type(value).__name__}; expected a text")
        return value

    def maybe(self, name: str) -> str | None:
        """The value as text; None where it is not there."""
        value = self.fields.get(name)
        return None if value is None else str(value)

    def turns(self, turns: object, fetch: str = FULL) -> list[str]:
        """``turns``, if they are texts that can be sent; ``fetch`` is how to fill placeholders."""
        if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
            raise self.bad("turns are not a list of texts")
        if not turns:
            raise self.bad("an empty list of turns; give at least one")
        if any(turn.startswith(PLACEHOLDER) for turn in turns):
            raise self.bad(f"a placeholder in place of the prompt; {fetch}")
        if any(not turn.strip() for turn in turns):
            raise self.bad("an empty turn; give it text or take the line out")
        return turns

    def bad(self, why: str) -> RowError:
        """An error that names the row."""
        return RowError(f"{self.path}:{self.number}: {why}")


def read(path: Path) -> list[Row]:
    """Every row of a file; empty lines at its end are no rows."""
    return list(stream(path))


def stream(path: Path) -> Iterator[Row]:
    """The same one by one, for files that are larger than memory should be."""
    return (Row(path, number, value) for number, value in enumerate(files.values(path), 1))


def collect(rows: Iterable[Row], of: Callable[[Row], T]) -> list[T]:
    """``of`` each row; refuses the first bad one, and tells how many there are."""
    made: list[T] = []
    faults: list[RowError] = []
    for row in rows:
        try:
            made.append(of(row))
        except RowError as bad:
            faults.append(bad)
    if faults:
        more = f" ({len(faults)} lines are refused in all)" if len(faults) > 1 else ""
        raise UserError(f"{faults[0]}{more}")
    return made


def prompts(rows: Sequence[Row], of: Callable[[Row], Prompt | None]) -> list[Prompt]:
    """A prompt of each row for which there is one; refuses an id that an earlier row has."""
    seen: dict[str, Row] = {}

    def once(row: Row) -> Prompt | None:
        prompt = of(row)
        if prompt is None:
            return None
        if not is_writable(prompt.prompt_id, prompt.category, prompt.system, *prompt.turns):
            raise row.bad("a text with half a surrogate pair; mend it or take the line out")
        before = seen.setdefault(prompt.prompt_id, row)
        if before is not row:
            raise row.bad(f"id {prompt.prompt_id} as in line {before.number}; ids must be unique")
        return prompt

    return [prompt for prompt in collect(rows, once) if prompt]


def file_of(path: Path, *names: str) -> Path:
    """The file itself, or the first of ``names`` in a folder; ``UserError`` without any."""
    if path.is_file():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    if path.is_dir():
        raise UserError(f"{path}: no {' or '.join(names)} in this folder; give the file itself")
    raise UserError(f"{path}: no such file")


def filled(path: Path) -> list[Row]:
    """``read``, and refuses a file without rows."""
    if rows := read(path):
        return rows
    raise UserError(f"{path}: holds no prompts; expected one JSON object a line")
