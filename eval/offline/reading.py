"""Reads JSONL data sets; refuses a bad line as ``FILE:LINE`` with its reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

DATA = Path(__file__).parent.parent / "data"
SAMPLE = "sample"


@dataclass(frozen=True)
class Sample:
    """One prompt.

    Attributes:
        chat: whether the tokenizer's chat template goes around it, where there is one.
        reference: the right answer, where answers are graded.
    """

    id: str
    prompt: str
    chat: bool = True
    reference: str | None = None


@dataclass(frozen=True)
class Data:
    """The samples of one task, and a digest of the file they come from."""

    task: str
    samples: Sequence[Sample]
    sha256: str


@dataclass(frozen=True)
class Line:
    """One object of a JSONL file."""

    path: Path
    number: int
    row: dict[str, Any]

    def get(self, *names: str) -> Any:
        """The value of the first of these keys that is there."""
        for name in names:
            if name in self.row:
                return self.row[name]
        raise self.bad(f"no key {' or '.join(names)}; it has {', '.join(self.row) or 'none'}")

    def text(self, *names: str) -> str:
        """The same, if it is a text."""
        value = self.get(*names)
        if not isinstance(value, str):
            raise self.bad(f"{names[0]} is a JSON {type(value).__name__}; expected a text")
        return value

    def bad(self, why: str) -> UserError:
        """An error that names the line."""
        return UserError(f"{self.path}:{self.number}: {why}")


def read(path: Path, task: str, sample: Callable[[Line], Sample], missing: str) -> Data:
    """Read every line; ``missing`` tells what to do where there is no such file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; {missing}")
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({type(error).__name__})") from None
    # Not splitlines, which also splits at U+2028 within a text.
    lines = enumerate(text.split("\n") if text else [], 1)
    samples = [sample(_line(path, number, line)) for number, line in lines]
    if not samples:
        raise UserError(f"{path}: holds no samples; expected one JSON object a line")
    return Data(task, samples, hashlib.sha256(raw).hexdigest())


def _line(path: Path, number: int, text: str) -> Line:
    try:
        row = json.loads(text)
    except ValueError:
        raise UserError(f"{path}:{number}: not JSON; expected one object a line") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}:{number}: a JSON {type(row).__name__}; expected an object")
    return Line(path, number, row)
