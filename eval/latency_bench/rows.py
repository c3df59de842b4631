"""The rows: which model each is built of, and what is measured of it, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import benchmarks, models
from .options import GLIDE_ROWS, POE_RULES, Options
from .prompts import Prompt
from .results import Gamma, Row
from .stats import PoeStats, TimeStats, block_ms, ceiling_tps

NO_HEADS = "latency only: without real heads (--target and --heads) acceptance means nothing"
NO_BRIDGE = "latency only: these heads have no bridge, without which nothing drafted is any good"


def head_of(name: str, options: Options) -> Row:
    """What is known of a row before anything is measured."""
    row: Row = {"random_weights": options.target is None, "weights": _weights(name, options)}
    if name in POE_RULES and not real(name, options):
        row["note"] = NO_BRIDGE if options.heads else NO_HEADS
    return row


def real(name: str, options: Options) -> bool:
    """Whether what a PoE row accepts means something."""
    return options.bridge if POE_RULES[name][1] == "verified" else options.heads is not None


def _weights(name: str, options: Options) -> str:
    if options.target is None:
        return "random"
    if name == "baseline":
        return "target"
    if name in GLIDE_ROWS:
        return "target + its draft"
    return "target + its heads" if options.heads else "target + copies of its last layers"


def windows(name: str, options: Options) -> int:
    """Benchmarks that a row consists of."""
    beside = int(options.repeats_baseline and name != "baseline")
    if name in POE_RULES:
        return beside + 1 + len(options.gammas)
    if name in GLIDE_ROWS:
        return beside + 2
    return beside + 2 + len(range(0, options.gen_length, options.step_interval))


def measure(name: str, options: Options, prompt: Prompt, row: Row) -> Iterator[str]:
    """Fill ``row``; yields what is measured next, so that the caller may save what there is."""
    how = (options.warmup_ms, options.rep_ms)
    yield "making the model"
    if name in POE_RULES:
        yield from _poe(name, options, prompt, row, how)
    elif name in GLIDE_ROWS:
        yield from _glide(name, options, prompt, row, how)
    else:
        yield from _greedy(name, options, prompt, row, how)


def measure_beside(options: Options, prompt: Prompt, row: Row) -> None:
    """The model alone once more, right after another row."""
    how = (options.warmup_ms, options.rep_ms)
    tokens = options.poe_max_new_tokens
    row["beside"] = benchmarks.benchmark_call(models.baseline_of(options), prompt.ids, tokens, *how)


Windows = tuple[float, float]


def _greedy(name: str, options: Options, prompt: Prompt, row: Row, how: Windows) -> Iterator[str]:
    model: Any = models.baseline_of(options) if name == "baseline" else models.hydra_of(options)
    yield "TTFT"
    row["ttft"] = benchmarks.benchmark_ttft(model, prompt.ids, *how)
    yield "decode"
    steps = (options.gen_length, options.step_interval)
    row["decode"] = benchmarks.benchmark_decode(model, prompt.ids, *steps, *how)
    yield "whole calls"
    row["call"] = benchmarks.benchmark_call(model, prompt.ids, options.poe_max_new_tokens, *how)


def _poe(name: str, options: Options, prompt: Prompt, row: Row, how: Windows) -> Iterator[str]:
    poe, _ = models.poe_of(options, name)
    yield "TTFT"
    row["ttft"] = benchmarks.benchmark_poe_ttft(poe, prompt.ids, *how)
    row["per_gamma"] = {}
    for gamma in options.gammas:
        yield f"γ={gamma}"
        poe.gamma = gamma
        found = benchmarks.benchmark_poe(poe, prompt.text, *how)
        bonus, told = POE_RULES[name][0] == "bonus", real(name, options)
        row["per_gamma"][str(gamma)] = of_gamma(found, row["ttft"], gamma, bonus, told)


def of_gamma(found: PoeStats, ttft: TimeStats, gamma: int, bonus: bool, told: bool) -> Gamma:
    """What is told of one gamma: acceptance, and what hangs on it, only of real heads."""
    block = block_ms(found["median_ms"], ttft["median_ms"], found["avg_steps_per_call"])
    latency: TimeStats = {key: found[key] for key in TimeStats.__annotations__}  # type: ignore
    made: Gamma = {
        "latency": latency,
        "block_ms": block,
        "ceiling_tps": ceiling_tps(gamma, bonus, block) if block else None,
    }
    return {**made, "acceptance": found} if told else made


def _glide(name: str, options: Options, prompt: Prompt, row: Row, how: Windows) -> Iterator[str]:
    glide = models.Glide(options)
    yield "TTFT"
    first = benchmarks.benchmark_glide(glide, name, prompt.ids, 1, *how)
    row["ttft"] = {key: first[key] for key in TimeStats.__annotations__}  # type: ignore
    yield "whole calls"
    tokens = options.poe_max_new_tokens
    row["call"] = benchmarks.benchmark_glide(glide, name, prompt.ids, tokens, *how)
