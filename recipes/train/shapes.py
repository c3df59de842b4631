"""Which served tree pays best: simulated AL and estimated speedup of a grid of options.

    python -m recipes.train.shapes --target DIR --draft DIR --features DIR --out DIR \
        --curve 1:24,4:29,8:38,16:57

`--curve` is the target's step on the machine that serves, in milliseconds by rows (the root and the
drafted nodes; linear between). Drafting is timed here, one request alone, per level of a tree, or
told with `--level-ms`. Speedup = effective AL x step of one row / (step of all rows + drafting);
nothing else that an engine does is counted, so rank with it, then measure the best few there.
Prints the best ten and writes `shapes.csv`; what was simulated is not simulated again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from proposers.base import Proposer, TargetModel
from proposers.glide.proposer import GlideProposer
from proposers.train.command import guarded
from proposers.train.evaluate.journal import Journal
from proposers.train.evaluate.sequences import Answer, read_answers
from proposers.train.evaluate.simulate import Simulation
from proposers.train.evaluate.ways import Way, shape_name
from proposers.train.target import TargetWeights

GRID: dict[str, list[Any]] = {
    "tree_shape": [[1], [2, 1], [2, 2, 2], [4, 4, 2, 1], [4, 6, 4, 2], [8, 8, 8, 8]],
    "nodes": [None, 8],
    "min_probability": [0.0, 0.05, 0.1, 0.15, 0.25],
    "lookup_shape": [None, [1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]],
}
HEAD = ("speedup", "effective AL", "nodes", "levels", "step ms", "draft ms", "options")


def ways(draft: Path, grid: dict[str, list[Any]]) -> list[Way]:
    """All combinations; without a lookup_shape the proposer is plain glide.

    A budget of ``nodes`` that a tree does not exceed is left out, as it changes nothing.
    """
    found = []
    for values in itertools.product(*grid.values()):
        options = {k: v for k, v in zip(grid, values, strict=True) if v is not None}
        if options.get("nodes", 0) >= sum(options.get("tree_shape", [])) > 0:
            continue
        proposer = "glide_lookup" if "lookup_shape" in options else "glide"
        texts = (f"{k} {shape_name(v) if isinstance(v, list) else v}" for k, v in options.items())
        found.append(Way(", ".join(texts), draft, proposer, options))
    return found


def simulate(
    way: Way, target: TargetModel, answers: Sequence[Answer], tokens: int
) -> dict[str, Any]:
    """One request at a time: steps, accepted tokens, steps by nodes, levels and their time."""
    proposer = way.load(target)
    calls: list[None] = []
    glide = _glide(proposer)
    glide.model.layer.register_forward_hook(lambda *_: calls.append(None))
    nodes: Counter[int] = Counter()
    accepted, levels, times = 0, 0, []
    for answer in answers:
        walk = Simulation(proposer, [answer], tokens)
        while int(walk.root) + 1 < int(walk.end):
            before, drawn = len(calls), int(walk.counts[0, 2])
            walk.step(torch.tensor([0]))
            nodes[int(walk.counts[0, 2]) - drawn] += 1
            levels += len(calls) - before
            times.append(walk.seconds[-1] / max(len(calls) - before, 1))
        accepted += int(walk.counts[0, 1])
    steps = sum(nodes.values())
    calm = 1e3 * float(np.quantile(times, 0.25))  # what else runs here can only add to it
    counts = {str(n): count for n, count in sorted(nodes.items())}
    return {
        "steps": steps,
        "accepted": accepted,
        "nodes": counts,
        "levels": levels,
        "level_ms": calm,
    }


def _glide(proposer: Proposer) -> GlideProposer:
    glide = getattr(proposer, "glide", proposer)
    assert isinstance(glide, GlideProposer)
    return glide


def estimate(
    found: dict[str, Any], curve: list[tuple[float, float]], level_ms: float | None
) -> dict[str, float]:
    """Of one simulation: the means of a step, and the speedup over steps of one row."""
    rows, ms = zip(*curve, strict=True)
    steps = found["steps"]
    counts = [(int(n), count) for n, count in found["nodes"].items()]
    step = sum(float(np.interp(1 + n, rows, ms)) * count for n, count in counts) / steps
    levels = found["levels"] / steps
    draft = levels * (found["level_ms"] if level_ms is None else level_ms)
    al = 1 + found["accepted"] / steps
    nodes = sum(n * count for n, count in counts) / steps
    speedup = al * float(np.interp(1, rows, ms)) / (step + draft)
    return dict(zip(HEAD[:-1], (speedup, al, nodes, levels, step, draft), strict=True))


def read_curve(text: str) -> list[tuple[float, float]]:
    """``1:24,8:38``: milliseconds by rows."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return sorted((float(rows), float(ms)) for rows, ms in pairs)
    except ValueError:
        raise ValueError(f"--curve {text!r}: expected ROWS:MS pairs such as 1:24,8:38") from None


def read_grid(path: Path | None) -> dict[str, list[Any]]:
    """A YAML file of options and the values to try, or the built-in grid."""
    if path is None:
        return GRID
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise ValueError(f"{path}: expected options, each with a list of values to try")
    return found


def search(args: argparse.Namespace) -> list[list[Any]]:
    """Rows of the table, the best first."""
    torch.set_num_threads(args.threads)
    curve, grid = read_curve(args.curve), read_grid(args.grid)
    answers = read_answers(args.features, args.all, args.sequences)
    target = TargetWeights(args.target).model()
    journal = Journal(args.out / "shapes.jsonl")
    rows: list[list[Any]] = []
    for way in track(ways(args.draft, grid), "shapes", console=Console(stderr=True)):
        key = f"{way.key}|{args.tokens}|{[a.fingerprint for a in answers]}"
        if key not in journal:
            journal.put(key, simulate(way, target, answers, args.tokens))
        rows.append([*estimate(journal[key], curve, args.level_ms).values(), way.name])
    journal.close()
    return sorted(rows, key=lambda row: -row[0])


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("target", "draft", "features", "out"):
        options.add_argument(f"--{name}", type=Path, required=True, help="folder")
    options.add_argument("--curve", required=True, help="ROWS:MS pairs of the target's step")
    options.add_argument("--level-ms", type=float, help="of one draft level (timed here)")
    options.add_argument("--grid", type=Path, help="YAML file of options and values to try")
    options.add_argument("--all", action="store_true", help="all answers are held out")
    options.add_argument("--sequences", type=int, default=24, help="answers (24)")
    options.add_argument("--tokens", type=int, default=128, help="first tokens of each (128)")
    options.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    args = options.parse_args(argv)
    return guarded("shapes", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    rows = search(args)
    with open(args.out / "shapes.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    table = Table(*HEAD[:-1], title="the ten that pay best")
    table.add_column(HEAD[-1], overflow="fold")
    for row in rows[:10]:
        table.add_row(*(f"{x:.2f}" for x in row[:-1]), row[-1])
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
