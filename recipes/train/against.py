"""What drafting costs in this checkout and in another: the same texts, served as the draft says.

    python -m recipes.train.against --other DIR --target DIR --draft DIR --features DIR

A process of each checkout drafts at the same steps of the same answers, block by block in turns.
Prints the median milliseconds of a step of both and the median of their ratios, for several
requests together and for the parts of a step: `rest` joins and prunes the trees, `context` is what
a simulation adds; the draft's own time holds that of its window. Steps are as long as drawn, so
that both checkouts draft at the same places; how many steps gave other trees is told.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from proposers.train.command import guarded

ROOT = Path(__file__).resolve().parents[2]
PARTS = {
    "window": ("proposers.glide.window:SelfAttentionWindow.update",),
    "draft": ("proposers.glide.proposer:GlideProposer.grown|propose",),
    "lookup": (
        "proposers.prompt_lookup:PromptLookupProposer.look_up|propose",
        "proposers.glide_lookup:GlideLookupProposer._trusted",
    ),
    "all": ("proposers.glide_lookup:GlideLookupProposer.propose",),
}
"""Methods, or the first of several that a checkout has."""
FOLDERS = ("target", "draft", "features")
LONGEST = 4
"""Tokens of a step; it has two or three on the average, as served."""
Times = dict[str, list[float]]


def spy(path: str, took: list[float]) -> None:
    """Add a method's time to the last of ``took`` at every call."""
    module, _, names = path.partition(":")
    kind, methods = names.split(".")
    owner = getattr(importlib.import_module(module), kind)
    method = next(name for name in methods.split("|") if callable(getattr(owner, name, None)))
    inner = getattr(owner, method)

    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        result = inner(*args)
        took[-1] += time.perf_counter() - began
        return result

    setattr(owner, method, timed)


@torch.inference_mode()
def worker(args: argparse.Namespace) -> None:
    """Drafts one block for each line of input, which says how many requests draft together."""
    from proposers.train.evaluate.sequences import read_answers
    from proposers.train.evaluate.simulate import Simulation
    from proposers.train.evaluate.ways import served
    from proposers.train.target import TargetWeights

    torch.set_num_threads(args.threads)
    answers = read_answers(args.features, True, max(args.together))
    proposer = served(args.draft, "", {}).load(TargetWeights(args.target).model())
    took: Times = {part: [] for part in PARTS}
    for part, paths in PARTS.items():
        for path in paths:
            spy(path, took[part])
    for line in sys.stdin:
        walk = Simulation(proposer, answers[: int(line)])
        rows, nodes = torch.arange(len(walk.root)), []
        drawn = torch.Generator().manual_seed(0)
        for times in took.values():
            times.clear()
        while bool((walk.root + 1 < walk.end).all()):
            for times in took.values():
                times.append(0.0)
            root, counts = walk.root.clone(), walk.counts.clone()
            walk.step(rows)
            walk.root = root + torch.randint(1, LONGEST + 1, root.shape, generator=drawn)
            nodes.append((walk.counts - counts).tolist())
        print(json.dumps({"times": {**took, "step": walk.seconds}, "nodes": nodes}), flush=True)


class Checkout:
    """A process that drafts with the code in a folder."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        folders = [f"--{name}={getattr(args, name).resolve()}" for name in FOLDERS]
        more = [f"--threads={args.threads}", f"--together={json.dumps(args.together)}", "--worker"]
        command = [sys.executable, "-P", str(Path(__file__).resolve()), *folders, *more]
        env = {**os.environ, "PYTHONPATH": str(folder.resolve())}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, env=env, cwd=folder, text=True
        )

    def block(self, together: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(together, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise ValueError("a checkout's process ended; its error is above")
        return dict(json.loads(line))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def milliseconds(times: Times) -> Times:
    """By part, without a block's first step, which fills the windows."""
    times["rest"] = [
        a - b - c for a, b, c in zip(times["all"], times["draft"], times["lookup"], strict=True)
    ]
    times["context"] = [a - b for a, b in zip(times["step"], times["all"], strict=True)]
    return {part: [1e3 * seconds for seconds in column[1:]] for part, column in times.items()}


def compare(checkouts: list[Checkout], together: int, blocks: int) -> tuple[Times, Times, float]:
    """Milliseconds of both by part, step by step, and the share of steps with other trees."""
    found: tuple[Times, Times] = ({}, {})
    other: list[bool] = []
    for block in range(-1, blocks):  # one more to warm up
        order = (0, 1) if block % 2 else (1, 0)
        answers = {which: checkouts[which].block(together) for which in order}
        both = zip(answers[0]["nodes"], answers[1]["nodes"], strict=True)
        other = [mine != theirs for mine, theirs in both]
        for which in order if block >= 0 else ():
            for part, times in milliseconds(answers[which]["times"]).items():
                found[which].setdefault(part, []).extend(times)
    return *found, sum(other) / len(other)


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in FOLDERS:
        options.add_argument(f"--{name}", type=Path, required=True, help="folder")
    options.add_argument("--other", type=Path, help="folder of the other checkout")
    options.add_argument("--together", type=json.loads, default=[1, 4, 16], help="JSON list")
    options.add_argument("--blocks", type=int, default=9, help="of each, for each number (9)")
    options.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    options.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = options.parse_args(argv)
    if args.worker:
        worker(args)
        return 0
    if args.other is None or not (args.other / "proposers").is_dir():
        options.error(f"--other {args.other}: expected the folder of another checkout")
    return guarded("against", lambda: report(args))


def report(args: argparse.Namespace) -> int:
    checkouts = [Checkout(folder, args) for folder in (ROOT, args.other)]
    columns = ("requests", "part", "this, ms", "other, ms", "ratio", "other trees")
    table = Table(*columns, title=f"{args.threads} threads")
    for together in track(args.together, "drafting", console=Console(stderr=True)):
        mine, theirs, unlike = compare(checkouts, together, args.blocks)
        for part in ("all", "draft", "window", "lookup", "rest", "context"):
            ratio = median(a / b for a, b in zip(mine[part], theirs[part], strict=True))
            figures = (median(mine[part]), median(theirs[part]), ratio)
            told = f"{unlike:.1%}" if part == "all" else ""
            table.add_row(str(together), part, *(f"{x:.3f}" for x in figures), told)
    for checkout in checkouts:
        checkout.close()
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
