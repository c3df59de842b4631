"""The pictures of a report; each function writes one PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

from .summary import Calibration, Result

INK, MUTED, GRID = "#1d2430", "#5b6572", "#dfe3e9"
COLOURS = ("#0067a8", "#c94f00", "#00845f", "#a8468a", "#8a6d00", "#4b4bb5", "#5f7489")
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
}


def possible() -> bool:
    """Whether there is matplotlib."""
    return find_spec("matplotlib") is not None


def draw(path: Path, size: tuple[float, float], paint: Callable[[Any], None]) -> None:
    """Let ``paint`` fill a figure of ``size`` inches and save it."""
    import matplotlib as mpl  # here, since it is slow to import
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(path, dpi=150)


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def bars(
    axes: Any,
    names: Sequence[str],
    values: Sequence[float],
    spans: Sequence[tuple[float, float]],
    notes: Sequence[str],
) -> None:
    """Horizontal dots with intervals, first name on top, and a note right of each."""
    rows = range(len(names))
    right = max(high for _, high in spans)
    for row, value, (low, high), note in zip(rows, values, spans, notes, strict=True):
        axes.plot([low, high], [row, row], color=colour(0), linewidth=5, alpha=0.3)
        axes.plot([value], [row], "o", color=colour(0))
        axes.annotate(note, (right, row), (10, 0), textcoords="offset points", va="center")
    axes.set_yticks(list(rows), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def acceptance_lengths(path: Path, results: Sequence[tuple[str, Result]]) -> None:
    """AL of each way, mean over answers with its interval."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        lengths = [result.all for _, result in results]
        notes = [
            f"{r.all.mean:.2f}   ({r.nodes_per_step:.1f} nodes, {r.draft_ms:.1f} ms)"
            for _, r in results
        ]
        spans = [(part.low, part.high) for part in lengths]
        bars(axes, [name for name, _ in results], [p.mean for p in lengths], spans, notes)
        axes.set_xlabel("acceptance length, tokens per step (mean over answers, 95% interval)")
        axes.set_title("Acceptance length (nodes per step, time of drafting)")

    draw(path, (9, 1.3 + 0.36 * len(results)), paint)


def categories(path: Path, results: Sequence[tuple[str, Result]]) -> None:
    """AL of each category, a dot per way."""
    first = results[0][1].by_category
    names = sorted(first, key=lambda name: -first[name].pooled)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for row, name in enumerate(names):
            there = [r.by_category[name].pooled for _, r in results]
            axes.plot([min(there), max(there)], [row, row], color=GRID, linewidth=4, zorder=1)
        for number, (label, result) in enumerate(results):
            values = [result.by_category[name].pooled for name in names]
            axes.plot(values, range(len(names)), "o", color=colour(number), label=label)
        axes.set_yticks(range(len(names)), [f"{n} ({first[n].answers})" for n in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("acceptance length, tokens per step (pooled in a category)")
        axes.set_title("Acceptance length by category (answers)")
        figure.legend(loc="outside lower center", ncols=4)

    draw(path, (8, 1.9 + 0.32 * len(names)), paint)


def depths(path: Path, results: Sequence[tuple[str, Result]]) -> None:
    """Share of steps whose accepted path reached each depth."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for number, (label, result) in enumerate(results):
            at = range(1, len(result.by_depth) + 1)
            axes.plot(
                at, [100 * x for x in result.by_depth], "o-", color=colour(number), label=label
            )
        deepest = max(len(result.by_depth) for _, result in results)
        axes.set_xticks(range(1, deepest + 1))
        axes.set_ylim(bottom=0)
        axes.set(xlabel="depth in the tree", ylabel="steps that accepted a node there, %")
        axes.set_title("Acceptance by depth")
        axes.legend()

    draw(path, (7, 4.2), paint)


def reliability(path: Path, name: str, parts: Mapping[str, Calibration]) -> None:
    """Observed against predicted acceptance with counts below, a column for each part."""

    def paint(figure: Any) -> None:
        grid = figure.subplots(
            2, len(parts), height_ratios=[3, 1], sharex=True, sharey="row", squeeze=False
        )
        for column, (title, part) in enumerate(parts.items()):
            _reliability(grid[0][column], title, part)
            low = [d.low for d in part.deciles]
            counts = [d.count for d in part.deciles]
            grid[1][column].bar(low, counts, 0.094, align="edge", color=colour(6))
            grid[1][column].set_yscale("log")
            grid[1][column].yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            grid[1][column].set_xlabel("predicted probability")
        grid[0][0].set_ylabel("share accepted")
        grid[1][0].set_ylabel("nodes (log)")
        figure.suptitle(f"Calibration of the draft's probabilities, tree {name}", fontsize=11)

    draw(path, (4.6 * len(parts) + 0.4, 5.6), paint)


def _reliability(axes: Any, title: str, part: Calibration) -> None:
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1, label="perfectly calibrated")
    # two standard errors of a share
    spread = [2 * (d.observed * (1 - d.observed) / d.count) ** 0.5 for d in part.deciles]
    axes.errorbar(
        [d.predicted for d in part.deciles],
        [d.observed for d in part.deciles],
        spread,
        fmt="o-",
        color=colour(0),
        capsize=2,
        label="observed, ±2 standard errors",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[i / 5 for i in range(6)])
    axes.set_title(title)
    axes.text(0.97, 0.05, f"calibration error {part.error:.3f}", ha="right", color=INK)
    axes.legend(loc="upper left", fontsize=9)


def accuracies(path: Path, shares: Mapping[str, Sequence[float]]) -> None:
    """``{"top-1": [share at lag 1, 2, ...]}``."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for number, (name, values) in enumerate(shares.items()):
            at = list(range(1, len(values) + 1))
            axes.plot(at, [100 * v for v in values], "o-", color=colour(number), label=name)
            axes.set_xticks(at)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="lag (depth in the tree)", ylabel="target's token among the best k, %")
        axes.set_title("Accuracy on held-out answers")
        axes.legend()

    draw(path, (6.4, 4), paint)


def curves(path: Path, log: Sequence[Mapping[str, float]]) -> None:
    """Loss and held-out accuracies over trained positions."""
    millions = [row["positions"] / 1e6 for row in log]

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        left.plot(millions, [row["loss"] for row in log], color=colour(0), marker=".")
        left.set_title("Training loss, nats per position")
        tops = [key for key in log[-1] if key.startswith(("top1_", "top4_"))]
        for key in tops:
            kind, _, lag = key.partition("_lag")
            style = "-" if kind == "top1" else "--"
            look = {"color": colour(int(lag) - 1), "linestyle": style, "label": f"{kind} lag {lag}"}
            right.plot(millions, [100 * row.get(key, nan) for row in log], marker=".", **look)
        right.set_title("Held-out accuracy, %")
        if tops:
            right.legend(fontsize=8, ncols=2)
        for axes in (left, right):
            axes.set_xlabel("trained positions, millions")

    draw(path, (11, 4.2), paint)
