"""Samples of a data file; a bad line is refused as ``FILE:LINE`` with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cli.errors import UserError
from ..datasets import rows
from ..datasets.rows import Row

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


def read(path: Path, task: str, sample: Callable[[Row], Sample], missing: str) -> Data:
    """Read every line; ``missing`` tells what to do where there is no such file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; {missing}")
    seen: dict[str, Row] = {}

    def once(row: Row) -> Sample:
        made = sample(row)
        before = seen.setdefault(made.id, row)
        if before is not row:
            raise row.bad(f"id {made.id} as in line {before.number}; ids must be unique")
        return made

    samples = rows.collect(rows.read(path), once)
    if not samples:
        raise UserError(f"{path}: holds no samples; expected one JSON object a line")
    return Data(task, samples, hashlib.sha256(path.read_bytes()).hexdigest())
