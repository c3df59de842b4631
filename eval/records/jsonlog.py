"""A JSONL file of records that survives being killed: each line is on the disk once appended."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ..cli.errors import UserError

T = TypeVar("T", bound=BaseModel)


class JsonLog(Generic[T]):
    """Records of one model, a line each."""

    def __init__(self, path: Path, model: type[T], remedy: str = "--overwrite") -> None:
        self.path, self.model, self.remedy = path, model, remedy

    def read(self) -> list[T]:
        """All records; a torn last line, of a run that was killed while it wrote, is left out.

        Raises:
            UserError: for a line that is whole and no record of this version.
        """
        if not self.path.is_file():
            return []
        *lines, torn = self.path.read_bytes().split(b"\n")
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records.append(self.model.model_validate_json(line))
            except ValidationError:
                if number == len(lines) and not torn:
                    break
                raise UserError(
                    f"{self.path}:{number}: not a record of this version; give {self.remedy} to"
                    " start again"
                ) from None
        return records

    def append(self, record: T) -> None:
        """Keep a record; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rewrite(self, records: Iterable[T]) -> None:
        """Hold these and nothing else."""
        replace_text(self.path, "".join(record.model_dump_json() + "\n" for record in records))


def replace_text(path: Path, text: str) -> None:
    """Write a file as a whole: there is the old or the new one, never a part."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, "utf-8")
    beside.replace(path)
