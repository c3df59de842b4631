"""Training runs that differ in some settings, each evaluated alike, resumable.

A run has a folder: ``state/``, ``draft/``, ``report/``, ``log.txt`` with what its commands printed,
and at last ``result.json``. A run that has one is not run again; a run that was stopped goes on.
"""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ROOT = Path(__file__).resolve().parents[2]
CHAIN, TREE = [1, 1, 1, 1], [4, 6, 4, 2]
Share = Callable[["Run", Path], float]
"""How much of a run's training is done, 0 to 1, from its settings and state folder."""


@dataclass(frozen=True)
class Run:
    """One training run: a name, and options of ``python -m proposers.train train``."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a finished run came to; ``report`` is its ``report.json``."""

    run: Run
    curves: list[dict[str, float]]
    report: dict[str, Any]

    @property
    def tree(self) -> dict[str, Any]:
        return next(r for r in self.report["results"] if r["name"] == "served")

    @property
    def chain(self) -> dict[str, Any]:
        return next(r for r in self.report["results"] if r["name"] != "served")

    @property
    def positions(self) -> float:
        """Trained positions."""
        return self.curves[-1]["positions"]

    @property
    def minutes(self) -> float:
        return self.curves[-1]["seconds"] / 60

    def top1(self, lag: int) -> float:
        share: float = self._accuracy["all"]["top-1"][lag - 1]
        return share

    @property
    def loss(self) -> float:
        """On held-out answers at lag 1, nats."""
        loss: float = self._accuracy["loss"][0]
        return loss

    @property
    def _accuracy(self) -> dict[str, Any]:
        (accuracy,) = self.report["accuracy"].values()
        return dict(accuracy)


@dataclass
class Lab:
    """Runs of one target on one feature folder.

    Attributes:
        evaluate: options of ``python -m proposers.train evaluate``, the same for all.
    """

    target: Path
    features: Path
    out: Path
    threads: int
    evaluate: Mapping[str, Any]
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def folder(self, run: Run) -> Path:
        return self.out.resolve() / run.name

    def perform(self, runs: Sequence[Run], workers: int, share: Share) -> list[Outcome]:
        """Run what is not finished, ``workers`` at a time; the outcomes of those that succeed.

        A run that fails is named on stderr and left out.
        """
        left = [run for run in runs if not self.finished(run)]
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        with ThreadPoolExecutor(workers) as pool, bar:
            futures = {run.name: pool.submit(self._perform, run) for run in left}
            try:
                self._watch(bar, runs, futures, share)
            except BaseException:
                for future in futures.values():
                    future.cancel()
                for child in self.children:
                    child.send_signal(signal.SIGINT)  # it saves its state
                raise
        for name, future in futures.items():
            if error := future.exception():
                print(f"{name}: {error}", file=sys.stderr)
        return [self._outcome(run) for run in runs if self.finished(run)]

    def _watch(
        self, bar: Progress, runs: Sequence[Run], futures: dict[str, Future[None]], share: Share
    ) -> None:
        task = bar.add_task("runs", total=len(runs))
        while True:
            pending = {name for name, future in futures.items() if not future.done()}
            parts = [
                share(run, self.folder(run) / "state") if run.name in pending else 1.0
                for run in runs
            ]
            names = ", ".join(name for name, future in futures.items() if future.running())
            bar.update(task, completed=round(sum(parts), 2), description=names or "runs")
            if not pending:
                return
            time.sleep(0.5)

    def finished(self, run: Run) -> bool:
        """Whether the run has a result.

        Raises:
            ValueError: one line; its folder holds a run with other settings.
        """
        path = self.folder(run) / "settings.json"
        if path.exists() and (there := json.loads(path.read_text())) != self._identity(run):
            mine = self._identity(run)
            key = next(k for k in {**mine, **there} if mine.get(k) != there.get(k))
            raise ValueError(
                f"{path.parent} is of a run with {key}={there.get(key)}, not {mine.get(key)};"
                " name another --out or delete it"
            )
        return (self.folder(run) / "result.json").exists()

    def _identity(self, run: Run) -> dict[str, Any]:
        paths = {"target": str(self.target.resolve()), "features": str(self.features.resolve())}
        return {**paths, **run.settings}

    def _perform(self, run: Run) -> None:
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(self._identity(run), indent=1) + "\n")
        places = {"state": folder / "state", "features": self.features.resolve()}
        draft = folder / "draft"
        self._command(folder, "train", {**places, "out": draft, **run.settings})
        report = {"draft": draft, "out": folder / "report", **self.evaluate}
        self._command(folder, "evaluate", {**places, **report})
        result = folder / "result.json"
        result.with_suffix(".tmp").write_text(json.dumps({"settings": dict(run.settings)}) + "\n")
        result.with_suffix(".tmp").replace(result)

    def _command(self, folder: Path, name: str, options: Mapping[str, Any]) -> None:
        both = {"target": self.target.resolve(), "threads": self.threads, **options}
        flags = [f"--{k.replace('_', '-')}={as_text(v)}" for k, v in both.items()]
        command = [sys.executable, "-m", "proposers.train", name, *flags]
        with open(folder / "log.txt", "ab") as log:
            # in a session of its own: Ctrl-C reaches it once, from `perform`
            child = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
            self.children.append(child)
            status = child.wait()
            self.children.remove(child)
        if status:
            lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
            raise ValueError(f"{name} ended with {status}: {lines[-1] if lines else ''}")

    def _outcome(self, run: Run) -> Outcome:
        folder = self.folder(run)
        report = json.loads((folder / "report" / "report.json").read_text())
        return Outcome(run, curves(folder / "state"), report)


def evaluation(sequences: int, tokens: int, every: bool) -> dict[str, Any]:
    """Options that evaluate a tree of 16 nodes as the served one, and a chain of 4."""
    served = {"proposer": "glide", "options": {"tree_shape": TREE, "min_probability": 0.0}}
    size = {"sequences": sequences, "tokens": tokens, "all": every, "lags": 5}
    return {**served, **size, "shapes": [CHAIN]}


def curves(state: Path) -> list[dict[str, float]]:
    """Rows of a run's ``curves.csv`` so far."""
    path = state / "curves.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def as_text(value: Any) -> str:
    """As a command line option: lists and mappings as JSON."""
    return str(value) if isinstance(value, str | Path) else json.dumps(value)


def millions(count: float) -> str:
    """``0.5``, ``16``: of tokens or positions."""
    value = count / 1e6
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
