"""Models by their names on the Hugging Face hub, for the commands that load one themselves."""

from __future__ import annotations

from pathlib import Path

from proposers.hub import model_folder

from .errors import UserError


def located(flag: str, path: Path) -> Path:
    """A path, or the folder in the hub's cache that a name stands for; raises ``UserError``."""
    try:
        return model_folder(path)
    except ValueError as error:
        raise UserError(f"{flag}: {error}") from None
