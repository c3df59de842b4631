"""What a kernel of its own saves when drafting on a CPU: the same trees, by it and by operators.

    python -m recipes.train.drafting --target DIR --draft DIR --features DIR

Trees are drafted at the steps of held-out answers, one request at a time, in turns by
`proposers.glide.native` and by PyTorch's operators, either first at every second step. Prints the
median milliseconds of both, and the median of their ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from proposers.base import TargetModel
from proposers.glide.native import NativeGlide
from proposers.glide.proposer import GlideProposer
from proposers.train.command import guarded
from proposers.train.evaluate.sequences import Answer, read_answers
from proposers.train.evaluate.simulate import Simulation
from proposers.train.target import TargetWeights

SHAPES = [[1], [1, 1, 1, 1], [2, 2, 2], [4, 4, 2, 1], [8, 8, 8, 8]]


def bound(draft: Path, shape: list[int], target: TargetModel, kernel: bool) -> GlideProposer:
    """The same draft, with the kernel whatever its rows, or without."""
    proposer = GlideProposer(draft, {"tree_shape": shape})
    proposer.bind(target)
    if not isinstance(proposer.model.quick, NativeGlide):
        raise ValueError("there is no kernel for this draft here: no compiler, dtype or sizes")
    proposer.model.quick.most_rows = 1000  # to see where operators are faster
    if not kernel:
        proposer.model.quick = proposer.window.filler = None
    return proposer


def compare(
    both: list[GlideProposer], answers: list[Answer], tokens: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of each draft, by the kernel and by operators."""
    times: tuple[list[float], list[float]] = ([], [])
    for answer in answers:
        walks = [Simulation(proposer, [answer], tokens) for proposer in both]
        while int(walks[0].root) + 1 < int(walks[0].end):
            root, turn = walks[0].root.clone(), len(walks[0].seconds) % 2
            for which in (turn, 1 - turn):
                walks[which].root.copy_(root)
                walks[which].step(torch.tensor([0]))
            walks[1].root.copy_(walks[0].root)
        for walk, each in zip(walks, times, strict=True):
            each += [1e3 * seconds for seconds in walk.seconds]
    return times


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("target", "draft", "features"):
        options.add_argument(f"--{name}", type=Path, required=True, help="folder")
    options.add_argument("--sequences", type=int, default=6, help="answers (6)")
    options.add_argument("--tokens", type=int, default=96, help="first tokens of each (96)")
    options.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    args = options.parse_args(argv)
    return guarded("drafting", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    target = TargetWeights(args.target).model()
    answers = read_answers(args.features, True, args.sequences)
    table = Table("tree", "kernel, ms", "operators, ms", "ratio", title=f"{args.threads} threads")
    for shape in track(SHAPES, "drafting", console=Console(stderr=True)):
        both = [bound(args.draft, shape, target, kernel) for kernel in (True, False)]
        mine, theirs = compare(both, answers, args.tokens)
        ratio = statistics.median(b / a for a, b in zip(mine, theirs, strict=True))
        figures = (statistics.median(mine), statistics.median(theirs), ratio)
        table.add_row(str(shape), *(f"{x:.2f}" for x in figures))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
