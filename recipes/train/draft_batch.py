"""What drafting a batch costs on a CPU: with weights in bytes, in bfloat16, and by operators.

    python -m recipes.train.draft_batch --target DIR --draft DIR

Random texts, as costs do not depend on what they say; the target's KV is not looked at. Prints the
median milliseconds of a whole proposal (all levels and the window's new entries), taken in turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from proposers.base import DraftContext
from proposers.glide.proposer import GlideProposer
from proposers.train.command import guarded
from proposers.train.target import TargetWeights
from recipes.offline.timing import Call, timed

WAYS = {"bytes": True, "bfloat16": False, "operators": False}


class NoKV:
    """Nothing to read."""

    def attend(self, query: Tensor) -> Tensor:
        return query


def bound(args: argparse.Namespace, way: str) -> GlideProposer:
    target = TargetWeights(args.target).model(torch.bfloat16)
    proposer = GlideProposer(args.draft, {"tree_shape": args.tree_shape, "int8": WAYS[way]})
    proposer.bind(target, max(args.requests))
    if way == "operators":
        proposer.model.quick = proposer.window.filler = None
    return proposer


def asked(requests: int, length: int, hidden: int) -> DraftContext:
    """Each request has two tokens that are new."""
    each = torch.arange(requests)
    ids = torch.randint(0, 1000, (requests, length))
    lengths, new, budgets = (torch.full((requests,), n) for n in (length, 2, 128))
    states = torch.randn(requests, hidden).bfloat16()
    return DraftContext(each, ids, each, lengths, new, 2, states, NoKV(), budgets)


@torch.inference_mode()
def measure(proposers: list[GlideProposer], context: DraftContext, repeats: int) -> list[float]:
    """Median milliseconds of each."""
    for proposer in proposers:
        proposer.start(context)
    calls: dict[str, Call] = {
        str(i): partial(one.propose, context) for i, one in enumerate(proposers)
    }
    return [statistics.median(each) for each in timed(calls, repeats, "cpu").values()]


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("target", "draft"):
        options.add_argument(f"--{name}", type=Path, required=True, help="folder")
    options.add_argument("--tree-shape", type=int, nargs="+", default=[2, 2, 2], help="(2 2 2)")
    options.add_argument(
        "--requests", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="(1 2 4 ... 64)"
    )
    options.add_argument("--length", type=int, default=300, help="tokens of each text (300)")
    options.add_argument("--repeats", type=int, default=15, help="proposals of each (15)")
    options.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    args = options.parse_args(argv)
    return guarded("draft_batch", lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    proposers = [bound(args, way) for way in WAYS]
    hidden = proposers[0].config.target.hidden_size
    table = Table("requests", *WAYS, "operators / bytes", title="ms a proposal")
    for requests in track(args.requests, "drafting", console=Console(stderr=True)):
        found = measure(proposers, asked(requests, args.length, hidden), args.repeats)
        table.add_row(str(requests), *(f"{x:.2f}" for x in found), f"{found[-1] / found[0]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
