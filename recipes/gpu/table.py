"""The tables of a run, from its JSON files, and ``gpu.json``, all of it in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from . import bf16
from .arm import PARTS
from .pieces import PIECES
from .plan import FILE, Plan, read, write
from .targets import Found, break_even, checks, draft_share, row

STATES, ALL = "pieces.json", "gpu.json"
DRY = "tried out on a CPU, in an interpreter: nothing here is a measurement"
VERDICTS = {True: "met", False: "[bold red]missed", None: "-"}
MISSING = "-"
WIDTH = 120
"""Columns that the tables take."""


def collected(folder: Path) -> dict[str, Any]:
    """What all pieces have measured so far, by name."""
    found = {name: piece.found(folder) for name, piece in PIECES.items()}
    return {name: each for name, each in found.items() if each is not None}


def save(folder: Path) -> bool:
    """Write ``gpu.json``; whether all that is shown of correctness holds and no piece failed."""
    plan, found = Plan.load(folder), collected(folder)
    told = checks(plan, found)
    states = read(folder / STATES) or {}
    told_all = {"run": read(folder / FILE), "pieces": states, "found": found}
    write(folder / ALL, {**told_all, "targets": [asdict(check) for check in told]})
    proofs = [check.met for check in told[:3]]
    return False not in proofs and all(each["state"] == "done" for each in states.values())


def show(folder: Path, console: Console) -> None:
    """Print the tables."""
    plan, found = Plan.load(folder), collected(folder)
    gpu = ((read(folder / FILE) or {}).get("hardware") or {}).get("gpus") or ["no GPU"]
    where = DRY if plan.device == "cpu" else gpu[0]
    if cycle := found.get("cycle"):
        console.print(cycles(plan, cycle, where))
    if attention := found.get("attention"):
        console.print(attended(attention, where))
    console.print(Group(*notes(folder, found), verdicts(plan, found, where)))


def cycles(plan: Plan, found: Found | None, where: str) -> Table:
    """A line a pair: vanilla's step, the cycle and its parts in milliseconds, and break-even."""
    table = Table(title=f"A cycle beside stock vLLM's step\n{plan.told()}\n{where}")
    names = ("vanilla", "cycle", *(name.removesuffix("_ms") for name in PARTS), "rest")
    for name in ("context", "batch", *names, "draft of cycle", "break-even AL"):
        table.add_column(name, justify="right")
    for batch in plan.batches:
        for context in plan.contexts:
            table.add_row(f"{context:,}", str(batch), *_cells(found, context, batch))
        table.add_section()
    return table


def _cells(found: Found | None, context: int, batch: int) -> list[str]:
    vanilla, ours = (row(found, arm, context, batch) for arm in ("vanilla", "longspec"))
    parts = ours["parts"] if ours else {}
    told = [parts.get(name) for name in PARTS]
    whole = parts.get("cycle_ms")
    known = [part for part in told if part is not None]
    rest = whole - sum(known) if whole is not None and known else None
    share = draft_share(ours) if ours else None
    ratio = break_even(found, context, batch)
    times = [each["ms"] if each else None for each in (vanilla, ours)] + [*told, rest]
    return [*(_text(ms, ".3f") for ms in times), _text(share, ".1%"), _text(ratio, ".3f")]


def _text(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form)


def attended(found: Found, where: str) -> Table:
    """A line a context: one layer's attention of a tree, in milliseconds."""
    names = ("hybrid", "eager, masked", "SDPA, masked")
    table = Table(title=f"Attention of one layer, one request, ms\n{where}")
    for name in ("context", *names, "eager / hybrid", "hybrid / memory floor"):
        table.add_column(name, justify="right")
    records = found["records"]
    for context in sorted({record["context"] for record in records}):
        here = {record["name"]: record for record in records if record["context"] == context}
        times = [f"{here[name]['ms']:.3f}" for name in names]
        ratios = (here["eager, masked"]["ratio"], 1 / here["hybrid"]["of_copy"])
        table.add_row(f"{context:,}", *times, *(f"{ratio:.2f}" for ratio in ratios))
    return table


def notes(folder: Path, found: Found) -> list[Text]:
    """What engines chose for themselves, what has no figure and why, and what went wrong."""
    cycle = found.get("cycle") or {}
    lines = [
        f"{arm}: {', '.join(f'{k} {v}' for k, v in each['settings'].items() if k != 'captured')}"
        for arm, each in cycle.get("arms", {}).items()
    ]
    if left := cycle.get("no_room"):
        pairs = ", ".join(f"{context:,} x {batch}" for context, batch in left)
        lines.append(f"no room on {cycle['card_gib']:.0f} GiB: {pairs}")
    for arm, each in cycle.get("arms", {}).items():
        lines += [f"{arm}, {r['context']:,} x {r['batch']}: {r['error']}"
                  for r in each["rows"] if "error" in r]  # fmt: skip
    for name, state in (read(folder / STATES) or {}).items():
        if state["state"] != "done":
            lines.append(f"{name}: {state['state']} {state.get('why', '')}".rstrip())
    return [Text(line) for line in lines + parted(found.get("bf16"))]


def parted(found: Found | None) -> list[str]:
    """The faults of bfloat16, and how often vanilla parts from itself."""
    if not found:
        return []
    control = found["control"]
    lines = [f"answers of vanilla all together against one by one: {control['same']} of"
             f" {control['of']} the same"]  # fmt: skip
    for arm, ways in found["arms"].items():
        length = found["AL"][arm]
        lines.append(f"answers with trees, {arm}: AL {_text(length, '.2f')}")
        lines += [
            f"FAULT, {arm}, {way}: prompt {each['prompt']} parts at token {each['token']}, where"
            f" vanilla's margin is {_text(each['margin'], '.3f')} nats"
            for way in bf16.WAYS
            for each in ways[way]["faults"]
        ]
    return lines


def verdicts(plan: Plan, found: Found, where: str) -> Table:
    """A line a target."""
    table = Table("target", "wanted", "found", "", title=f"Targets\n{where}")
    for check in checks(plan, found):
        dry = plan.device == "cpu"
        table.add_row(check.what, check.wanted, check.found, "-" if dry else VERDICTS[check.met])
    return table
