"""Writes results.json, results.csv and report.md, and prints the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from .guards import Warned
from .metrics import gap
from .options import DEFINITIONS
from .summary import ArmResult, Identical, Speedup

SCHEMA_VERSION = 1


class Results(BaseModel):
    """results.json."""

    schema_version: int = SCHEMA_VERSION
    complete: bool
    arms: list[ArmResult]
    warnings: list[Warned]
    provenance: dict[str, Any]


def write(results: Results, folder: Path) -> None:
    """Write the three files."""
    text = results.model_dump_json(indent=2)
    (folder / "results.json").write_text(text + "\n", "utf-8")
    import pandas as pd  # here, since it is slow to import and most errors come before

    flat = pd.json_normalize([json.loads(arm.model_dump_json()) for arm in results.arms], sep=".")
    lists = [str(name) for name in flat if flat[name].map(lambda v: isinstance(v, list)).any()]
    flat[lists] = flat[lists].map(json.dumps)
    flat.to_csv(folder / "results.csv", index=False)
    (folder / "report.md").write_text(markdown(results), "utf-8")


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _rates(values: list[float]) -> str:
    return " ".join(number(value) for value in values) or "-"


def _speedup(value: Speedup | None) -> str:
    if value is None or value.mean is None:
        return "-"
    interval = f" [{number(value.low)}, {number(value.high)}]" if value.low is not None else ""
    return f"{number(value.mean)}{interval}"


def _identical(value: Identical | None) -> str:
    return f"{value.count}/{value.total}" if value else "-"


def rows(arm: ArmResult) -> dict[str, str]:
    """The table's lines for one arm."""
    length = arm.acceptance_length
    return {
        "requests": str(arm.num_requests) + (f" ({arm.num_errors} failed)" * bool(arm.num_errors)),
        "completion tokens": str(arm.completion_tokens),
        "seconds": number(arm.seconds, 1),
        "throughput tok/s": number(arm.throughput_tok_s),
        "AL pooled": number(length.pooled),
        "AL macro": number(length.macro),
        "AL effective": number(length.effective),
        "AR (of drafted)": number(arm.acceptance_rate, 3),
        "AR (of path)": number(arm.acceptance_rate_path, 3),
        "joint per position": _rates(arm.joint_per_position),
        "conditional": _rates(arm.conditional_per_position),
        "TTFT ms p50 / p95": f"{number(arm.ttft_ms.p50, 0)} / {number(arm.ttft_ms.p95, 0)}",
        "TPOT ms p50 / p95": f"{number(arm.tpot_ms.p50, 1)} / {number(arm.tpot_ms.p95, 1)}",
        "speedup [95%]": _speedup(arm.speedup),
        "decode speedup [95%]": _speedup(arm.speedup_decode),
        "identical to vanilla": _identical(arm.identical_to_vanilla),
        **_split(arm),
    }


def _split(arm: ArmResult) -> dict[str, str]:
    if not arm.time_split:
        return {}
    mean, share = arm.time_split["mean"], arm.time_split["share"]
    parts = ("verify", "draft", "engine")
    return {f"{p} ms (share)": f"{mean[p + '_ms']:.1f} ({share.get(p, 0):.0%})" for p in parts}


def _lines(columns: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Every line that some arm has, in order, with a dash where another has none."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    return {name: [column.get(name, "-") for column in columns.values()] for name in names}


def _print(title: str, columns: dict[str, dict[str, str]], console: Console) -> None:
    table = Table("", *columns, title=title)
    for name, cells in _lines(columns).items():
        table.add_row(name, *cells)
    console.print(table, markup=False)


def print_table(results: Results, console: Console) -> None:
    """The table for people: arms beside each other, then the warnings."""
    _print("speed_bench", {arm.name: rows(arm) for arm in results.arms}, console)
    if told := _sources(results):
        _print("AL by source", told, console)
    for warned in results.warnings:
        console.print(f"warning: {_line(warned)}", markup=False, highlight=False, soft_wrap=True)


def _sources(results: Results) -> dict[str, dict[str, str]]:
    """Of arms whose acceptance length several sources tell: each, and how far they are apart."""
    told = {arm.name: arm.acceptance_length_per_source for arm in results.arms}
    return {
        arm: {**{s: number(v, 3) for s, v in lengths.items()}, "apart by": f"{apart:.1%}"}
        for arm, lengths in told.items()
        if (apart := gap(list(lengths.values()))) is not None
    }


def _line(warned: Warned) -> str:
    return f"{warned.name} ({warned.arm}): {warned.message}"


def markdown(results: Results) -> str:
    """report.md."""
    source = json.dumps(results.provenance, indent=2)
    parts = [
        "# Speed benchmark",
        "" if results.complete else "**The run was stopped early; these are its parts.**",
        _table({arm.name: rows(arm) for arm in results.arms}),
        "## Acceptance length by source",
        _table(_sources(results)) or "No two sources tell of it.",
        "## Acceptance length by category",
        _categories(results),
        "## Warnings",
        "\n".join(f"- {_line(warned)}" for warned in results.warnings) or "None.",
        "## Definitions",
        f"```\n{DEFINITIONS}\n```",
        "## Provenance",
        f"```json\n{source}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(columns: dict[str, dict[str, str]]) -> str:
    """Markdown; nothing without columns."""
    import pandas as pd

    frame = pd.DataFrame.from_dict(_lines(columns), orient="index", columns=list(columns))
    return str(frame.to_markdown(disable_numparse=True) or "")


def _categories(results: Results) -> str:
    told = {a.name: a.acceptance_length_per_category for a in results.arms}
    columns = {arm: {c: number(v) for c, v in each.items()} for arm, each in told.items() if each}
    return _table(columns) or "No server told of each request."
