"""The table of a run, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console

from ..report import markdown, number, terminal
from ..report.tables import NONE, Table
from .lines import Line, lines, once
from .results import Row

MEANING = (
    "TTFT: the first token. ms/token: each further one. call: prompt and {tokens} tokens; tok/s and"
    " × baseline are of it, prefill included."
)
SPECULATION = (
    "block: a draft-and-verify step of PoE; ceiling: decoding if every draft were accepted;"
    " effective: less resampled tokens; AL: tokens a step, GLIDE."
)
SPEED = ("TTFT ms", "ms/token", "call ms", "tok/s", "× baseline")
DRAFTS = ("block ms", "ceiling tok/s", "effective tok/s", "resampled", "AL")
ONCE = "*"
MARKED = "*: of one measured call, so no median; give a longer --rep-ms"
STOPPED = "Stopped early: what was measured until then."


def tables(rows: Mapping[str, Row]) -> list[Table]:
    """Latency, then speculation: a line a method and gamma, without lines that have no number."""
    shown = lines(rows)
    speed = {line.label: _speed(line) for line in shown}
    drafts = {line.label: _drafts(line) for line in shown}
    return [
        _table("latency_bench", SPEED, speed),
        *([_table("speculation", DRAFTS, told)] if (told := _told(drafts)) else []),
    ]


def _table(title: str, columns: Sequence[str], cells: Mapping[str, Sequence[str]]) -> Table:
    """Columns without any number are left out."""
    told = [i for i in range(len(columns)) if any(each[i] != NONE for each in cells.values())]
    some = {label: [each[i] for i in told] for label, each in cells.items()}
    return Table(title, [columns[i] for i in told], some)


def _told(cells: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    return {label: each for label, each in cells.items() if set(each) != {NONE}}


def _speed(line: Line) -> list[str]:
    return [
        number(line.ttft["median_ms"] if line.ttft else None)
        + ONCE * bool(line.ttft and once(line.ttft)),
        number(line.token_ms),
        number(line.call_ms, 1) + ONCE * line.call_once,
        number(line.user_tps, 1),
        number(line.speedup),
    ]


def _drafts(line: Line) -> list[str]:
    return [
        number(line.block_ms),
        number(line.ceiling_tps, 1),
        number(line.effective_tps, 1),
        NONE if line.resample_rate is None else f"{line.resample_rate:.1%}",
        number(line.acceptance_length),
    ]


def notes(data: Mapping[str, Any]) -> list[str]:
    """What is to be known beside the numbers, a line each."""
    settings, rows = data["settings"], data["rows"]
    told = [] if data["complete"] else [STOPPED]
    told += [
        f"{data['model']['name']}, {settings['dtype']}, {data['device']['name']}; medians; one"
        f" prompt of {data['prompt']['tokens']} tokens ({data['prompt']['source']})",
        MEANING.format(tokens=settings["poe_max_new_tokens"]),
        *([SPECULATION] if len(tables(rows)) > 1 else []),
        *([MARKED] if any(ONCE in cell for cell in _cells(rows)) else []),
    ]
    told += [f"weights: {text}" for text in _grouped(rows, "weights")]
    return told + [f"note: {text}" for text in _grouped(rows, "note")]


def _cells(rows: Mapping[str, Row]) -> list[str]:
    return [cell for line in lines(rows) for cell in _speed(line)]


def _grouped(rows: Mapping[str, Row], key: Literal["weights", "note"]) -> list[str]:
    """``what (row, row)``, a text a line."""
    names: dict[str, list[str]] = {}
    for name, row in rows.items():
        if key in row:
            names.setdefault(row[key], []).append(name)
    return [f"{what} ({', '.join(of)})" for what, of in names.items()]


def as_markdown(data: Mapping[str, Any]) -> str:
    """``table.md``."""
    shown = "\n\n".join(markdown.table(each) for each in tables(data["rows"]))
    listed = "\n".join(f"- {markdown.plain(note)}" for note in notes(data))
    return f"{shown}\n\n{listed}\n"


def show(data: Mapping[str, Any], console: Console) -> None:
    """Print it."""
    for each in tables(data["rows"]):
        terminal.show(each, console)
    for note in notes(data):
        terminal.say(note, console)
