"""Each guard, by a server that misbehaves that way, and none by one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval import speed_bench

from ..fake import Answer, Script, serving

SOUND: dict[str, Any] = {"steps": [1, 1], "depth": 3, "nodes_per_step": 3}  # 5 words: 1 + 2 + 2
QUESTION = "What floats?"


def warned(folder: Path, arm: Script, vanilla: Script | None = None, *more: str) -> dict[str, str]:
    """Names and messages of the warnings of a run with one prompt asked of both servers."""
    data = folder / "data.jsonl"
    data.write_text(json.dumps({"question_id": "q", "turns": [QUESTION, "Why?"]}) + "\n")
    with serving(vanilla or Script(histogram=None)) as base, serving(arm) as url:
        arms = f"vanilla={base},x={url}"
        line = ["--arms", arms, "--dataset", str(data), "--output-dir", str(folder / "run")]
        assert speed_bench.main([*line, "--output-len", "64", *more]) in (0, 1)
    results = json.loads((folder / "run" / "results.json").read_text())
    return {each["name"]: each["message"] for each in results["warnings"]}


def test_a_sound_run_has_no_warnings(tmp_path: Path) -> None:
    assert warned(tmp_path, Script(**SOUND)) == {}


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "request_errors": ({"fail": {QUESTION}}, "1 of 1 requests failed"),
    "truncated": ({"finish_reason": "length"}, "2 of 2 answers were cut"),
    "repetition_loop": (
        {"words": [" the same words again."] * 12, "steps": [1] * 5},
        "2 of 2 answers end in a loop",
    ),
    "empty_answers": ({"words": [], "steps": None, "histogram": None}, "2 answers have no tokens"),
    "no_text": ({"words": ["", ""]}, "2 of 2 answers have tokens and no text of any kind"),
    "usage_differs": ({"usage_excess": 2}, "2 answers came with another number of tokens"),
    "no_chat_template": ({"template": 0}, "q has 2 tokens, no more than its bare text"),
    "positions_do_not_add_up": ({"unpositioned": 1}, "the sum over positions is"),
    "rate_above_one": ({"nodes_per_step": 0}, "4 accepted of 0 drafted tokens"),
    "counters_differ": (
        {"strangers": 3},
        "sums over requests and the server's counters differ: completion_tokens 10 and 16",
    ),
    "counters_went_back": ({"restart_after": 3}, "the server's counters fell"),
    "no_counters": ({"no_metrics": True}, "the server's /metrics could not be read"),
    "sources_differ": ({"stranger_steps": 40}, "acceptance lengths differ by"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str, tmp_path: Path) -> None:
    fault, message = FAULTS[name]
    found = warned(tmp_path, Script(**{**SOUND, **fault}))
    assert name in found, found
    assert found[name].startswith(message)


def test_a_vanilla_that_speculates(tmp_path: Path) -> None:
    found = warned(tmp_path, Script(**SOUND), Script(**SOUND))
    assert found == {
        "vanilla_speculates": "its server verified 4 drafts, so it is no baseline",
    }


def test_an_answer_that_vanilla_was_sure_against(tmp_path: Path) -> None:
    other = Script(**SOUND, swaps={2: " cork"})
    found = warned(tmp_path, other, Script(histogram=None, margin=1.5))
    assert found == {
        "diverges_beyond_noise": "1 answers leave vanilla's where it preferred its token by more"
        " than 0.5 nats; most, 1.50, in q at character 8"
    }
    run = json.loads((tmp_path / "run" / "results.json").read_text())["arms"][1]["lossless"]
    assert (run["identical"], run["compared"]) == (0, 1)  # the second turn had another input
    assert run["divergences"] == [
        {"prompt_id": "q", "turn": 0, "character": 8, "token": 2, "margin": 1.5}
    ]


def test_a_near_tie_is_no_fault(tmp_path: Path) -> None:
    other = Script(**SOUND, swaps={2: " cork"})
    assert warned(tmp_path, other, Script(histogram=None, margin=1.5, margins={2: 0.02})) == {}


def test_an_unsteady_vanilla_is_told_by_its_control(tmp_path: Path) -> None:
    warned(tmp_path, Script(**SOUND), Script(histogram=None, unsteady=4))
    vanilla = json.loads((tmp_path / "run" / "results.json").read_text())["arms"][0]
    assert (vanilla["lossless"]["identical"], vanilla["lossless"]["compared"]) == (0, 2)


def test_a_vanilla_that_fails_in_its_control(tmp_path: Path) -> None:
    """Two requests of the warm-up, two measured ones, then none is answered any more."""
    found = warned(tmp_path, Script(**SOUND), Script(histogram=None, core_dies_after=4))
    assert list(found) == ["control_incomplete"]
    assert found["control_incomplete"].startswith("2 of 2 answers have no control")


def test_too_long_prompts_are_told_by_name(tmp_path: Path) -> None:
    data = tmp_path / "long.jsonl"
    rows = [{"id": "short", "prompt": "Hi"}, {"id": "long", "prompt": "very " * 90}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(Script(max_model_len=100)) as url:
        line = ["--base-url", url, "--dataset", str(data), "--output-dir", str(tmp_path / "run")]
        assert speed_bench.main([*line, "--output-len", "64"]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["warnings"][0]["name"] == "prompt_too_long"
    assert results["warnings"][0]["message"].endswith("were not sent: long")


def test_replicas_are_summed(tmp_path: Path) -> None:
    """Prompts go to the replicas in turn; the cross-check holds over both."""
    rows = [{"id": i, "prompt": f"Hello {i}"} for i in range(5)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scripts = [Script(**SOUND), Script(**SOUND)]
    with serving(scripts[0]) as one, serving(scripts[1]) as two:
        line = ["--base-url", f"{one}+{two}", "--dataset", str(data)]
        assert speed_bench.main([*line, "--output-dir", str(tmp_path / "run")]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["warnings"] == []
    assert results["arms"][0]["num_requests"] == 5
    told = [sum("Hello" in str(sent["messages"]) for sent in script.seen) for script in scripts]
    assert told == [3, 2]


def test_answers_of_their_own(tmp_path: Path) -> None:
    """Two prompts that accept differently: pooled, macro and effective are three numbers."""
    answers = {
        "a": Answer(words=["w"] * 10, steps=[2, 2, 2]),
        "b": Answer(words=["w"] * 5, steps=[0, 0]),
    }
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    with serving(Script(answers=answers, depth=3)) as url:
        line = ["--base-url", url, "--dataset", str(data), "--output-dir", str(tmp_path / "run")]
        assert speed_bench.main(line) == 0
    arm = json.loads((tmp_path / "run" / "results.json").read_text())["arms"][0]
    assert arm["acceptance_length"] == {
        "pooled": pytest.approx(1 + 6 / 5),
        "macro": pytest.approx((3 + 1) / 2),
        "effective": pytest.approx((9 + 4) / (3 + 4)),
    }
