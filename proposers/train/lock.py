"""One run at a time writes a folder."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import BinaryIO


def locked(path: Path) -> BinaryIO:
    """Open a file for appending and lock it until it is closed, or the process ends.

    Raises:
        ValueError: one line, if another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ValueError(
            f"{path} is being written by another process; wait for it, or name another folder"
        ) from None
    return file
