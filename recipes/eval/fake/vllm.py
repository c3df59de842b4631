"""How vLLM 0.32 tells of speculation: with each answer, and by counters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .script import BaseScript, Reply

METRIC = "vllm:spec_decode_num_"
TOKENS = "vllm:generation_tokens_total"


@dataclass
class Script(BaseScript):
    """The behaviour of a vLLM server."""

    def count(self, reply: Reply) -> None:
        count(self, reply)

    def ends(
        self, body: dict[str, Any], reply: Reply, usage: dict[str, int] | None
    ) -> Iterator[dict[str, Any]]:
        return ends(self, reply, usage)

    def exposition(self) -> str:
        return exposition(self)


def count(script: BaseScript, reply: Reply) -> None:
    """Steps without an accepted token are another client's."""
    script.add(TOKENS, len(reply.words) + script.strangers)
    if reply.steps is None:
        return
    steps = [*reply.steps, *[0] * script.stranger_steps]
    script.add(f"{METRIC}drafts_total", len(steps))
    script.add(f"{METRIC}draft_tokens_total", len(steps) * script.nodes_per_step)
    script.add(f"{METRIC}accepted_tokens_total", sum(steps) + script.unpositioned)
    for accepted in steps:
        for i in range(accepted):
            script.add(f"{METRIC}accepted_tokens_per_pos_total/{i}", 1)


def speculation(script: BaseScript, reply: Reply) -> dict[str, Any] | None:
    """``metrics.speculative_decoding`` of ``--per-request-spec-decode-metrics detailed``."""
    if reply.steps is None:
        return None
    steps, accepted = len(reply.steps), sum(reply.steps) + script.unpositioned
    drafted, histogram = steps * script.nodes_per_step, script.as_histogram(reply.steps)
    told: dict[str, Any] = {
        "mean_acceptance_length": 1 + accepted / steps if steps else 1.0,
        "draft_acceptance_rate": accepted / drafted if drafted else 0.0,
        "acceptance_histogram": histogram,
        "num_spec_steps": steps,
        "num_accepted_draft_tokens": accepted,
        "num_draft_tokens": drafted,
        "num_spec_tokens": len(histogram) - 1 if script.depth is None else script.depth,
    }
    if steps:  # vLLM leaves empty lists out
        told["per_step_accepted"] = reply.steps
        told["per_step_drafted"] = [script.nodes_per_step] * steps
    return told


def ends(
    script: BaseScript, reply: Reply, usage: dict[str, int] | None
) -> Iterator[dict[str, Any]]:
    """The metrics ride on the chunk with the usage, and are not sent without it."""
    if usage is not None:
        told = None if script.mute else speculation(script, reply)
        yield {"usage": usage, **({"metrics": {"speculative_decoding": told}} if told else {})}


def exposition(script: BaseScript) -> str:
    """Engines that did equal parts, and created samples that must not be counted."""
    script.totals.setdefault(TOKENS, 0)
    lines = []
    for key, value in script.totals.items():
        name, _, position = key.partition("/")
        place = f',position="{position}"' if position else ""
        lines.append(f"# TYPE {name.removesuffix('_total')} counter")
        for engine, part in enumerate(parts(value, script.engines)):
            labels = f'engine="{engine}",model_name="fake"{place}'
            lines.append(f"{name}{{{labels}}} {part}.0")
            lines.append(f"{name.removesuffix('_total')}_created{{{labels}}} 1.7e9")
    return "\n".join(lines) + "\n"


def parts(value: int, count: int) -> list[int]:
    """Nearly equal whole numbers that sum to ``value``."""
    return [(value + i) // count for i in range(count)]
