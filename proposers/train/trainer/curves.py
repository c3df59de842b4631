"""Training curves: a table, and a picture of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..evaluate import plots


def write(log: Sequence[dict[str, float]], folder: Path) -> None:
    """Write ``curves.csv``, and ``curves.png`` where there is matplotlib."""
    temporary = folder / "curves.csv.tmp"
    with temporary.open("w", newline="") as file:
        names = dict.fromkeys(name for row in log for name in row)  # the first may lack some
        writer = csv.DictWriter(file, list(names))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in log)
    temporary.replace(folder / "curves.csv")
    with suppress(ImportError):
        plots.curves(folder / "curves.png", log)
