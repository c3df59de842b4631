"""Training curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def plot(log: Sequence[dict[str, float]], path: Path) -> None:
    """Loss and held-out accuracy over trained positions; nothing without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    millions = [row["positions"] / 1e6 for row in log]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.plot(millions, [row["loss"] for row in log])
    left.set(xlabel="trained positions (million)", ylabel="training loss")
    for name in (key for key in log[0] if key.startswith("top")):
        style = "-" if name.startswith("top1") else "--"
        right.plot(millions, [row[name] for row in log], style, label=name)
    right.set(xlabel="trained positions (million)", ylabel="held-out accuracy")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
