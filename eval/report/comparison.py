"""A comparison of two runs, in a terminal, as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console

from ..records.results import Results
from . import differences, html, markdown, terminal
from .differences import Pair, Run
from .tables import Table

RATIO = (
    "Speedup of B over A: A's latency per token over B's, paired per prompt, as a geometric mean"
    " with a 95% bootstrap interval; above 1, B is faster."
)


@dataclass(frozen=True)
class Comparison:
    """All that is shown."""

    a: Run
    b: Run
    pairs: list[Pair]
    arms: list[Table]
    paired: Table
    provenance: Table | None
    notes: list[str]


def compare(a: Run, b: Run) -> Comparison:
    """Everything about two runs that have an arm in common."""
    pairs = differences.pairs(a, b)
    return Comparison(
        a=a,
        b=b,
        pairs=pairs,
        arms=[differences.numbers(*both) for both in differences.common(a.results, b.results)],
        paired=differences.paired(pairs),
        provenance=differences.provenance(a.results, b.results),
        notes=list(_notes(a, b, pairs)),
    )


def _notes(a: Run, b: Run, pairs: list[Pair]) -> Iterator[str]:
    """What to know before the numbers are read."""
    for letter, run in (("A", a), ("B", b)):
        if not run.results.complete:
            yield f"{letter} was stopped early."
        if not run.records:
            yield f"{letter} has no requests.jsonl; nothing is compared prompt by prompt."
    for letter, mine, others in (("A", a.results, b.results), ("B", b.results, a.results)):
        if only := _missing(mine, others):
            yield f"Only in {letter}: {', '.join(only)}."
    for pair in pairs:
        if pair.other_input:
            yield (
                f"{pair.label}: {pair.other_input} of {pair.compared} inputs differ in their"
                " number of tokens; other prompts, turns before or chat template?"
            )


def _missing(mine: Results, others: Results) -> list[str]:
    there = {arm.label for arm in others.arms}
    return [arm.label for arm in mine.arms if arm.label not in there]


def print_comparison(found: Comparison, console: Console) -> None:
    """Everything in a terminal."""
    terminal.say(f"A: {found.a.name}\nB: {found.b.name}", console)
    for table in (*found.arms, found.paired, found.provenance):
        terminal.show(table, console)
    terminal.say(RATIO, console)
    for note in found.notes:
        terminal.say(f"note: {note}", console)


def as_markdown(found: Comparison) -> str:
    """Everything as Markdown."""
    parts = ["# Comparison of two runs", _names(found)]
    parts += ["\n".join(f"- {markdown.plain(note)}" for note in found.notes)]
    parts += ["## Prompt by prompt", RATIO, markdown.table(found.paired)]
    for table in found.arms:
        parts += [f"## {markdown.plain(table.title)}", markdown.table(table)]
    parts += ["## What differs", markdown.table(found.provenance) or "Nothing that is recorded."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _names(found: Comparison) -> str:
    return f"A: {markdown.plain(found.a.name)}  \nB: {markdown.plain(found.b.name)}"


def as_html(found: Comparison) -> str:
    """Everything as one HTML file."""
    return html.render("compare.html.j2", found=found, ratio=RATIO, about=html.about)
