"""The tables in a terminal."""

from __future__ import annotations

import rich.table
from rich.console import Console
from rich.text import Text

from ..records.results import Results
from . import matrix
from . import nemo as nemo_skills
from .markdown import STOPPED
from .tables import Table, main, sources, warning


def show(table: Table | None, console: Console) -> None:
    """Print one table; names and cells as they stand, without rich's markup."""
    if table is None:
        return
    shown = rich.table.Table(title=Text(table.title), title_justify="left")
    shown.add_column("")
    for name in table.columns:
        shown.add_column(Text(name), justify="right")
    for name, cells in table.lines.items():
        shown.add_row(Text(name), *map(Text, cells))
    console.print(shown)


def print_table(results: Results, console: Console, *, nemo: bool = False) -> None:
    """What people read after a run: the arms beside each other, then the warnings."""
    show(main(results), console)
    show(matrix.table(results), console)
    show(sources(results), console)
    if nemo:
        say(nemo_skills.text(results), console)
    for warned in results.warnings:
        say(f"warning: {warning(warned)}", console)
    if not results.complete:
        say(STOPPED, console)


def say(text: str, console: Console) -> None:
    """Print a line as it stands."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
