"""``graph.png``: TTFT density, decode latency by position, tokens per second by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..report.palette import LIGHT, MUTED, STYLE
from .lines import Line, lines
from .options import ROWS
from .results import Row

SIZE, DPI = (15.0, 5.4), 130
POINTS = 256  # of a density
HEIGHT = 0.7  # of a density, in rows
WIDE = 12.0  # values of a greater ratio are drawn on a logarithmic axis
GAP = 0.05  # between two names, of the axis
End = tuple[float, str, str]  # of a line: height, name, colour
_COLOURS = ("vanilla", "arm1", "arm2", "arm6", "arm4", "arm5", "arm3")
COLOUR = {row: LIGHT[name] for row, name in zip(ROWS, _COLOURS, strict=True)}
_STYLE = {
    **STYLE,
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}


def draw(data: Mapping[str, Any], path: Path) -> None:
    """Draw the three panels; what was not measured is left out."""
    import matplotlib as mpl  # here, since it is slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.15))
        _ttft(left, data["rows"])
        _positions(middle, data["rows"], "ms per token", band=True)
        _positions(right, data["rows"], "tokens/s", band=False)
        middle.set_title("Decode latency by position")
        right.set_title("Tokens per second by position")
        figure.suptitle(_title(data), x=0.01, ha="left", color=MUTED, fontsize=9.5)
        figure.savefig(path, dpi=DPI)


def _title(data: Mapping[str, Any]) -> str:
    settings = data["settings"]
    weights = list(dict.fromkeys(row["weights"] for row in data["rows"].values()))
    return (
        f"{data['model']['name']}, {settings['dtype']}, {data['device']['name']}; prompt of"
        f" {data['prompt']['tokens']} tokens, {settings['n_heads']} heads of"
        f" {settings['heads_depth']} layers; weights: {', '.join(weights)}"
    )


def density(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray] | None:
    """A Gaussian kernel density, its peak at 1; None where all values are one."""
    if len(values) < 2 or np.ptp(values) <= 1e-9 * max(values):
        return None
    from scipy.stats import gaussian_kde

    estimate = gaussian_kde(values)
    room = 3 * float(np.sqrt(estimate.covariance[0, 0]))
    x = np.linspace(max(min(values) - room, 0.0), max(values) + room, POINTS)
    y = estimate(x)
    return x, y / y.max()


def _ttft(axes: Any, rows: Mapping[str, Row]) -> None:
    """A ridge a row, over each other, so that none hides another; a tick at the median."""
    told = [(name, row["ttft"]) for name, row in rows.items() if "ttft" in row][::-1]
    for place, (name, times) in enumerate(told):
        colour, median, end = COLOUR[name], times["median_ms"], times["median_ms"]
        if (found := density(times["filtered_ms"])) is not None:
            x, y = found
            end = x[-1]
            axes.fill_between(x, place, place + HEIGHT * y, color=colour, alpha=0.3, linewidth=0)
            axes.plot(x, place + HEIGHT * y, color=colour, linewidth=1.4)
        axes.plot([median, median], [place, place + HEIGHT], color=colour, linewidth=2.2)
        text = f"{median:.{0 if median >= 100 else 2}f} ms, n = {len(times['filtered_ms'])}"
        axes.annotate(text, (end, place), (5, 7), textcoords="offset points", fontsize=8.5)
    axes.set_yticks(range(len(told)), [name for name, _ in told])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.25, max(len(told), 1) - 0.1)
    axes.set_xlim(0, 1.45 * axes.get_xlim()[1])
    axes.grid(visible=False, axis="y")
    axes.set_title("Time to first token, density")
    axes.set_xlabel("ms; line: median")


def _positions(axes: Any, rows: Mapping[str, Row], what: str, *, band: bool) -> None:
    """Milliseconds with a ``band``, or tokens per second, by position."""
    ends = _steps(axes, rows, band=band)
    dashed, dotted = _whole_calls(axes, rows, speed=not band)
    ends += dashed + dotted
    heights = [height for height, _, _ in ends]
    if heights and max(heights) > WIDE * min(heights):
        _logarithmic(axes)
    else:
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.set_ylabel(what)
    told = ["band: p20 to p80"] * band
    told += ["dashed: whole calls, best γ"] * bool(dashed)
    told += ["dotted: if all drafts were accepted"] * bool(dotted)
    axes.set_xlabel("tokens generated before\n" + "; ".join(told))
    _name(axes, ends)


def _steps(axes: Any, rows: Mapping[str, Row], *, band: bool) -> list[End]:
    """Lines of the rows whose steps were timed."""
    ends = []
    for name, row in rows.items():
        if "decode" not in row:
            continue
        points, colour = row["decode"]["per_position"], COLOUR[name]
        x = [point["position"] for point in points]
        y = [point["median_ms"] if band else point["tps"] for point in points]
        axes.plot(x, y, color=colour, linewidth=1.8, marker="o", markersize=3)
        if band:
            low, high = [point["p20"] for point in points], [point["p80"] for point in points]
            axes.fill_between(x, low, high, color=colour, alpha=0.22, linewidth=0)
        ends.append((y[-1], name, colour))
    return ends


def _whole_calls(axes: Any, rows: Mapping[str, Row], *, speed: bool) -> tuple[list[End], list[End]]:
    """Means of whole calls, and where there are none the ceilings of speed, as horizontal lines."""
    dashed, dotted = [], []
    for line in _flat(rows):
        colour = COLOUR[line.row]
        if line.token_ms is not None:
            height = 1e3 / line.token_ms if speed else line.token_ms
            axes.axhline(height, color=colour, linestyle=(0, (5, 2)), linewidth=1.3)
            dashed.append((height, line.label, colour))
        elif speed and line.ceiling_tps is not None:
            axes.axhline(line.ceiling_tps, color=colour, linestyle=":", linewidth=1.3)
            dotted.append((line.ceiling_tps, f"{line.label}, ceiling", colour))
    return dashed, dotted


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _flat(rows: Mapping[str, Row]) -> list[Line]:
    """Rows that are timed as whole calls: of each the gamma that is fastest, or could be."""
    best: dict[str, Line] = {}
    for line in lines(rows):
        if "decode" not in rows[line.row]:
            best[line.row] = max(best.get(line.row, line), line, key=_promise)
    return list(best.values())


def _promise(line: Line) -> float:
    """Tokens per second that it has, or could have."""
    return 1e3 / line.token_ms if line.token_ms else line.ceiling_tps or 0.0


def _name(axes: Any, ends: Sequence[End]) -> None:
    """Names at the right, at the height of their lines but never on each other."""
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [to_axes.transform((0, height))[1] for height, _, _ in sorted(ends)]
    for (_, name, colour), at, place in zip(sorted(ends), heights, _apart(heights), strict=True):
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(
            name,
            (1, at),
            (1.03, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=8.5,
            va="center",
            annotation_clip=False,
            arrowprops=arrow,
        )


def _apart(heights: Sequence[float]) -> list[float]:
    """Rising heights, moved up and then, from the top of the axis, down until ``GAP`` apart."""
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + GAP) if places else height)
    top = 1.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], top)
        top = places[i] - GAP
    return places
