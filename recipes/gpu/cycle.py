"""What a cycle costs beside stock vLLM's step, by context and batch, at the sizes of a real target.

    python -m recipes.gpu --pieces cycle

Two engines with the same random weights: ``vanilla``, stock vLLM as it chooses itself, and
``longspec`` with a random GLIDE draft, which accepts next to nothing, so that only the time of a
cycle counts. They start side by side if the card holds both, and measure one at a time
(:mod:`.arm`). Every pair is in ``cycle.json`` as soon as it is measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .arm import kept, pair_of
from .models import Pair, card_gib, fitting, make, side_by_side
from .plan import Plan, read, write
from .processes import Job, cause, end, hear_ctrl_c, module, wait

ARMS = ("vanilla", "longspec")
RESULT = "cycle.json"
START_S = 240.0
"""Seconds that an engine may take to start."""


@dataclass
class Cycles:
    """The piece: what it measures where, and until when (monotonic seconds)."""

    plan: Plan
    folder: Path
    card: float
    deadline: float

    @property
    def own(self) -> Path:
        return self.folder / "cycle"

    @property
    def pairs(self) -> list[Pair]:
        return fitting(self.plan, self.card)

    def run(self) -> list[str]:
        """Measure with all arms that lack a pair; the arms that failed."""
        arms = [arm for arm in ARMS if self.lacks(arm)]
        at_once = side_by_side(self.plan, self.pairs, self.card)
        print(f"{self.pairs} on {self.card:.0f} GiB, {at_once} engines at once", flush=True)
        failed = []
        for first in range(0, len(arms), at_once):
            failed += self.group(arms[first : first + at_once], len(arms) - first)
        return failed

    def lacks(self, arm: str) -> bool:
        return bool(set(self.pairs) - set(map(pair_of, kept(self.own, arm))))

    def group(self, arms: list[str], left: int) -> list[str]:
        """Start engines side by side and let one after the other measure; those that failed.

        Args:
            left: arms that have not measured yet: these share the time.
        """
        jobs = {arm: self.start(arm) for arm in arms}
        try:
            until = min(self.deadline, time.monotonic() + START_S)
            wait(lambda: all(map(self.is_up, jobs, jobs.values())), until)
            for arm, job in jobs.items():
                if not self.is_up(arm, job):
                    job.stop(grace=0)  # too slow: it must not disturb the others
            for job in jobs.values():
                share = (self.deadline - time.monotonic()) / left
                left -= 1
                job.tell(f"{share}")
                while not wait(lambda j=job: j.code is not None, time.monotonic() + 1):  # type: ignore[misc]
                    self.collect()
        finally:
            for job in jobs.values():
                job.stop(grace=2)
            self.collect()
        return [arm for arm, job in jobs.items() if job.code != 0]

    def start(self, arm: str) -> Job:
        (self.own / f"{arm}.ready").unlink(missing_ok=True)
        environment = self.plan.engine_environment()
        if self.plan.trace:
            environment["LONGSPEC_TRACE"] = str(self.own / "trace.jsonl")
        return Job(module("arm", self.folder, arm), self.own / f"{arm}.log", environment)

    def is_up(self, arm: str, job: Job) -> bool:
        """Whether it waits for its turn, or has ended."""
        return job.code is not None or (self.own / f"{arm}.ready").exists()

    def collect(self) -> None:
        """``cycle.json`` out of what the arms have written so far."""
        found = {arm: read(self.own / f"{arm}.json") for arm in ARMS}
        wanted = [(context, batch) for batch in self.plan.batches for context in self.plan.contexts]
        told = {
            "card_gib": self.card,
            "no_room": [pair for pair in wanted if pair not in self.pairs],
            "arms": {arm: each for arm, each in found.items() if each},
        }
        write(self.folder / RESULT, told)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, help="of the run")
    options.add_argument("--seconds", type=float, default=1e4, help="to be done in")
    args = options.parse_args()
    hear_ctrl_c()
    plan, deadline = Plan.load(args.folder), time.monotonic() + args.seconds
    cycles = Cycles(plan, args.folder, card_gib(plan), deadline)
    if not cycles.pairs:
        print(f"error: no pair of {plan.contexts} x {plan.batches} fits {cycles.card:.0f} GiB")
        return 1
    make(plan, cycles.own)
    failed = cycles.run()
    for arm in failed:
        log = cycles.own / f"{arm}.log"
        print(f"--- {arm}: {log}\n{end(log)}\nerror: {arm} failed: {cause(log)}", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
