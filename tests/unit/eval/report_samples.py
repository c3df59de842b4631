"""Results as reports get them: small, complete, and with hostile text in every place."""

from __future__ import annotations

from eval.records.requests import RequestRecord
from eval.records.results import (
    AcceptanceLength,
    ArmResult,
    Bin,
    BreakEven,
    CategoryResult,
    Choices,
    Divergence,
    Goodput,
    Lossless,
    Results,
    Speedup,
    Spread,
    TimeSplit,
    TreeUse,
    Warned,
)

EVIL = "<script>alert('x')</script>"
TIMES = Spread(mean=11.1, p50=10.5, p90=12.5, p95=13.5, p99=14.5)
EMPTY = ArmResult(
    name="vanilla",
    label="vanilla",
    num_requests=0,
    num_errors=0,
    prompt_tokens=0,
    completion_tokens=0,
    seconds=0.0,
    throughput_tok_s=None,
    requests_per_s=None,
    steps=0,
    drafted=None,
    accepted=None,
    acceptance_length=AcceptanceLength(),
    acceptance_rate=None,
    acceptance_rate_path=None,
    joint_per_position=[],
    conditional_per_position=[],
    ttft_ms=Spread(),
    tpot_ms=Spread(),
    latency_ms=Spread(),
)


def vanilla(label: str = "vanilla", concurrency: int = 1, temperature: float = 0.0) -> ArmResult:
    return EMPTY.model_copy(
        update={
            "label": label,
            "concurrency": concurrency,
            "temperature": temperature,
            "num_requests": 4,
            "completion_tokens": 400,
            "seconds": 20.0,
            "throughput_tok_s": 20.0,
            "ttft_ms": TIMES,
            "tpot_ms": TIMES,
            "latency_ms": TIMES,
            "lossless": Lossless(identical=3, compared=4),
            "categories": {"coding": category(None), "writing": category(None)},
        }
    )


def category(length: float | None) -> CategoryResult:
    known = length is not None
    return CategoryResult(
        num_requests=2,
        completion_tokens=200,
        acceptance_length=AcceptanceLength(pooled=length, macro=length),
        acceptance_rate=0.25 if known else None,
        joint_per_position=[0.6, 0.3] if known else [],
        conditional_per_position=[0.6, 0.5] if known else [],
        tpot_ms=TIMES,
        speedup=Speedup(mean=1.5, low=1.2, high=1.9) if known else None,
    )


def spec(name: str = "longspec", label: str = "", concurrency: int = 1) -> ArmResult:
    return vanilla(label or name, concurrency).model_copy(
        update={
            "name": name,
            "num_errors": 1,
            "throughput_tok_s": 31.25,
            "requests_per_s": 0.3,
            "steps": 150,
            "drafted": 1000,
            "accepted": 237,
            "acceptance_length": AcceptanceLength(pooled=2.58, macro=2.71, effective=2.46),
            "acceptance_rate": 0.237,
            "acceptance_rate_path": 0.395,
            "joint_per_position": [0.61, 0.32],
            "conditional_per_position": [0.62, 0.53],
            "goodput": Goodput(limits={"ttft": 500}, count=3, share=0.75, requests_per_s=0.22),
            "speedup": Speedup(mean=1.56, low=1.31, high=1.87),
            "speedup_decode": Speedup(mean=1.66, low=1.41, high=1.97),
            "lossless": Lossless(identical=2, compared=4, divergences=[_divergence()]),
            "categories": {"coding": category(3.14), "writing": category(1.59)},
            "by_context": [Bin(low=0, high=128, steps=90, acceptance_length=2.5)],
            "by_generated": [Bin(low=0, high=32, steps=60, acceptance_length=2.4)],
            "acceptance_length_per_source": {"response": 2.58, "server": 2.6},
            "time_split": _split(),
            "tree_use": TreeUse(nodes=12.5, depth=3.5, accepted=1.58, used=0.126),
            "break_even": _break_even(),
            "choices": Choices(
                steps=90, share={"whole": 0.5, "cheap": 0.3, "none": 0.2}, nodes=1.4, least=0.47
            ),
        }
    )


def _divergence() -> Divergence:
    return Divergence(prompt_id="writing-1", turn=0, character=17, token=4, margin=0.0173)


def _split() -> TimeSplit:
    share = {"verify": 0.75, "draft": 0.2, "engine": 0.05}
    return TimeSplit(
        cycles=150,
        verify_ms=37.5,
        draft_ms=10.1,
        engine_ms=2.4,
        forward_ms=36,
        accept_ms=1,
        cycle_ms=50,
        share=share,
    )


def _break_even() -> BreakEven:
    return BreakEven(
        step_ms=50,
        vanilla_step_ms=40,
        step_time_ratio=1.25,
        acceptance_length=2.46,
        predicted=1.97,
        measured=1.66,
        source="trace",
    )


def results(*arms: ArmResult) -> Results:
    warned = Warned(name="truncated", arm="longspec", message="2 of 4 answers were cut")
    told = {
        "started": "2026-11-21T12:00:00+00:00",
        "command": "python -m eval.speed_bench --model M",
        "options": {"model": "M", "engine": "vllm", "dataset": "builtin", "output_len": 128},
        "server_commands": {"vanilla": "vllm serve M --port 4001"},
        "versions": {"python": "3.11.7", "sglang": None},
        "hardware": {"cpu": "EPYC", "cores": 2, "gpus": []},
        "revision": {"commit": "abc", "changed": False},
    }
    shown = list(arms) or [vanilla(), spec()]
    return Results(complete=True, arms=shown, warnings=[warned], provenance=told)


def record(
    arm: str, prompt_id: str, text: str = "one two", latency: float = 1000.0
) -> RequestRecord:
    return RequestRecord(
        arm=arm,
        prompt_id=prompt_id,
        category=prompt_id.split("-")[0],
        prompt_tokens=20,
        completion_tokens=100,
        ttft_ms=latency / 20,
        tpot_ms=latency / 105,
        latency_ms=latency,
        text=text,
    )


def records() -> list[RequestRecord]:
    ids = ("coding-1", "coding-2", "writing-1", "writing-2")
    base = [record("vanilla", each, latency=2000.0 + 100 * i) for i, each in enumerate(ids)]
    return base + [record("longspec", each, latency=1300.0 + i) for i, each in enumerate(ids)]
