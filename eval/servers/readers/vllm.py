"""vLLM: Prometheus counters, and ``metrics.speculative_decoding`` of a response."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ...records.counters import Counters, SpecStats, at_least

_SPEC = "vllm:spec_decode_num_"
_TOKENS = "vllm:generation_tokens_total"

REQUEST: dict[str, Any] | None = {"return_token_ids": True}


class VllmReader:
    """Reads vLLM 0.32 and later."""

    request = REQUEST

    def counters(self, exposition: str) -> Counters | None:
        """Sum over the ``engine`` label, since every data-parallel engine has its own counters."""
        sums: dict[str, float] = defaultdict(float)
        positions: dict[int, float] = defaultdict(float)
        for family in text_string_to_metric_families(exposition):
            for sample in family.samples:
                if sample.name == f"{_SPEC}accepted_tokens_per_pos_total":
                    positions[int(sample.labels["position"])] += sample.value
                elif sample.name.startswith(_SPEC) or sample.name == _TOKENS:
                    sums[sample.name] += sample.value
        if _TOKENS not in sums:
            return None
        offered = f"{_SPEC}drafts_total" in sums
        return Counters(
            steps=int(sums[f"{_SPEC}drafts_total"]),
            drafted=int(sums[f"{_SPEC}draft_tokens_total"]),
            accepted=int(sums[f"{_SPEC}accepted_tokens_total"]),
            per_position=[int(positions[i]) for i in range(max(positions, default=-1) + 1)],
            completion_tokens=int(sums[_TOKENS]),
            offered=offered,
        )

    def of_response(self, extra: dict[str, Any]) -> SpecStats | None:
        """``acceptance_histogram[j]`` is the number of steps that accepted exactly j tokens."""
        metrics = extra.get("metrics")
        found = metrics.get("speculative_decoding") if isinstance(metrics, dict) else None
        if not isinstance(found, dict):
            return None
        return SpecStats(
            steps=found["num_spec_steps"],
            drafted=found["num_draft_tokens"],
            accepted=found["num_accepted_draft_tokens"],
            per_position=at_least(found["acceptance_histogram"]),
            step_accepted=found.get("per_step_accepted"),
        )

    def of_folder(self, folder: Path) -> dict[str, SpecStats]:
        """vLLM writes no such files."""
        return {}
