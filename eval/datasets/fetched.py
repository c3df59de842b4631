"""Where fetched data sets lie, and the command that fetches them."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "LONGSPEC_DATA"
"""Environment variable: the folder with a folder for each fetched data set."""


def home() -> Path:
    """The folder of fetched data sets: ``$LONGSPEC_DATA``, else ``data`` where one stands."""
    return Path(os.environ.get(VARIABLE) or "data")


def command(name: str, config: str | None = None) -> str:
    """What fetches a data set; the package has another name once it is installed."""
    package = __name__.partition(".")[0]
    return f"python -m {package}.prepare_data {name}" + (f" --config {config}" if config else "")
