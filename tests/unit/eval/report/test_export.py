"""What other tools read: every number under its name, and a dashboard of counters that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from eval.report import export, write
from eval.servers.readers import sglang, vllm

from ..report_samples import records, results
from ..speed_bench.test_end_to_end import Script, bench

DASHBOARD = Path(__file__).parents[4] / "recipes" / "eval" / "grafana.json"


def test_flat_lines_hold_numbers_alone() -> None:
    lines = [json.loads(line) for line in export.flat(results()).splitlines()]
    assert [(line["run"], line["step"]) for line in lines] == [("vanilla", 0), ("longspec", 1)]
    longspec = lines[1]
    assert longspec["acceptance_length/pooled"] == 2.58
    assert longspec["ttft_ms/p50"] == results().arms[1].ttft_ms.p50
    about = {"run", "step", "started", "arm"}
    assert all(isinstance(value, (int, float)) for k, value in longspec.items() if k not in about)


def test_openmetrics_is_read_back() -> None:
    families = list(text_string_to_metric_families(export.openmetrics(results())))
    found = {
        (sample.name, sample.labels["arm"]): sample.value
        for family in families
        for sample in family.samples
    }
    assert found["longspec_eval_acceptance_length_pooled", "longspec"] == 2.58
    assert ("longspec_eval_acceptance_length_pooled", "vanilla") not in found  # it has none
    assert (
        found["longspec_eval_completion_tokens", "vanilla"] == results().arms[0].completion_tokens
    )


def test_files_only_if_asked(tmp_path: Path) -> None:
    write(results(), records(), tmp_path, kinds=["openmetrics"])
    assert [path.name for path in tmp_path.glob("metrics.*")] == ["metrics.prom"]


def test_the_option(tmp_path: Path) -> None:
    bench(Script(), tmp_path, "--num-prompts", "2", "--export", "flat,openmetrics")
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["completion_tokens"] == 10
    assert (tmp_path / "metrics.prom").read_text().endswith("# EOF\n")


def test_the_dashboard_asks_for_counters_that_are_read() -> None:
    text = DASHBOARD.read_text()
    asked = set(re.findall(r"\b(?:vllm|sglang):\w+", text))
    spec = "vllm:spec_decode_num_"
    kinds = ("drafts", "draft_tokens", "accepted_tokens", "accepted_tokens_per_pos")
    known = {f"{spec}{kind}_total" for kind in kinds} | {
        vllm._TOKENS,
        sglang._TOKENS,
        sglang._STEPS,
    }
    assert asked == known
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 6
    for panel in panels:
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")


@pytest.mark.parametrize("kind", export.FILES)
def test_a_run_that_has_no_arm_yet(kind: str, tmp_path: Path) -> None:
    export.write(results().model_copy(update={"arms": []}), tmp_path, [kind])
    assert (tmp_path / export.FILES[kind]).read_text() in ("", "# EOF\n")
