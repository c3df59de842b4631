"""The schema of results.json: what every report and comparison reads.

A number that does not exist is None, never 0. Formulas are in ``metrics`` and docs/evaluation.md.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

SCHEMA_VERSION = 2


class Spread(BaseModel):
    """Mean and percentiles, linear between neighbours."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class AcceptanceLength(BaseModel):
    """Tokens per verify step, bonus included."""

    pooled: float | None = None
    macro: float | None = None
    effective: float | None = None


class Speedup(BaseModel):
    """Geometric mean over prompts with its 95% bootstrap interval."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


class Goodput(BaseModel):
    """Requests that met every limit; ``limits`` in milliseconds by ttft, tpot, latency."""

    limits: dict[str, float]
    count: int
    share: float | None
    requests_per_s: float | None


class Divergence(BaseModel):
    """Where an answer leaves vanilla's; ``margin`` is vanilla's there, in nats, top less second."""

    prompt_id: str
    turn: int
    character: int
    token: int | None = None
    margin: float | None = None


class Lossless(BaseModel):
    """Answers equal to vanilla's, character by character, of those with the same input.

    For vanilla itself: its control, the same prompts once more.
    """

    identical: int
    compared: int
    divergences: list[Divergence] = []


class Bin(BaseModel):
    """Decode steps that began at a length of ``low`` to below ``high`` tokens; AL is effective."""

    low: int
    high: int
    steps: int
    acceptance_length: float | None


class CategoryResult(BaseModel):
    """One category of an arm."""

    num_requests: int
    completion_tokens: int
    acceptance_length: AcceptanceLength
    acceptance_rate: float | None
    joint_per_position: list[float]
    conditional_per_position: list[float]
    tpot_ms: Spread
    speedup: Speedup | None = None


class TimeSplit(BaseModel):
    """Means per cycle in milliseconds and shares of a cycle, from the trace of a longspec arm.

    verify: the step up to the logits (forward: the target's layers within it); draft: drafting and
    accepting, all that the method adds (accept: the walk and the KV move within it); engine: rest.
    """

    cycles: int
    verify_ms: float
    draft_ms: float
    engine_ms: float
    forward_ms: float
    accept_ms: float
    cycle_ms: float
    share: dict[str, float]


class TreeUse(BaseModel):
    """Trees of a longspec arm, means per verified tree, without the root; ``used`` = nodes used."""

    nodes: float
    depth: float | None
    accepted: float
    used: float | None


class Choices(BaseModel):
    """What was drafted by an arm that follows its load, of all steps, prefills among them.

    share: of steps by effort: ``whole``, ``cheap`` (lookups alone), ``none``; nodes: per request of
    steps that drafted; least: the median of the path probabilities under which nothing was.
    """

    steps: int
    share: dict[str, float]
    nodes: float | None
    least: float | None


class BreakEven(BaseModel):
    """What a step costs against what it yields.

    ``step_time_ratio`` is the arm's time of a decode step over vanilla's, and so the effective AL
    at which the arm is as fast as vanilla; ``predicted`` = effective AL / ratio, beside the
    measured speedup of decoding. ``source``: trace or client.
    """

    step_ms: float
    vanilla_step_ms: float
    step_time_ratio: float
    acceptance_length: float
    predicted: float
    measured: float | None
    source: str


class Sampling(BaseModel):
    """What drew the tokens beside temperature and seed.

    ``defaults``: those of the served model that do something, None where they are not known;
    ``mode`` tells whether requests turned them off (neutral) or not (server).
    """

    mode: str
    defaults: dict[str, float] | None


class ArmResult(BaseModel):
    """One arm under one condition; its ``label`` tells both."""

    name: str
    label: str
    concurrency: int = 1
    temperature: float = 0.0
    num_requests: int
    num_errors: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    throughput_tok_s: float | None
    requests_per_s: float | None
    steps: int
    drafted: int | None
    accepted: int | None
    acceptance_length: AcceptanceLength
    acceptance_rate: float | None
    acceptance_rate_path: float | None
    joint_per_position: list[float]
    conditional_per_position: list[float]
    ttft_ms: Spread
    tpot_ms: Spread
    latency_ms: Spread
    goodput: Goodput | None = None
    speedup: Speedup | None = None
    speedup_decode: Speedup | None = None
    lossless: Lossless | None = None
    categories: dict[str, CategoryResult] = {}
    by_context: list[Bin] = []
    by_generated: list[Bin] = []
    sampling: Sampling | None = None
    undrafted: int | None = None
    acceptance_length_per_source: dict[str, float] = {}
    time_split: TimeSplit | None = None
    tree_use: TreeUse | None = None
    choices: Choices | None = None
    break_even: BreakEven | None = None


class Warned(BaseModel):
    """A warning; ``name`` is stable, ``message`` is for people."""

    name: str
    arm: str
    message: str


class Results(BaseModel):
    """results.json."""

    schema_version: int = SCHEMA_VERSION
    complete: bool
    arms: list[ArmResult]
    warnings: list[Warned]
    provenance: dict[str, Any]
