"""``report.md``, ``report.json`` and the pictures of an evaluation."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import plots
from .accuracy import Accuracy
from .markdown import markdown
from .summary import Result, parts
from .ways import SERVED


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        about: where it comes from, shown as a list on top.
        results: the first draft's ways, then those of the others.
        accuracy: of each draft, by its folder.
        curves: rows of the training state's ``curves.csv``.
    """

    about: dict[str, Any]
    results: list[Result]
    accuracy: dict[str, Accuracy]
    curves: list[dict[str, float]]

    @property
    def own(self) -> list[Result]:
        """Of the first draft."""
        return [r for r in self.results if r.draft == self.results[0].draft]

    @property
    def calibrated(self) -> Result:
        """The draft's own largest unpruned tree: it shows the most probabilities."""
        plain = [r for r in self.own if r.name != SERVED]
        return max(plain or self.own, key=lambda r: r.nodes)

    def labelled(self, results: Sequence[Result]) -> list[tuple[str, Result]]:
        """With names that differ: the draft's folder, when there are several, and the way."""
        drafts = list(dict.fromkeys(r.draft for r in self.results))
        names = {d: f"{i + 1}: " if len(drafts) > 1 else "" for i, d in enumerate(drafts)}
        return [(names[r.draft] + r.name, r) for r in results]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        data = {
            "about": self.about,
            "results": [r.to_json() for r in self.results],
            "accuracy": {draft: asdict(part) for draft, part in self.accuracy.items()},
            "curves": self.curves,
        }
        _replace(folder / "report.json", json.dumps(data, indent=1) + "\n")
        _replace(folder / "report.md", "\n".join(markdown(self)) + "\n")
        self.draw(folder)

    def draw(self, folder: Path) -> None:
        """The pictures; none without matplotlib."""
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            return
        plots.acceptance_lengths(folder / "lengths.png", self.labelled(self.results))
        plots.categories(folder / "categories.png", self.labelled(self.own))
        plots.depths(folder / "depths.png", self.labelled(self.own))
        plots.reliability(folder / "calibration.png", self.calibrated.name, parts(self.calibrated))
        if self.accuracy:
            plots.accuracies(folder / "accuracy.png", next(iter(self.accuracy.values())).all)
        if self.curves:
            plots.curves(folder / "curves.png", self.curves)


def read_curves(path: Path) -> list[dict[str, float]]:
    """Rows of a training run's ``curves.csv``; none when it is not there."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def _replace(path: Path, text: str) -> None:
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").replace(path)
