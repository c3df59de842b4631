"""Correctness and cost on a machine with an NVIDIA GPU: one command, one table.

    python -m recipes.gpu                                   # all pieces, within ten minutes
    python -m recipes.gpu --pieces cycle --contexts "[512]" --batches "[1]"
    python -m recipes.gpu --only-table                      # print the last run's tables again

Pieces: kernels (tests against plain torch), identity (float32, every token vanilla's), bf16 (with
graphs: where answers part, and by what margin), attention (hybrid, against eager and the memory
floor), draft (drafting by context), cycle (a cycle beside stock vLLM's step). Each is a process
with a log of its own; one that fails is told, and the others go on. Results are JSON in --out as
soon as they are there; after a kill the same command with --resume goes on.

Exit status: 0; 1 if a piece did not end well or an answer is wrong; 2 for a mistake, or without a
GPU; 130 after Ctrl-C. A target that is missed is told and is no failure.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from eval.records.provenance import describe, gpus
from recipes.offline.random_llama import SHAPES

from . import table
from .pieces import PIECES
from .plan import FILE, ROOT, Plan, read
from .processes import hear_ctrl_c
from .running import Run

DRY_SIZES: dict[str, Any] = {
    "shapes": "tiny",
    "contexts": [48, 96],
    "batches": [1, 2],
    "draft_vocab": 256,
    "tokens": 4,
    "repeats": 1,
}
"""Defaults of ``--device cpu``: small enough for an interpreter."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m recipes.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, plan = made.add_argument, Plan()
    add("--pieces", default=",".join(PIECES), help="some of them, with commas (all)")
    add("--minutes", type=float, default=10, help="for all of it (10)")
    add("--out", type=Path, default=ROOT / "results" / "gpu", help="folder (results/gpu)")
    add("--resume", action="store_true", help="leave out what is done in --out")
    add("--overwrite", action="store_true", help="begin --out anew, with other settings")
    add("--only-table", action="store_true", help="print the tables of --out")
    add("--device", choices=["cuda", "cpu"], help="cpu: try it out; measures nothing (cuda)")
    add("--shapes", choices=SHAPES, help=f"sizes of the random target ({plan.shapes})")
    for name in ("contexts", "batches", "tree"):
        default = list(getattr(plan, name))
        add(f"--{name}", type=json.loads, metavar="LIST", help=f"JSON list ({default})")
    add("--draft-vocab", type=int, help=f"of the random draft; 0: all ({plan.draft_vocab})")
    add("--tokens", type=int, help=f"of a measured answer ({plan.tokens})")
    add("--repeats", type=int, help=f"measured answers of a pair ({plan.repeats})")
    trace = "without LONGSPEC_TRACE: what it costs, and no parts of a cycle"
    add("--no-trace", dest="trace", action="store_false", default=None, help=trace)
    return made


def plan_of(args: argparse.Namespace) -> Plan:
    """The settings: defaults, those of a CPU, those given.

    Raises:
        ValueError: in one line.
    """
    given = {f.name: value for f in fields(Plan) if (value := getattr(args, f.name)) is not None}
    if given.get("device") == "cpu":
        given = DRY_SIZES | given
    for name in ("contexts", "batches", "tree"):
        if name in given:
            given[name] = positive(name, given[name])
    least = {"draft_vocab": 0, "tokens": 2, "repeats": 1}
    for name, low in least.items():
        if given.get(name, low) < low:
            raise ValueError(f"--{name.replace('_', '-')} {given[name]}: expected {low} or more")
    plan = Plan(**given)
    from proposers.growth import check_shape  # imports torch

    check_shape(plan.tree)
    return plan


def positive(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, list) and value and all(type(n) is int and n > 0 for n in value):
        return tuple(value)
    raise ValueError(f"--{name} {json.dumps(value)}: expected a JSON list of positive numbers")


def pieces_of(text: str) -> list[str]:
    """In the order in which they run."""
    asked = text.split(",")
    if unknown := [name for name in asked if name not in PIECES]:
        raise ValueError(f"--pieces {unknown[0]!r}: unknown; allowed: {', '.join(PIECES)}")
    return [name for name in PIECES if name in asked]


def open_folder(folder: Path, plan: Plan, overwrite: bool) -> None:
    """Begin a run there, or go on with one of the same settings.

    Raises:
        ValueError: it holds a run of other settings.
    """
    if overwrite and (folder / FILE).exists():
        shutil.rmtree(folder)
    if read(folder / FILE) is not None:
        before, now = asdict(Plan.load(folder)), asdict(plan)
        if changed := [name for name in now if before[name] != now[name]]:
            name = changed[0]
            raise ValueError(
                f"--out {folder} holds a run with {name} {before[name]}, not {now[name]};"
                " give another folder, or --overwrite to begin anew"
            )
    plan.save(folder, describe("recipes.gpu", {}, plan.environment()))


def no_gpu() -> str | None:
    """Why nothing can be measured here."""
    import torch

    if not gpus():
        return "no NVIDIA GPU here (nvidia-smi lists none)"
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} does not see the GPU {gpus()[0]}; install a CUDA build"
    return None


def wide() -> Console:
    """Standard output, as wide as the tables where that is no terminal."""
    out = Console()
    return out if out.is_terminal else Console(width=table.WIDTH)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    hear_ctrl_c()
    try:
        return run(args)
    except ValueError as error:
        print(f"gpu: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gpu: stopped; the same command with --resume goes on from here", file=sys.stderr)
        return 130


def run(args: argparse.Namespace) -> int:
    folder, out = args.out.absolute(), wide()
    if args.only_table:
        table.show(folder, out)
        return int(not table.save(folder))
    plan, names = plan_of(args), pieces_of(args.pieces)
    if plan.device == "cuda" and (reason := no_gpu()):
        raise ValueError(f"{reason}; --device cpu tries the pieces out and measures nothing")
    open_folder(folder, plan, args.overwrite)
    try:
        Run(plan, folder, 60 * args.minutes, Console(stderr=True)).perform(names, args.resume)
    finally:
        table.show(folder, out)
        fine = table.save(folder)
    print(f"saved {folder / table.ALL}", file=sys.stderr)
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
