"""Plots of speed: speedups with their intervals, and what a step costs and yields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...records.results import ArmResult, BreakEven, Speedup
from .. import tables
from ..palette import INK, LIGHT, MUTED, Look
from .canvas import ROW, Plot, drawn, legend

Looks = dict[str, Look]
EFFORTS = {"whole": "draft", "cheap": "engine", "none": "verify"}
"""What was done to have drafts, and whose colour it has."""
Paired = "Latency per token, vanilla's over the arm's, paired per prompt; bars are 95% intervals."


def plots(
    arms: Sequence[ArmResult], every: Sequence[ArmResult], looks: Looks
) -> Iterator[Plot | None]:
    """All that there is data for; ``arms`` are those shown, ``every`` has all conditions."""
    yield by_arm(every, looks)
    yield time_split(every)
    yield by_category(arms, looks)
    yield break_even(every, looks)
    yield by_load(every)


def _known(value: Speedup | None) -> bool:
    return value is not None and value.mean is not None


def _interval(axes: Any, value: Speedup | None, row: float, look: Look, fill: str) -> None:
    if value is None or value.mean is None:
        return
    if value.low is not None and value.high is not None:
        axes.plot([value.low, value.high], [row, row], color=look.colour, linewidth=1.2)
    axes.plot([value.mean], [row], **look.dot | {"fillstyle": fill}, markersize=5.5)


def _ratio_axis(axes: Any, names: Sequence[str]) -> None:
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("speedup over vanilla")
    axes.grid(visible=False, axis="y")


def by_arm(arms: Sequence[ArmResult], looks: Looks) -> Plot | None:
    """A row per arm: all of the latency, and decoding alone."""
    told = [arm for arm in arms if _known(arm.speedup)]
    if not told:
        return None

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for row, arm in enumerate(told):
            look = looks[arm.label]
            _interval(axes, arm.speedup, row - 0.14, look, "full")
            _interval(axes, arm.speedup_decode, row + 0.2, look, "none")
            where = axes.get_yaxis_transform()
            text = tables.speedup(arm.speedup)
            axes.text(1.02, row - 0.14, text, transform=where, va="center", fontsize=8)
        _ratio_axis(axes, [arm.label for arm in told])

    caption = f"{Paired} Hollow: decoding alone, without prefill."
    return drawn("Speedup", caption, 0.8 + 2.2 * ROW * len(told), paint)


def by_category(arms: Sequence[ArmResult], looks: Looks) -> Plot | None:
    """A row per category, an interval per arm within it."""
    told = [arm for arm in arms if any(_known(c.speedup) for c in arm.categories.values())]
    if not told:
        return None
    names = sorted({name for arm in told for name in arm.categories})
    gap = min(0.24, 0.8 / len(told))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for index, arm in enumerate(told):
            shift = (index - (len(told) - 1) / 2) * gap
            for row, name in enumerate(names):
                if name in arm.categories:
                    value = arm.categories[name].speedup
                    _interval(axes, value, row + shift, looks[arm.label], looks[arm.label].fill)
        _ratio_axis(axes, names)
        legend(figure, {arm.label: looks[arm.label] for arm in told}, "marker")

    height = 1.1 + ROW * len(names) * max(1.25, 0.7 * len(told))
    return drawn("Speedup by category", Paired, height, paint)


def break_even(arms: Sequence[ArmResult], looks: Looks) -> Plot | None:
    """What a step yields against what it costs; above the diagonal an arm is faster."""
    told = [(arm, arm.break_even) for arm in arms if arm.break_even]
    if not told:
        return None
    top = 1.15 * max(max(even.step_time_ratio, even.acceptance_length) for _, even in told)
    top = max(top, 1.5)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.fill_between([0, top], [0, top], top, color=LIGHT["win"], alpha=0.08, linewidth=0)
        axes.plot([0, top], [0, top], color=INK, linewidth=0.9)
        axes.plot([1], [1], "o", color=LIGHT["vanilla"])
        axes.annotate("vanilla", (1, 1), (6, -9), textcoords="offset points", color=MUTED)
        names = {}
        for arm, even in told:
            look, place = looks[arm.label], (even.step_time_ratio, even.acceptance_length)
            axes.plot(*place, **look.dot, markersize=7)
            names[_measured(arm.label, even)] = look
        least = min(even.acceptance_length for _, even in told)
        axes.set_xlim(min(0.6, *(even.step_time_ratio * 0.7 for _, even in told)), top)
        axes.set_ylim(min(0.7, least * 0.8), top)
        axes.set_xlabel("time of a step, times vanilla's")
        axes.set_ylabel("acceptance length, effective")
        legend(figure, names, "marker")

    caption = (
        "A step yields the acceptance length and costs the ratio: above the line an arm decodes"
        " faster than vanilla, by length / ratio. Above: the speedup of decoding as measured."
    )
    return drawn("Break-even", caption, 3.4, paint)


def _measured(label: str, even: BreakEven) -> str:
    return label if even.measured is None else f"{label} {even.measured:.2f}×"


def _stacked(axes: Any, row: int, sizes: Mapping[str, float], share: Mapping[str, float]) -> float:
    """A bar of parts side by side, those with room for it with their share; where it ends."""
    start = 0.0
    for part, size in sizes.items():
        colour, label = LIGHT[EFFORTS.get(part, part)], part if row == 0 else None
        axes.barh(row, size, 0.6, left=start, color=colour, label=label)
        if share.get(part, 0.0) > 0.07:
            axes.text(start + size / 2, row, f"{share[part]:.0%}", ha="center", va="center")
        start += size
    return start


def _bars(figure: Any, axes: Any, names: Sequence[str], unit: str) -> None:
    """Axes and legend of stacked bars, with room for a word behind each."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.18)
    axes.set_xlim(left=0)
    axes.set_xlabel(unit)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper left", ncols=3, handlelength=1)


