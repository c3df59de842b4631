"""Finished work in a file, one JSON line each, so that a stopped command goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..jsonl import cut_torn, records


class Journal:
    """Values by key; what is put outlives the process, however it ends.

    A line that was cut by a kill is cut off when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        cut_torn(path)
        self.path = path
        self.values: dict[str, Any] = {key: value for _, (key, value) in records(path)}
        self.file = open(path, "ab")  # noqa: SIM115  (open as long as the journal)

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
