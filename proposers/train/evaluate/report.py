"""``report.md``, ``report.json`` and the pictures of an evaluation."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import provenance
from . import plots
from .ablation import Ablation, Variant, short_names
from .accuracy import Accuracy
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
    def names(self) -> dict[str, str]:
        """What to call each draft, by its folder."""
        drafts = list(dict.fromkeys(r.draft for r in self.results))
        return dict(zip(drafts, short_names(drafts), strict=True))

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
        """With names that differ: the draft's, when there are several, and the way."""
        names = self.names
        return [(f"{names[r.draft]}: {r.name}" if len(names) > 1 else r.name, r) for r in results]

    @cached_property
    def ablation(self) -> Ablation | None:
        """The drafts against the first; None of a single one."""
        names = self.names
        base = next(iter(names))
        variants = [self._variant(draft, name, base) for draft, name in names.items()]
        return Ablation(variants) if len(variants) > 1 else None

    def _variant(self, draft: str, name: str, base: str) -> Variant:
        results = [r for r in self.results if r.draft == draft]
        top1 = self.accuracy[draft].all["top-1"]
        lags = {f"top-1, lag {lag}": f"{top1[lag - 1]:.3f}" for lag in sorted({1, len(top1)})}
        return Variant(
            name,
            provenance.changes(Path(draft), Path(base)),
            {r.name: r.all.mean for r in results},
            results[0].by_answer,
            {**lags, "draft ms": f"{results[0].draft_ms:.1f}"},
        )

    def save(self, folder: Path, text: Iterable[str]) -> None:
        """Write all there is; ``text``: the lines of report.md."""
        folder.mkdir(parents=True, exist_ok=True)
        data = {
            "about": self.about,
            "results": [r.to_json() for r in self.results],
            "accuracy": {draft: asdict(part) for draft, part in self.accuracy.items()},
            "curves": self.curves,
        }
        _replace(folder / "report.json", json.dumps(data, indent=1) + "\n")
        _replace(folder / "report.md", "\n".join(text) + "\n")
        if self.ablation:
            self.ablation.save(folder)
        self.draw(folder)

    def draw(self, folder: Path) -> None:
        """The pictures; none without matplotlib."""
        if not plots.possible():
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
