"""Two engines behind one address: each drafts for its requests, and `eval` sums what they count.

With ``LONGSPEC_DATA_PARALLEL=1``: beside the plain server that it is compared with, it takes 11 GB.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from eval.servers.readers.vllm import VllmReader

from .conftest import TOKENS
from .serving import Plain, serve, tokens

pytestmark = pytest.mark.engine
TWO = ("--data-parallel-size", "2")


def by_engine(exposition: str, name: str) -> dict[str, float]:
    """A counter's value by its ``engine`` label."""
    samples = (s for f in text_string_to_metric_families(exposition) for s in f.samples)
    return {s.labels["engine"]: s.value for s in samples if s.name == name}


def test_answers_and_counters(
    plain: Plain, target_dir: Path, speculative: dict[str, object], prompts: list[str], logs: Path
) -> None:
    bound = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}  # or engines on one NUMA node are refused
    with serve(target_dir, logs / "two.log", speculative, *TWO, **bound) as client:
        found = client.complete_all(prompts, len(prompts), max_tokens=TOKENS, temperature=0)
        exposition = client.http.get("/metrics").text
    assert tokens(found) == tokens(plain[1])
    summed = VllmReader().counters(exposition)
    assert summed is not None
    for name, total in (("drafts", summed.steps), ("accepted_tokens", summed.accepted)):
        each = by_engine(exposition, f"vllm:spec_decode_num_{name}_total")
        print(name, each)
        assert len(each) == 2
        assert min(each.values()) > 0
        assert sum(each.values()) == total
    assert summed.completion_tokens == sum(len(answer.tokens) for answer in found)
