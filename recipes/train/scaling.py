"""What more data buys: drafts trained on 0.5, 1, 2, 4, ... million tokens, at one fixed budget.

    python -m recipes.train.scaling --target DIR --features DIR --out DIR

Each run makes the same number of trained positions, `--epochs` passes over all data there is, so
that less data means more passes over it. A power law is fitted to AL - 1 and to the share of misses
(1 - top-1), each a straight line in logarithms, and drawn out to amounts that nobody has tried;
the interval is the fit's own (95% prediction interval) and trusts the law to go on. Writes
`scaling.md`, `scaling.csv` and `scaling.png`; a finished run is not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from proposers.train.command import guarded
from proposers.train.evaluate import plots
from proposers.train.evaluate.tables import table
from proposers.train.features.shards import open_index

from .ablation import lab, parser
from .experiments import TREE, Outcome, Run, curves, millions

HEAD = (
    "tokens (M)",
    "positions (M)",
    "training loss",
    "held-out loss",
    "top-1, lag 1",
    "AL, chain of 4",
    "AL, 16 nodes",
)


@dataclass(frozen=True)
class PowerLaw:
    """``y = scale * x ** exponent``, least squares in logarithms (three points or more)."""

    scale: float
    exponent: float
    error: float
    """Standard error of the exponent."""
    spread: float
    """Standard deviation of log y about the line."""
    logs: np.ndarray

    @classmethod
    def fit(cls, x: Sequence[float], y: Sequence[float]) -> PowerLaw:
        logs = np.log(x)
        line = stats.linregress(logs, np.log(y))
        rest = np.log(y) - line.intercept - line.slope * logs
        spread = float(np.sqrt((rest**2).sum() / (len(logs) - 2)))
        return cls(
            float(np.exp(line.intercept)), float(line.slope), float(line.stderr), spread, logs
        )

    def at(self, x: float) -> tuple[float, float, float]:
        """The law's value, and its 95% prediction interval (Student's t)."""
        away = (np.log(x) - self.logs.mean()) ** 2 / ((self.logs - self.logs.mean()) ** 2).sum()
        wide = self.spread * np.sqrt(1 + 1 / len(self.logs) + away)
        wide *= stats.t.ppf(0.975, len(self.logs) - 2)
        value = self.scale * x**self.exponent
        return float(value), float(value * np.exp(-wide)), float(value * np.exp(wide))


def sizes(smallest: int, whole: int) -> list[int]:
    """``smallest``, twice that, ... below ``whole`` tokens, and ``whole``."""
    found = []
    size = smallest
    while size < 0.9 * whole:
        found.append(size)
        size *= 2
    return [*found, whole]


def runs(smallest: int, whole: int, epochs: float, learning: dict[str, Any]) -> list[Run]:
    """One per amount of data, of equal trained positions."""
    return [
        Run(f"{millions(size)}M", {**learning, "max_tokens": size, "epochs": epochs * whole / size})
        for size in sizes(smallest, whole)
    ]


def write(folder: Path, outcomes: list[Outcome], beyond: Sequence[float]) -> None:
    """Table and picture; the laws where there are three points."""
    tokens = [float(o.run.settings["max_tokens"]) for o in outcomes]
    found = [
        (
            millions(n),
            millions(o.positions),
            o.curves[-1]["loss"],
            o.loss,
            o.top1(1),
            _al(o.chain),
            _al(o.tree),
        )
        for n, o in zip(tokens, outcomes, strict=True)
    ]
    rows = [[*row[:2], *(f"{value:.3f}" for value in row[2:])] for row in found]
    with open(folder / "scaling.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    laws = fitted(tokens, outcomes)
    lines = ["# What more data buys", "", *table(HEAD, rows), "", *_extrapolated(laws, beyond)]
    (folder / "scaling.md").write_text("\n".join([*lines, "", "![scaling](scaling.png)"]) + "\n")
    draw(folder / "scaling.png", tokens, outcomes, laws, beyond)


def fitted(tokens: Sequence[float], outcomes: Sequence[Outcome]) -> dict[str, PowerLaw]:
    """The laws; none of less than three points, or where a draft got nothing (or all) right."""
    quantities = {
        "AL, 16 nodes": [_al(o.tree) - 1 for o in outcomes],
        "top-1, lag 1": [1 - o.top1(1) for o in outcomes],
    }
    return {
        name: PowerLaw.fit(tokens, values)
        for name, values in quantities.items()
        if len(values) > 2 and min(values) > 0
    }


def _al(result: dict[str, Any]) -> float:
    value: float = result["all"]["mean"]
    return value


def _extrapolated(laws: dict[str, PowerLaw], beyond: Sequence[float]) -> list[str]:
    if not laws:
        return ["No law: three amounts of data are needed, and drafts that get something right."]
    lines = ["Extrapolated, not measured (95% prediction interval of a power law's fit; it holds"]
    lines += ["only if the law goes on, at this budget of trained positions; AL cannot exceed"]
    lines += [f"{1 + len(TREE)}, the tree's depth and one):", ""]
    rows = []
    for name, law in laws.items():
        values = (as_measured(name, law.at(x)) for x in beyond)
        told = [f"{mid:.2f} [{low:.2f}, {high:.2f}]" for mid, low, high in values]
        quantity = "AL - 1" if name.startswith("AL") else "1 - top-1"
        rows.append([name, f"{quantity} ~ tokens^{law.exponent:.3f} ± {2 * law.error:.3f}", *told])
    head = ["", "law (exponent ± 2 standard errors)", *(f"{millions(x)}M tokens" for x in beyond)]
    return [*lines, *table(head, rows)]


def as_measured(name: str, values: tuple[float, float, float]) -> tuple[float, float, float]:
    """From AL - 1 to AL, from misses to hits (whose interval is turned round), within bounds."""
    most = 1 + len(TREE)
    if name.startswith("AL"):
        mid, low, high = (min(1 + value, most) for value in values)
        return mid, low, high
    mid, high, low = (max(1 - value, 0.0) for value in values)
    return mid, low, high


def draw(
    path: Path,
    tokens: list[float],
    outcomes: list[Outcome],
    laws: dict[str, PowerLaw],
    beyond: Sequence[float],
) -> None:
    """Points with intervals, the laws through them, dashed beyond the data."""

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        parts = [o.tree["all"] for o in outcomes]
        means = [p["mean"] for p in parts]
        bars = [[p["mean"] - p["low"] for p in parts], [p["high"] - p["mean"] for p in parts]]
        left.errorbar(tokens, means, bars, fmt="o", color=plots.colour(0), capsize=2)
        right.plot(tokens, [100 * o.top1(1) for o in outcomes], "o", color=plots.colour(0))
        for axes, name, scale in ((left, "AL, 16 nodes", 1), (right, "top-1, lag 1", 100)):
            if name in laws:
                _line(axes, name, laws[name], tokens, beyond, scale)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}")
            axes.xaxis.set_minor_formatter(lambda *_: "")
            axes.set_xlabel("tokens of training data, millions")
        left.set_title("Acceptance length, 16 nodes")
        left.set_ylabel("tokens per step (mean, 95% interval)")
        right.set_title("Top-1 accuracy at lag 1")
        right.set_ylabel("share of positions, %")
        if "AL, 16 nodes" in laws:
            left.legend(loc="upper left", fontsize=9)

    plots.draw(path, (10, 4.4), paint)


def _line(
    axes: Any, name: str, law: PowerLaw, tokens: list[float], beyond: Sequence[float], scale: int
) -> None:
    for style, start, end, label in (
        ("-", min(tokens), max(tokens), "power law"),
        ("--", max(tokens), max([*beyond, *tokens]), "extrapolated, 95% interval"),
    ):
        x = np.geomspace(start, end, 40)
        values = np.array([as_measured(name, law.at(at)) for at in x]) * scale
        axes.plot(x, values[:, 0], style, color=plots.colour(1), label=label)
        if style == "--":
            axes.fill_between(x, values[:, 1], values[:, 2], color=plots.colour(1), alpha=0.15)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--epochs", type=float, default=1.0, help="passes over all data (1)")
    options.add_argument(
        "--smallest", type=float, default=0.5, help="million tokens of the first run (0.5)"
    )
    options.add_argument(
        "--learning", default="{}", help='more settings of training, as JSON, such as {"hard": 0}'
    )
    options.add_argument(
        "--beyond", default="10,100", help="million tokens to extrapolate to (10,100)"
    )
    args = options.parse_args(argv)
    return guarded("scaling", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    beyond = [float(part) * 1e6 for part in args.beyond.split(",")]
    whole = open_index(args.features).tokens
    smallest, learning = round(args.smallest * 1e6), _settings(args.learning)
    planned = runs(max(smallest, 1), whole, args.epochs, learning)
    goal = whole * args.epochs

    def share(run: Run, state: Path) -> float:
        rows = curves(state)
        return min(1.0, rows[-1]["positions"] / goal) if rows else 0.0

    outcomes = lab(args).perform(planned, args.workers, share)
    if outcomes:
        write(args.out, outcomes, beyond)
        print((args.out / "scaling.md").read_text())
    return 0 if len(outcomes) == len(planned) else 1


def _settings(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--learning {text!r} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"--learning {text!r}: expected a JSON object of settings")
    return found


if __name__ == "__main__":
    sys.exit(main())
