"""Drafts side by side: each one's acceptance length against the first's, paired by answer."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from . import plots
from .summary import interval
from .tables import table


@dataclass(frozen=True)
class Variant:
    """One draft.

    Attributes:
        changes: what it was trained with and the first was not.
        lengths: AL by tree, mean over answers; the first tree is the one that is compared.
        by_answer: AL of that tree on each answer, by its id.
        more: further columns.
    """

    name: str
    changes: str
    lengths: Mapping[str, float]
    by_answer: Mapping[str, float]
    more: Mapping[str, str]

    @property
    def tree(self) -> str:
        return next(iter(self.lengths))

    @property
    def length(self) -> float:
        return self.lengths[self.tree]

    def difference(self, base: Variant) -> tuple[float, float, float]:
        """Mean over answers of the difference in AL, and its 95% bootstrap interval."""
        each = [self.by_answer[name] - there for name, there in base.by_answer.items()]
        return sum(each) / len(each), *interval(each)


class Ablation:
    """A base and its variants, the best of them first."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        self.base, *others = variants
        self.all = [self.base, *sorted(others, key=lambda v: -v.length)]

    @property
    def head(self) -> list[str]:
        first, *rest = (f"AL, {tree}" for tree in self.base.lengths)
        return ["variant", "changes", first, "to base [95%]", *rest, *self.base.more]

    def markdown(self) -> Iterator[str]:
        """Lines of a table."""
        rows = []
        for one in self.all:
            mean, low, high = one.difference(self.base)
            told = "" if one is self.base else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
            first, *rest = (f"{length:.3f}" for length in one.lengths.values())
            rows.append([f"`{one.name}`", one.changes, first, told, *rest, *one.more.values()])
        yield from table(self.head, rows, texts=2)

    def save(self, folder: Path) -> None:
        """``ablation.csv``, and ``ablation.png`` where there is matplotlib."""
        head = self.head
        head[3:4] = ["to base", "to base, low", "to base, high"]
        with open(folder / "ablation.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            for one in self.all:
                numbers = (one.length, *one.difference(self.base), *list(one.lengths.values())[1:])
                told = (f"{number:.4f}" for number in numbers)
                writer.writerow([one.name, one.changes, *told, *one.more.values()])
        if plots.possible():
            self.draw(folder / "ablation.png")

    def draw(self, path: Path) -> None:
        """Bars of AL, and the paired differences to the base beside them."""
        rows = range(len(self.all))

        def paint(figure: Any) -> None:
            left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
            for at, one in zip(rows, self.all, strict=True):
                look = plots.colour(6 if one is self.base else 0)
                left.barh(at, one.length - 1, left=1, color=look, height=0.7)
                left.annotate(
                    f"{one.length:.2f}",
                    (one.length, at),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                )
                mean, low, high = one.difference(self.base)
                right.plot([low, high], [at, at], color=look, linewidth=5, alpha=0.3)
                right.plot([mean], [at], "o", color=look)
            right.axvline(0, color=plots.MUTED, linewidth=1)
            left.set_yticks(list(rows), [one.name for one in self.all])
            left.set_ylim(len(rows) - 0.5, -0.5)
            left.margins(x=0.12)
            left.set(xlim=(1, None), xlabel="acceptance length, tokens per step")
            right.set_xlabel("difference, tokens per step")
            left.set_title(f"Acceptance length, {self.base.tree}")
            right.set_title(f"Difference to {self.base.name} (paired, 95%)")
            for axes in (left, right):
                axes.grid(axis="y", visible=False)

        plots.draw(path, (10, 1.4 + 0.3 * len(rows)), paint)


def short_names(folders: Sequence[str]) -> list[str]:
    """What tells folders apart: their paths without the parts that all begin and end with.

    ``x/base/draft, x/reach/draft`` are ``base, reach``.
    """
    paths = [Path(folder).resolve().parts for folder in folders]
    start = _shared(paths)
    end = _shared([path[start:][::-1] for path in paths])
    short = ["/".join(path[start : len(path) - end]) for path in paths]
    return [name or str(number) for number, name in enumerate(short, 1)]


def _shared(paths: Sequence[Sequence[str]]) -> int:
    """How many first parts all paths share."""
    alike = (len(set(parts)) == 1 for parts in zip(*paths, strict=False))
    return sum(1 for _ in takewhile(bool, alike))
