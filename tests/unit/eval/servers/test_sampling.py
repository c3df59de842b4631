"""How tokens are drawn, what the server adds to it, and answers that had no drafts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.servers import sampling
from eval.servers.logs import undrafted_reasons

from ..fake import Answer, Script
from ..speed_bench.test_end_to_end import bench, warned
from ..speed_bench.test_guards import SOUND
from ..speed_bench.test_guards import warned as told

LOGGED = (
    "WARNING 11-28 [model.py:1894] Default vLLM sampling parameters have been overridden by the"
    " model's `generation_config.json`: `{'repetition_penalty': 1.05, 'top_k': 20, 'top_p': 1.0,"
    " 'temperature': 0.7}`. If this is not intended, please relaunch vLLM instance with"
    " `--generation-config vllm`.\n"
)
UNDRAFTED = (
    "(EngineCore pid=1) WARNING [undrafted.py:29] longspec: {} so far served without drafts: {}\n"
)


def test_what_a_log_says(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("INFO ready\n" + LOGGED)
    assert sampling.in_logs([log]) == {"repetition_penalty": 1.05, "top_k": 20}
    log.write_text("INFO ready\n")
    assert sampling.in_logs([log, tmp_path / "none.log"]) == {}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ('{"repetition_penalty": 1.05, "top_k": 0, "top_p": null, "eos_token_id": 2}', 1.05),
        ('{"do_sample": false}', None),
    ],
)
def test_what_a_folder_says(config: str, found: float | None, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(config)
    assert sampling.in_folder(str(tmp_path)) == (
        {} if found is None else {"repetition_penalty": found}
    )


def test_a_folder_that_does_not_tell(tmp_path: Path) -> None:
    assert sampling.in_folder(str(tmp_path)) == {}
    assert sampling.in_folder("org/name") is None
    (tmp_path / "generation_config.json").write_text("{")
    assert sampling.in_folder(str(tmp_path)) is None


@pytest.mark.parametrize("mode", ["neutral", "server"])
def test_what_requests_carry_and_the_report_says(mode: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"repetition_penalty": 1.05}')
    script = Script(root=str(tmp_path))
    results = bench(script, tmp_path / "out", "--num-prompts", "2", "--sampling", mode)
    carried = {name: script.seen[-1].get(name) for name in sampling.OFF}
    assert carried == (sampling.OFF if mode == "neutral" else dict.fromkeys(sampling.OFF))
    assert results["arms"][0]["sampling"] == {
        "mode": mode,
        "defaults": {"repetition_penalty": 1.05},
    }
    assert ("sampling_defaults" in warned(results)) is (mode == "server")
    shown = {
        "neutral": "neutral (server's, off: repetition_penalty 1.05)",
        "server": "the server's: repetition_penalty 1.05",
    }
    assert shown[mode] in (tmp_path / "out" / "report.md").read_text()


def test_defaults_that_are_not_known(tmp_path: Path) -> None:
    results = bench(Script(), tmp_path, "--num-prompts", "2", "--sampling", "server")
    assert results["arms"][0]["sampling"] == {"mode": "server", "defaults": None}
    assert "defaults not known" in (tmp_path / "report.md").read_text()


def test_reasons_are_read_from_the_log(tmp_path: Path) -> None:
    """The plugin tells the first of a reason and every thousandth; logs of rounds add up."""
    one, two = tmp_path / "a.log", tmp_path / "a.2.log"
    one.write_text(UNDRAFTED.format("1 request", "logits processors") * 2)
    two.write_text(
        UNDRAFTED.format("1 request", "prompt_logprobs")
        + UNDRAFTED.format("1000 requests", "prompt_logprobs")
        + UNDRAFTED.format("1 request", "logits processors")
    )
    assert undrafted_reasons([one, two]) == {"logits processors": 2, "prompt_logprobs": 1000}


def test_answers_without_a_draft_are_counted(tmp_path: Path) -> None:
    script = Script(**SOUND, answers={"Why?": Answer(steps=[])})
    found = told(tmp_path, script)
    assert found["undrafted"].startswith("1 of 2 answers of several tokens had no draft at all: q")


def test_a_server_that_tells_no_request_of_its_own(tmp_path: Path) -> None:
    """Its counters of speculation are there and stay at zero: no answer had a draft."""
    script = Script(steps=[])
    script.mute = True
    found = told(tmp_path, script)
    assert found["undrafted"].startswith("2 of 2 answers of several tokens had no draft at all: q")
    assert "nothing_drafted" in found


def test_a_server_without_speculation_is_not_blamed(tmp_path: Path) -> None:
    assert told(tmp_path, Script(histogram=None)) == {}


def results_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_the_number_is_in_the_results(tmp_path: Path) -> None:
    told(tmp_path, Script(**SOUND, answers={"Why?": Answer(steps=[])}))
    arms = results_of(tmp_path / "run")["arms"]
    assert [arm["undrafted"] for arm in arms] == [0, 1]
