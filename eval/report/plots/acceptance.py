"""Plots of acceptance: by category, position and length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...records.results import ArmResult, Bin
from ..palette import GRID, Look
from .canvas import ROW, Plot, drawn, legend

Looks = dict[str, Look]
Bins = Callable[[ArmResult], Sequence[Bin]]


def plots(arms: Sequence[ArmResult], looks: Looks) -> Iterator[Plot | None]:
    """All that there is data for; None for the others."""
    yield by_category(arms, looks)
    yield by_position(arms, looks)
    yield by_length(
        "Acceptance length by context length",
        "context at the start of a step, tokens",
        arms,
        looks,
        lambda arm: arm.by_context,
    )
    yield by_length(
        "Acceptance length by generated position",
        "answer at the start of a step, tokens",
        arms,
        looks,
        lambda arm: arm.by_generated,
    )


def by_category(arms: Sequence[ArmResult], looks: Looks) -> Plot | None:
    """A line per category, a dot per arm; sorted by the first arm."""
    lengths = {
        arm.label: {
            name: part.acceptance_length.pooled
            for name, part in arm.categories.items()
            if part.acceptance_length.pooled is not None
        }
        for arm in arms
    }
    told = [arm for arm in arms if lengths[arm.label]]
    if not told:
        return None
    names = list(dict.fromkeys(name for arm in told for name in lengths[arm.label]))
    names.sort(key=lambda name: lengths[told[0].label].get(name) or 0)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for row, name in enumerate(names):
            there = [lengths[arm.label][name] for arm in told if name in lengths[arm.label]]
            axes.plot([min(there), max(there)], [row, row], color=GRID, linewidth=3)
        for arm in told:
            look, mine = looks[arm.label], lengths[arm.label]
            points = [(mine[name], row) for row, name in enumerate(names) if name in mine]
            axes.plot(*zip(*points, strict=True), **look.dot, linestyle="", markersize=6)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlim(left=1)
        axes.set_xlabel("acceptance length, pooled")
        axes.grid(visible=False, axis="y")
        legend(figure, {arm.label: looks[arm.label] for arm in told}, "marker")

    caption = "Tokens per verify step, the bonus token included; 1 is no gain."
    height = 1.1 + 1.25 * ROW * len(names)
    return drawn("Acceptance length by category", caption, height, paint)


def by_position(arms: Sequence[ArmResult], looks: Looks) -> Plot | None:
    """Conditional rates as lines, joint ones thin and dashed."""
    told = [arm for arm in arms if arm.conditional_per_position]
    if not told:
        return None

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for arm in told:
            look = looks[arm.label]
            joint, conditional = arm.joint_per_position, arm.conditional_per_position
            axes.plot(range(1, len(joint) + 1), joint, "--", color=look.colour, linewidth=0.7)
            axes.plot(range(1, len(conditional) + 1), conditional, **look.dot, linestyle=look.line)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("position of the drafted token")
        axes.set_ylabel("probability")
        legend(figure, {arm.label: looks[arm.label] for arm in told}, "both")

    caption = (
        "Solid: conditional, the token is accepted given that all before it were."
        " Dashed: joint, at least so many are accepted."
    )
    return drawn("Acceptance by position", caption, 3.2, paint)


def by_length(
    title: str, what: str, arms: Sequence[ArmResult], looks: Looks, bins: Bins
) -> Plot | None:
    """Acceptance length per bin, and below it from how many steps it comes."""
    told = [arm for arm in arms if any(b.acceptance_length is not None for b in bins(arm))]
    if not told:
        return None
    edges = sorted({(b.low, b.high) for arm in told for b in bins(arm) if b.steps})

    def paint(figure: Any) -> None:
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        width = 0.8 / len(told)
        for index, arm in enumerate(told):
            look, mine = looks[arm.label], {(b.low, b.high): b for b in bins(arm)}
            there = [(x, mine[edge]) for x, edge in enumerate(edges) if edge in mine]
            lengths = [(x, b.acceptance_length) for x, b in there if b.acceptance_length]
            above.plot(*zip(*lengths, strict=True), **look.dot, linestyle=look.line)
            place = [x + (index - (len(told) - 1) / 2) * width for x, _ in there]
            steps = [b.steps for _, b in there]
            style = {"color": look.colour, "fill": look.fill == "full", "linewidth": 0.8}
            below.bar(place, steps, width * 0.85, **style)
        above.set_ylabel("AL, effective")
        above.set_ylim(bottom=1)
        above.grid(visible=False, axis="x")
        below.grid(visible=False, axis="x")
        below.set_ylabel("steps")
        below.set_xlabel(what)
        below.set_xticks(range(len(edges)), [f"{low}–{high - 1}" for low, high in edges])
        if len(edges) > 5:
            below.tick_params(axis="x", labelrotation=30)
        legend(figure, {arm.label: looks[arm.label] for arm in told}, "both")

    caption = "Bars: decode steps that a point stands on; few steps, much noise."
    return drawn(title, caption, 3.4, paint)
