"""report.html: one file that needs nothing else, no network and no script."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cli.options import DEFINITIONS
from ..records.requests import RequestRecord
from ..records.results import ArmResult, Divergence, Results
from . import matrix, palette, select, tables
from .markdown import STOPPED
from .plots import plots

MOST_DIVERGENCES = 200  # a table of more is not read
MOST_CARDS = 8  # with more arms and conditions the headline is a table
_SPLIT = re.compile(r"^  (?P<name>\S.*?) {2,}(?P<text>.*)$")
_PLAIN = ("command", "started", "server_commands", "versions", "hardware", "revision")


def html(results: Results, records: Sequence[RequestRecord]) -> str:
    """The report; sections without data are left out."""
    shown = select.plotted(results)
    known = select.by_label(results.arms, records)
    answers, total = select.prompts(shown, known)
    looks = palette.looks(results.arms)
    return render(
        "report.html.j2",
        results=results,
        stopped="" if results.complete else STOPPED,
        about=about(results.provenance),
        cards=[_card(arm, looks[arm.label]) for arm in results.arms],
        headline=tables.headline(results) if len(results.arms) > MOST_CARDS else None,
        variables={label: look.variable for label, look in looks.items()},
        warnings=_warnings(results),
        main=tables.main(results),
        matrix=_matrix(results),
        sources=tables.sources(results),
        lossless=tables.lossless(results),
        diverging=_diverging(results),
        divergences=sum(len(_divergences(arm)) for arm in results.arms),
        sections=plots(shown, results.arms, known),
        left_out=len(results.arms) - len(shown),
        shown=[arm.label for arm in shown],
        prompts=answers,
        total=total,
        definitions=definitions(),
        provenance=provenance(results.provenance),
    )


def render(template: str, **values: Any) -> str:
    """A template of this package; every value is escaped but the plots."""
    import jinja2  # here, since only this file needs it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "eval.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    colours = {"light": palette.css(False), "dark": palette.css(True)}
    return environment.get_template(template).render(colours=colours, **values)


def about(provenance: dict[str, Any]) -> str:
    """What was measured, in one line, as far as it is told."""
    options, hardware = _dict(provenance, "options"), _dict(provenance, "hardware")
    cores = hardware.get("cores")
    told = [
        Path(str(options.get("model") or "")).name or options.get("base_url"),
        options.get("engine"),
        options.get("dataset"),
        ", ".join(hardware.get("gpus") or []) or hardware.get("cpu"),
        f"{cores} cores" if cores and not hardware.get("gpus") else None,
        provenance.get("started"),
    ]
    return " · ".join(str(part) for part in told if part)


def _dict(source: dict[str, Any], name: str) -> dict[str, Any]:
    found = source.get(name)
    return found if isinstance(found, dict) else {}


def _card(arm: ArmResult, look: palette.Look) -> dict[str, Any]:
    """The headline of an arm: the large number, and the rest below it."""
    length = arm.acceptance_length
    fast = arm.speedup is not None and arm.speedup.mean is not None
    rest = {
        "throughput": f"{tables.number(arm.throughput_tok_s, 1)} tok/s",
        "AL pooled": tables.number(length.pooled),
        "AL effective": tables.number(length.effective),
        "identical": tables.identical(arm.lossless) + " (control)" * _controlled(arm),
        "failed": f"{arm.num_errors} of {arm.num_requests}" if arm.num_errors else tables.NONE,
    }
    return {
        "label": arm.label,
        "variable": look.variable,
        "large": f"{tables.number(arm.speedup.mean)}×" if fast and arm.speedup else "",
        "small": tables.interval(arm.speedup),
        "base": arm.name == palette.VANILLA,
        "rest": {name: text for name, text in rest.items() if not text.startswith(tables.NONE)},
    }


def _controlled(arm: ArmResult) -> bool:
    return arm.name == palette.VANILLA and arm.lossless is not None


def _warnings(results: Results) -> dict[str, list[tuple[str, str]]]:
    """By name: the arms and their messages."""
    found: dict[str, list[tuple[str, str]]] = {}
    for warned in results.warnings:
        found.setdefault(warned.name, []).append((warned.arm, warned.message))
    return found


def _matrix(results: Results) -> dict[str, Any] | None:
    grouped = matrix.grouped(results)
    return {"labels": matrix.labels(results), "rows": grouped} if grouped else None


def _diverging(results: Results) -> list[dict[str, Any]]:
    """Divergences by falling margin, vanilla's being of its control."""
    found = [(each, arm.label) for arm in results.arms for each in _divergences(arm)]
    found.sort(key=lambda pair: -1 if pair[0].margin is None else pair[0].margin, reverse=True)
    return [
        {**each.model_dump(), "label": label, "margin": tables.number(each.margin, 3)}
        for each, label in found[:MOST_DIVERGENCES]
    ]


def _divergences(arm: ArmResult) -> list[Divergence]:
    return arm.lossless.divergences if arm.lossless else []


def definitions() -> list[tuple[str, str]]:
    """The definitions of ``--help`` as pairs."""
    found: list[tuple[str, str]] = []
    for line in DEFINITIONS.splitlines()[1:]:
        if start := _SPLIT.match(line):
            found.append((start["name"], start["text"]))
        elif found:
            name, text = found[-1]
            found[-1] = (name, f"{text} {line.strip()}")
    return found


def provenance(source: dict[str, Any]) -> dict[str, Any]:
    """Command, start and tables of what is known; the rest as JSON."""
    rest = {name: value for name, value in source.items() if name not in _PLAIN}
    return {
        "command": source.get("command"),
        "started": source.get("started"),
        "servers": _dict(source, "server_commands"),
        "facts": {
            name: {key: _text(value) for key, value in _dict(source, name).items()}
            for name in ("versions", "hardware", "revision")
            if _dict(source, name)
        },
        "rest": json.dumps(rest, indent=2) if rest else "",
    }


def _text(value: Any) -> str:
    if value is None:
        return tables.NONE
    return value if isinstance(value, str) else json.dumps(value)
