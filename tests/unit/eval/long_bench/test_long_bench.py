"""The command from its line to its files, on a fake model whose numbers are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from eval import long_bench
from eval.long_bench.tasks import TASKS
from eval.records.requests import sha256

from .conftest import Command, use_tokenizer
from .fake import FakeModel, FakeTokenizer, document, jsonl, records

ROOT = Path(__file__).resolve().parents[4]


def test_records_text_and_summary(
    bench: Command, place: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--task", "lcc", "--max-gen-len", "9") == 0
    found = records(place / "out" / "lcc_tree.jsonl")
    assert [r.index for r in found] == [0, 1, 2]
    assert [r.warmup for r in found] == [True, False, False]
    second = found[1]
    assert (second.completion_tokens, second.finish_reason) == (7, "stop")  # the EOS counts
    assert (second.seconds, second.tokens_per_second) == (2.0, 3.5)
    assert (second.accepted, second.steps, second.acceptance_length) == (4, 4, 2.0)
    assert (second.text, second.text_sha256) == ("abcdef", sha256("abcdef"))
    summary = json.loads((place / "out" / "lcc_tree.summary.json").read_text())
    assert (summary["complete"], summary["settings"]["max_prompt_len"]) == (True, 4087)
    assert summary["summary"] == {
        "samples": 2,
        "completion_tokens": 14,
        "seconds": 5.0,
        "mean_tokens_per_second": pytest.approx((7 / 2 + 7 / 3) / 2),
        "pooled_tokens_per_second": 2.8,
        "accepted": 10,
        "steps": 8,
        "acceptance_length": 2.25,
        "macro_acceptance_length": 2.25,
        "drafted": 8 * (4 + 4 * 16),
        "acceptance_rate": 10 / (8 * (4 + 4 * 16)),
        "acceptance_rate_path": 10 / (8 * 5),
        "prompts_cut": 0,
        "right": None,
        "graded": None,
    }
    assert summary["runs"][0]["command"].startswith("python -m eval.long_bench")
    text = (place / "out" / "output_lcc.txt").read_text()
    shown = capsys.readouterr()
    for line in (
        "Sample 0: 7 tokens, 1.00 s, 7.0 tok/s, accept 1.50 (warm-up, in no average)",
        "average: none yet",
        "Sample 1: 7 tokens, 2.00 s, 3.5 tok/s, accept 2.00",
        "average of 2: 2.8 tok/s, accept 2.25",
    ):
        assert f"{line}\n" in text
        assert line in shown.err
    assert "\nabcdef\n" in text
    assert "2.25" in shown.out


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("tree", {"tree_shape": [4, 2], "temperature": 0.5}),
        ("seq", {"gamma": 3, "temperature": 0.5}),
        ("vanilla", {}),
    ],
)
def test_methods(
    method: str, how: dict[str, object], bench: Command, place: Path, fake: FakeModel
) -> None:
    warm = [] if method == "vanilla" else ["--temperature", "0.5"]
    line = ["--method", method, "--tree-shape", "[4, 2]", "--gamma", "3", "--max-gen-len", "4"]
    assert bench("--test-length", "2", *line, *warm) == 0
    assert [(m, g) for m, _, g in fake.calls] == [(method, {"max_gen_len": 4, **how})] * 2
    last = records(place / "out" / f"gov_report_{method}.jsonl")[1]
    assert (last.completion_tokens, last.finish_reason) == (4, "length")
    assert last.acceptance_length == {"tree": 2.0, "seq": 2.0, "vanilla": 1.0}[method]


def test_all_tasks_of_the_sample(bench: Command, place: Path, fake: FakeModel) -> None:
    assert bench("--task", "all") == 0
    for task in TASKS:
        assert len(records(place / "out" / f"{task}_tree.jsonl")) == 3


def test_prompts(
    bench: Command, place: Path, fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat template goes around documents, if there is one, and never around code."""
    for task in ("qmsum", "repobench-p"):
        jsonl(place / "data" / f"{task}.jsonl", document(1, context="a {b} c"))
        assert bench("--task", task, "--data-path", f"{place}/data") == 0
    chat, code = (prompt for _, prompt, _ in fake.calls)
    assert chat.startswith("<user>Below is what was said")
    assert "a {b} c" in chat
    assert chat.endswith("Question: Who?\nAnswer:<answer>")
    assert code.endswith("a {b} c\nWho?")
    assert "<user>" not in code
    use_tokenizer(monkeypatch, FakeTokenizer(template=None))
    assert bench("--task", "qmsum", "--data-path", f"{place}/data", "--overwrite") == 0
    assert fake.calls[-1][1].startswith("\x01Below")


