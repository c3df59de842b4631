"""The pieces of a run, one after the other within a budget of time; what is done stays done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from .pieces import PIECES
from .plan import Plan, read, write
from .processes import Job, cause, end
from .table import STATES

LEAST_S = 15.0
"""Seconds without which a piece is not begun."""
SPARE_S = 12.0
"""Of the budget, for stopping what is late and for the tables."""


class Run:
    """Pieces of one folder.

    Attributes:
        deadline: monotonic seconds.
        states: of each piece that was begun or wanted: ``done``, ``failed``, ``late`` or
            ``stopped``; seconds; its log; and why.
    """

    def __init__(self, plan: Plan, folder: Path, seconds: float, console: Console) -> None:
        self.plan, self.folder, self.console = plan, folder, console
        self.deadline = time.monotonic() + seconds - SPARE_S
        self.states: dict[str, Any] = read(folder / STATES) or {}

    def perform(self, names: Sequence[str], resume: bool) -> None:
        """Run the pieces; those done before are left out if ``resume``."""
        left = [name for name in names if not (resume and self.done(name))]
        if not resume:
            for name in left:
                self.forget(name)
        self.note({name: {"state": "not run"} for name in left})
        together = [name for name in left if not PIECES[name].alone]
        groups = [together, *([name] for name in left if PIECES[name].alone)]
        for group in filter(None, groups):
            self.group(group)

    def done(self, name: str) -> bool:
        return bool(self.states.get(name, {}).get("state") == "done")

    def forget(self, name: str) -> None:
        """Remove what a piece measured before."""
        self.states.pop(name, None)
        for path in self.folder.glob(PIECES[name].result):
            path.unlink()
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def note(self, states: dict[str, Any]) -> None:
        self.states |= states
        write(self.folder / STATES, self.states)

    def group(self, names: Sequence[str]) -> None:
        """Run pieces side by side; each is stopped at its limit, or at the end of the budget."""
        columns = TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[note]}")
        jobs: dict[str, tuple[Job, float]] = {}
        with Progress(*columns, console=self.console, refresh_per_second=2) as bar:
            try:
                for name in names:
                    self.begin(name, jobs)
                rows = {n: bar.add_task(n, total=limit, note="") for n, (_, limit) in jobs.items()}
                while jobs:
                    time.sleep(0.2)
                    for name in list(jobs):
                        self.look(name, jobs, bar, rows[name])
            finally:
                for name, (job, _) in jobs.items():  # Ctrl-C
                    job.stop()
                    self.finish(name, job, "stopped")

    def begin(self, name: str, jobs: dict[str, tuple[Job, float]]) -> None:
        piece, left = PIECES[name], self.deadline - time.monotonic()
        if left < LEAST_S:
            self.note({name: {"state": "not run", "why": "(no time left; --minutes)"}})
            self.console.print(f"{name}: not run, no time left")
            return
        limit = min(piece.limit, left)
        self.console.print(f"{name}: {piece.title}, at most {limit:.0f} s")
        line = piece.command(self.plan, self.folder, limit)
        log = self.folder / f"{name}.log"
        jobs[name] = Job(line, log, self.plan.environment()), limit

    def look(
        self, name: str, jobs: dict[str, tuple[Job, float]], bar: Progress, row: TaskID
    ) -> None:
        """End what has ended or is late; show the last line that it printed."""
        job, limit = jobs[name]
        last = escape(end(job.log, 1)[:70])
        bar.update(row, completed=job.seconds, note=f"{job.seconds:.0f} s  [dim]{last}")
        if job.code is None and job.seconds < limit:
            return
        state = "late" if job.code is None else "failed" if job.code else "done"
        job.stop()
        del jobs[name]
        bar.remove_task(row)
        self.finish(name, job, state)

    def finish(self, name: str, job: Job, state: str) -> None:
        """Note how it went; of one that failed show the end of its log."""
        told = {"state": state, "seconds": round(job.seconds, 1), "log": str(job.log)}
        if state == "failed":
            told["why"] = f"({cause(job.log)})"
            self.console.print(end(job.log), markup=False, highlight=False, style="dim")
        self.note({name: told})
        self.console.print(f"{name}: {state} after {job.seconds:.0f} s, {job.log}", soft_wrap=True)
