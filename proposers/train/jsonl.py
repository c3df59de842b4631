"""Files of JSON lines that are appended to while others read them, and may lose their writer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


def records(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and content of each whole line; a last line that is still being written is left out.

    Raises:
        ValueError: one line that names the place of a line that is no JSON.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield number, json.loads(line)
            except ValueError:
                raise ValueError(f"{path}:{number} is not valid JSON; remove the line") from None


def cut_torn(path: Path) -> None:
    """Cut off what follows the last line end: a line whose writer was killed."""
    with path.open("rb+") as file:
        file.truncate(_last_line_end(file))


def _last_line_end(file: BinaryIO, chunk: int = 1 << 16) -> int:
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - chunk)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