def by_load(arms: Sequence[ArmResult]) -> Plot | None:
    """What an arm drafted at each load, and the throughput that came of it."""
    told = [(arm, arm.choices) for arm in arms if arm.choices]
    if len({arm.concurrency for arm, _ in told}) < 2:
        return None
    rates = {
        (a.concurrency, a.temperature): a.throughput_tok_s for a in arms if a.name == "vanilla"
    }

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for row, (arm, chosen) in enumerate(told):
            shares = {effort: chosen.share.get(effort, 0.0) for effort in EFFORTS}
            end = _stacked(axes, row, shares, shares)
            base = rates.get((arm.concurrency, arm.temperature))
            if base and arm.throughput_tok_s:
                text = f" {arm.throughput_tok_s / base:.2f}×"
                axes.text(end, row, text, va="center")
        _bars(figure, axes, [arm.label for arm, _ in told], "share of steps")

    caption = (
        "Whole: the draft model's trees and lookups; cheap: lookups alone; none: no drafts. Beside"
        " the bars: throughput over vanilla's at the same concurrency."
    )
    return drawn("What was drafted at each load", caption, 1.0 + 1.6 * ROW * len(told), paint)


def time_split(arms: Sequence[ArmResult]) -> Plot | None:
    """A stacked bar per arm."""
    told = [(arm, arm.time_split) for arm in arms if arm.time_split]
    if not told:
        return None

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for row, (_, split) in enumerate(told):
            sizes = {part: getattr(split, f"{part}_ms") for part in ("verify", "draft", "engine")}
            end = _stacked(axes, row, sizes, split.share)
            axes.text(end, row, f" {split.cycle_ms:.1f} ms", va="center")
        _bars(figure, axes, [arm.label for arm, _ in told], "ms per cycle")

    caption = (
        "Verify: the target's step up to the logits. Draft: drafting and accepting, all that the"
        " method adds. Engine: the rest."
    )
    return drawn("Time of a cycle", caption, 1 + 1.7 * ROW * len(told), paint)
