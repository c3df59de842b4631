"""Two traces of the same work side by side: what a cycle and its parts take.

    python -m recipes.eval.cycles BEFORE.jsonl AFTER.jsonl

Medians in milliseconds, over the cycles that verified a tree, and the ratio of after to before.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from eval.numbers.timesplit import TIMES, read_cycles


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    for name in ("before", "after"):
        options.add_argument(name, type=Path, help="a file that LONGSPEC_TRACE named")
    args = options.parse_args()
    traces = [read_cycles(path, [(0.0, float("inf"))]) for path in (args.before, args.after)]
    for path, cycles in zip((args.before, args.after), traces, strict=True):
        if not cycles:
            options.error(f"{path} holds no cycle; expected a file that LONGSPEC_TRACE named")
    table = Table("ms", *(f"{len(cycles)} cycles" for cycles in traces), "after / before")
    for name in TIMES:
        both = [float(np.median([cycle[name] for cycle in cycles])) for cycles in traces]
        table.add_row(
            name.removesuffix("_ms"), *(f"{x:.2f}" for x in both), f"{both[1] / both[0]:.3f}"
        )
    al = [1 + sum(c["accepted"] for c in cycles) / len(cycles) for cycles in traces]
    table.add_row("AL", *(f"{x:.3f}" for x in al), f"{al[1] / al[0]:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
