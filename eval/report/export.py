"""Numbers of a run for the tools that others keep theirs in.

flat: ``metrics.jsonl``, an object an arm with numbers behind names such as ``ttft_ms/p50``, the
form in which MLflow and Weights & Biases take a step's metrics. openmetrics: ``metrics.prom``, a
gauge a number with the arm and its condition as labels, as Prometheus and its kin read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.exposition import generate_latest

from ..records.results import ArmResult, Results

LABELS = ("arm", "concurrency", "temperature")
FILES = {"flat": "metrics.jsonl", "openmetrics": "metrics.prom"}
PREFIX = "longspec_eval_"


def write(results: Results, folder: Path, kinds: list[str]) -> None:
    """Write the files of these kinds."""
    texts = {"flat": flat, "openmetrics": openmetrics}
    for kind in kinds:
        (folder / FILES[kind]).write_text(texts[kind](results), "utf-8")


def flat(results: Results) -> str:
    """A line an arm; ``step`` counts them, so that a sweep is a curve."""
    lines = []
    for step, arm in enumerate(results.arms):
        about = {"run": arm.label, "step": step, "started": results.provenance.get("started")}
        labels = {name: value for name, value in _labels(arm).items() if name != "arm"}
        lines.append(json.dumps({**about, "arm": arm.name, **labels, **dict(_numbers(arm))}))
    return "".join(line + "\n" for line in lines)


def openmetrics(results: Results) -> str:
    """All arms, up to the end mark."""
    registry, gauges = CollectorRegistry(), dict[str, Gauge]()
    for arm in results.arms:
        for name, value in _numbers(arm):
            metric = PREFIX + name.replace("/", "_")
            if metric not in gauges:
                text = f"{name} of results.json; see docs/evaluation.md"
                gauges[metric] = Gauge(metric, text, LABELS, registry=registry)
            gauges[metric].labels(**_labels(arm)).set(value)
    return generate_latest(registry).decode()


def _labels(arm: ArmResult) -> dict[str, Any]:
    return {name: arm.name if name == "arm" else getattr(arm, name) for name in LABELS}


def _numbers(arm: ArmResult) -> Iterator[tuple[str, float]]:
    """Numbers of an arm by name, those of categories and lists left out."""
    told = arm.model_dump(exclude={"categories", *LABELS})
    return _flat(told, "")


def _flat(source: Mapping[str, Any], before: str) -> Iterator[tuple[str, float]]:
    for name, value in source.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield before + name, value
