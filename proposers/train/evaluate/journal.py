"""Finished work in a file, one JSON line each, so that a stopped command goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Journal:
    """Values by key; what is put outlives the process, however it ends.

    A line that was cut by a kill is cut off when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.values: dict[str, Any] = {}
        whole = self._read()
        self.file = open(path, "ab")  # noqa: SIM115  (open as long as the journal)
        self.file.truncate(whole)

    def _read(self) -> int:
        """Take in all whole lines; return how many bytes they are."""
        whole = 0
        if not self.path.exists():
            return whole
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    key, value = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n"):
                    break
                self.values[key] = value
                whole += len(line)
        return whole

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def put(self, key: str, value: Any) -> None:
        self.values[key] = value
        self.file.write(json.dumps([key, value]).encode() + b"\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()