def test_long_prompts_lose_their_middle(bench: Command, place: Path, fake: FakeModel) -> None:
    path = jsonl(place / "qmsum.jsonl", document(1, context="word " * 5000))
    assert bench("--task", "qmsum", "--data-path", str(path), "--max-prompt-len", "61") == 0
    prompt = fake.calls[0][1]
    assert len(prompt) == records(place / "out" / "qmsum_tree.jsonl")[0].prompt_tokens == 61
    assert prompt.startswith("<user>Below is what was said")
    assert prompt.endswith("Question: Who?\nAnswer:<answer>")


def test_prompts_that_were_cut_are_named(
    bench: Command, place: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [document(1), document(2, context="x" * 5000), document(3)]
    path = jsonl(place / "qmsum.jsonl", *rows)
    whole = ["--task", "qmsum", "--data-path", str(path)]
    assert bench(*whole, "--max-gen-len", "9", "--max-prompt-len", "1000") == 0
    found = records(place / "out" / "qmsum_tree.jsonl")
    cut = found[1].prompt_cut
    assert (found[0].prompt_cut, found[2].prompt_cut) == (0, 0)
    assert (
        cut == len("<user><answer>") + 5000 + len(fake.calls[0][1]) - found[0].prompt_tokens or cut
    )
    assert found[1].prompt_tokens == 1000
    results = json.loads((place / "out" / "results.json").read_text())
    assert results["warnings"] == [
        {
            "name": "prompts_cut",
            "arm": "tree",
            "message": "1 prompts lost their middle to fit --max-prompt-len, up to"
            f" {cut} tokens of it, so they are not the data set's own: qmsum-{found[1].id}",
        }
    ]
    summary = json.loads((place / "out" / "qmsum_tree.summary.json").read_text())["summary"]
    assert summary["prompts_cut"] == 1
    shown = capsys.readouterr()
    assert f"prompt cut by {cut} tokens" in shown.err
    assert "warning: prompts_cut (tree): 1 prompts" in shown.err


def test_an_answer_that_is_over_at_once(bench: Command, place: Path, fake: FakeModel) -> None:
    """No step, no time: the numbers that would divide by them are null."""
    fake.text = ""
    fake.tree_spec_generate = lambda ids, length, **how: (  # type: ignore[method-assign]
        ids.new_full((1, how["max_gen_len"]), 2),
        0,
        0,
        0.0,
        None,
    )
    assert bench("--test-length", "2") == 0
    record = records(place / "out" / "gov_report_tree.jsonl")[1]
    assert (record.completion_tokens, record.tokens_per_second) == (1, None)
    assert record.acceptance_length is None
    assert record.line() == "Sample 1: 1 tokens, 0.00 s, - tok/s, accept -"


@pytest.mark.parametrize("module", ["eval.long_bench", "eval.aime"])
def test_help_is_fast_and_documents_name_its_options(module: str) -> None:
    """Without torch; what docs/offline_eval.md gives to the command is in it."""
    code = (
        f"import sys, {module} as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
        "print([n for n in ('torch', 'transformers', 'proposers', 'rich') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    text = (ROOT / "docs" / "offline_eval.md").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if f"-m {module}" in line]
    assert lines
    for word in " ".join(lines).split():
        assert not word.startswith("--") or word in done.stdout


def test_vanilla_needs_no_draft_and_stands_beside_the_others(
    place: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--model", f"{place}/target", "--device", "cpu", "--output-dir", f"{place}/out"]
    assert long_bench.main([*line, "--method", "tree"]) == 2
    told = "--draft: missing, but --method tree needs one; give it, or --method vanilla\n"
    assert capsys.readouterr().err == f"long_bench: error: {told}"
    assert long_bench.main([*line, "--method", "vanilla"]) == 0
    assert long_bench.main([*line, "--draft", f"{place}/draft"]) == 0
    results = json.loads((place / "out" / "results.json").read_text())
    assert {arm["name"] for arm in results["arms"]} == {"vanilla", "tree"}


def test_an_answer_of_one_token_has_no_speed(
    bench: Command, place: Path, fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with the prefill: nothing is decoded, so there is no tok/s."""

    def one(ids: torch.Tensor, length: int, **how: Any) -> Any:
        return torch.tensor([[97]]), 0, 0, 3e-5, torch.zeros(1, 1)

    monkeypatch.setattr(fake, "tree_spec_generate", one)
    assert bench("--max-gen-len", "1") == 0
    for record in records(place / "out" / "gov_report_tree.jsonl"):
        assert (record.completion_tokens, record.seconds) == (1, 0.0)
        assert record.tokens_per_second is record.acceptance_length is None
