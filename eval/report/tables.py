"""Cells as text for people, written once for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..numbers.metrics import gap
from ..records.results import ArmResult, Choices, Lossless, Results, Speedup, Spread, Warned

NONE = "-"


@dataclass(frozen=True)
class Table:
    """A line per name with a cell per column; nothing but text, not yet escaped."""

    title: str
    columns: Sequence[str]
    lines: Mapping[str, Sequence[str]]


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return NONE if value is None else f"{value:.{digits}f}"


def rates(values: Sequence[float]) -> str:
    """One number a position."""
    return " ".join(number(value) for value in values) or NONE


def speedup(value: Speedup | None) -> str:
    """``1.58 [1.36, 1.85]``; without an interval where one prompt was measured."""
    if value is None or value.mean is None:
        return NONE
    return f"{number(value.mean)} {interval(value)}".strip()


def interval(value: Speedup | None) -> str:
    """``[1.36, 1.85]``, or nothing."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"[{number(value.low)}, {number(value.high)}]"


def identical(value: Lossless | None) -> str:
    """``8/22``."""
    return f"{value.identical}/{value.compared}" if value else NONE


def spread(value: Spread, digits: int = 0) -> str:
    """``p50 / p95``."""
    if value.p50 is None and value.p95 is None:
        return NONE
    return f"{number(value.p50, digits)} / {number(value.p95, digits)}"


def rows(arm: ArmResult) -> dict[str, str]:
    """The main table's lines for one arm."""
    return {**_speed(arm), **_acceptance(arm), **_cost(arm), **_drawn(arm)}


def _speed(arm: ArmResult) -> dict[str, str]:
    return {
        "requests": str(arm.num_requests) + (f" ({arm.num_errors} failed)" * bool(arm.num_errors)),
        "completion tokens": str(arm.completion_tokens),
        "seconds": number(arm.seconds, 1),
        "throughput tok/s": number(arm.throughput_tok_s),
        "requests/s": number(arm.requests_per_s),
        "goodput requests/s": _goodput(arm),
        "speedup [95%]": speedup(arm.speedup),
        "decode speedup [95%]": speedup(arm.speedup_decode),
        "TTFT ms p50 / p95": spread(arm.ttft_ms),
        "TPOT ms p50 / p95": spread(arm.tpot_ms, 1),
        "latency ms p50 / p95": spread(arm.latency_ms),
        "identical to vanilla": identical(arm.lossless),
    }


def _goodput(arm: ArmResult) -> str:
    if arm.goodput is None:
        return NONE
    share = "" if arm.goodput.share is None else f" ({arm.goodput.share:.0%})"
    return number(arm.goodput.requests_per_s) + share


def _acceptance(arm: ArmResult) -> dict[str, str]:
    length = arm.acceptance_length
    return {
        "AL pooled": number(length.pooled),
        "AL macro": number(length.macro),
        "AL effective": number(length.effective),
        "AR (of drafted)": number(arm.acceptance_rate, 3),
        "AR (of path)": number(arm.acceptance_rate_path, 3),
        "joint per position": rates(arm.joint_per_position),
        "conditional": rates(arm.conditional_per_position),
    }


def _cost(arm: ArmResult) -> dict[str, str]:
    split, tree, even = arm.time_split, arm.tree_use, arm.break_even
    shown: dict[str, str] = {}
    if split:
        for part in ("verify", "draft", "engine"):
            mean, share = getattr(split, f"{part}_ms"), split.share.get(part)
            told = "" if share is None else f" ({share:.0%})"
            shown[f"{part} ms (share)"] = number(mean, 1) + told
    if tree:
        shown["tree nodes"] = number(tree.nodes, 1)
        shown["tree depth"] = number(tree.depth, 1)
        shown["tree nodes accepted"] = number(tree.accepted)
        shown["tree nodes used"] = NONE if tree.used is None else f"{tree.used:.1%}"
    if arm.choices:
        shown |= _choices(arm.choices)
    if even:
        shown["step time, x vanilla's"] = number(even.step_time_ratio)
        shown["AL effective / step time"] = number(even.predicted)
    return shown


