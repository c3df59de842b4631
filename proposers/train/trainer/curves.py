"""Training curves: a table, and a picture of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path


def write(log: Sequence[dict[str, float]], folder: Path) -> None:
    """Write ``curves.csv``, and ``curves.png`` where there is matplotlib."""
    temporary = folder / "curves.csv.tmp"
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(log[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in log)
    temporary.replace(folder / "curves.csv")
    plot(log, folder / "curves.png")


def plot(log: Sequence[dict[str, float]], path: Path) -> None:
    """Loss and held-out accuracy over trained positions."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    millions = [row["positions"] / 1e6 for row in log]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.plot(millions, [row["loss"] for row in log], marker=".")
    left.set(xlabel="trained positions (million)", ylabel="training loss")
    for name in (key for key in log[0] if key.startswith("top")):
        style = "-" if name.startswith("top1") else "--"
        right.plot(millions, [row[name] for row in log], style, marker=".", label=name)
    right.set(xlabel="trained positions (million)", ylabel="held-out accuracy")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
