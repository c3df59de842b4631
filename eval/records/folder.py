"""Writing below ``--output-dir``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..cli.errors import UserError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say which folder could not be written, be it for its rights or a full disk."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--output-dir {folder}: cannot be written ({error.strerror}); give another folder"
        ) from None