def _choices(chosen: Choices) -> dict[str, str]:
    shares = [f"{chosen.share.get(effort, 0):.0%}" for effort in ("whole", "cheap", "none")]
    return {
        "steps with drafts / lookups / none": " / ".join(shares),
        "nodes a request, where drafted": number(chosen.nodes),
        "least path probability": number(chosen.least),
    }


def _drawn(arm: ArmResult) -> dict[str, str]:
    """How tokens were drawn, as far as it is not neutral in every respect; answers undrafted."""
    shown = {"answers undrafted": str(arm.undrafted) if arm.undrafted else NONE}
    if arm.sampling is None:
        return shown
    found = arm.sampling.defaults
    told = ", ".join(f"{name} {value:g}" for name, value in (found or {}).items())
    if arm.sampling.mode == "server":
        unknown = "defaults not known" if found is None else "no defaults"
        return shown | {"sampling": f"the server's: {told or unknown}"}
    return shown | {"sampling": "neutral" + (f" (server's, off: {told})" if told else "")}


def by_arm(title: str, columns: Mapping[str, Mapping[str, str]]) -> Table | None:
    """Every line that some arm has, in order; None if there is none."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    lines = {name: [column.get(name, NONE) for column in columns.values()] for name in names}
    told = {name: cells for name, cells in lines.items() if set(cells) != {NONE}}
    return Table(title, list(columns), told) if told else None


def main(results: Results) -> Table | None:
    """All arms beside each other."""
    return by_arm("speed_bench", {arm.label: rows(arm) for arm in results.arms})


def headline(results: Results) -> Table | None:
    """An arm a line, for runs of many conditions."""
    lines = {arm.label: _headline(arm) for arm in results.arms}
    columns = ["speedup [95%]", "tok/s", "AL pooled", "AL effective", "identical"]
    return Table("Headline", columns, lines) if lines else None


def _headline(arm: ArmResult) -> list[str]:
    length = arm.acceptance_length
    told = [speedup(arm.speedup), number(arm.throughput_tok_s, 1)]
    return [*told, number(length.pooled), number(length.effective), identical(arm.lossless)]


def sources(results: Results) -> Table | None:
    """Of arms whose acceptance length several sources tell: each, and how far they are apart."""
    told = {arm.label: arm.acceptance_length_per_source for arm in results.arms}
    columns = {
        arm: {**{s: number(v, 3) for s, v in lengths.items()}, "apart by": f"{apart:.1%}"}
        for arm, lengths in told.items()
        if (apart := gap(list(lengths.values()))) is not None
    }
    return by_arm("AL by source", columns)


def lossless(results: Results) -> Table | None:
    """Answers equal to vanilla's; vanilla's own column is the control."""
    columns = {_with_control(arm): _divergences(arm.lossless) for arm in results.arms}
    return by_arm("Answers equal to vanilla's", {k: v for k, v in columns.items() if v})


def _with_control(arm: ArmResult) -> str:
    return arm.label + " (control)" * (arm.name == "vanilla")


def _divergences(value: Lossless | None) -> dict[str, str]:
    if value is None:
        return {}
    margins = [each.margin for each in value.divergences if each.margin is not None]
    return {
        "identical": str(value.identical),
        "compared": str(value.compared),
        "share identical": f"{value.identical / value.compared:.0%}" if value.compared else NONE,
        "divergences with a known margin": str(len(margins)) if margins else NONE,
        "margin there, nats: median": number(median(margins), 3) if margins else NONE,
        "margin there, nats: largest": number(max(margins), 3) if margins else NONE,
    }


def warning(warned: Warned) -> str:
    """A warning in one line."""
    return f"{warned.name} ({warned.arm}): {warned.message}"
