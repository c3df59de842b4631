"""The evaluation against a known truth on a real engine.

A proposer that knows stock vLLM's answers drafts chains of which a set number of tokens is right,
so every step's acceptance is known beforehand: what the engine counts and what ``eval`` makes of
it must be that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval import speed_bench
from eval.records.requests import RequestRecord

from .conftest import WHOLE
from .oracle import DEPTH, steps_of
from .serving import Client, Plain, serve

pytestmark = pytest.mark.engine
LENGTH = 48
QUESTIONS = (
    "Name the parts of a bicycle and what each is for.",
    "Write a short letter that asks a neighbour to lend a ladder.",
    "Explain to a child why the sea is salty.",
    "List five ways to keep bread fresh.",
)


def measured(url: str, folder: Path, *more: str) -> dict[str, Any]:
    """Results of a run over our questions, two at a time."""
    data = folder.with_suffix(".jsonl")
    rows = [{"question_id": i, "turns": [text]} for i, text in enumerate(QUESTIONS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["--base-url", url, "--dataset", str(data), "--output-dir", str(folder)]
    shape = ["--output-len", str(LENGTH), "--concurrency", "2"]
    assert speed_bench.main([*line, *shape, *more]) == 0
    return json.loads((folder / "results.json").read_text())


def records(folder: Path) -> list[RequestRecord]:
    lines = (folder / "requests.jsonl").read_text().splitlines()
    return [RequestRecord.model_validate_json(line) for line in lines]


@pytest.fixture(scope="module")
def answers(plain: Plain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of stock vLLM's answers: prompt ids and answer ids."""
    client, folder = plain[0], tmp_path_factory.mktemp("truth")
    measured(str(client.http.base_url).rstrip("/"), folder / "plain")
    pairs = [[_prompt_ids(client, r), r.token_ids] for r in records(folder / "plain")]
    path = folder / "answers.json"
    path.write_text(json.dumps(pairs))
    return path


def _prompt_ids(client: Client, record: RequestRecord) -> list[int]:
    messages = [{"role": "user", "content": QUESTIONS[int(record.prompt_id)]}]
    reply = client.http.post("/tokenize", json={"model": client.model, "messages": messages})
    return list(reply.raise_for_status().json()["tokens"])


@pytest.fixture(scope="module")
def oracle(target_dir: Path, answers: Path, logs: Path) -> Iterator[str]:
    """The address of a server that drafts by the oracle."""
    config = {
        "method": "longspec",
        "proposer": "tests.engine.oracle:Oracle",
        "answers": str(answers),
        "num_speculative_tokens": DEPTH,
        **WHOLE,
    }
    flags = ("--per-request-spec-decode-metrics", "detailed")
    with serve(target_dir, logs / "oracle.log", config, *flags) as client:
        yield str(client.http.base_url).rstrip("/")


def test_acceptance_is_the_truth(oracle: str, answers: Path, tmp_path: Path) -> None:
    results = measured(oracle, tmp_path / "run")
    arm = results["arms"][0]
    lengths = [len(answer) for _, answer in json.loads(answers.read_text())]
    truth = [steps_of(length) for length in lengths]
    flat = [accepted for steps in truth for accepted in steps]
    length = 1 + sum(flat) / len(flat)
    assert arm["acceptance_length"]["pooled"] == pytest.approx(length, rel=0.01)
    macro = sum(1 + sum(steps) / len(steps) for steps in truth) / len(truth)
    assert arm["acceptance_length"]["macro"] == pytest.approx(macro, rel=0.01)
    for i, rate in enumerate(arm["joint_per_position"], 1):
        assert rate == pytest.approx(sum(a >= i for a in flat) / len(flat), abs=0.02)
    assert arm["acceptance_length_per_source"]["server"] == arm["acceptance_length"]["pooled"]
    assert [w["name"] for w in results["warnings"]] == ["truncated"]


def test_every_step_is_the_truth(oracle: str, answers: Path, tmp_path: Path) -> None:
    """Steps in order; the last ones, near the end of the answer, may draft less."""
    measured(oracle, tmp_path / "run")
    known = {tuple(answer) for _, answer in json.loads(answers.read_text())}
    for record in records(tmp_path / "run"):
        assert record.token_ids is not None
        assert tuple(record.token_ids) in known
        assert record.step_accepted is not None
        truth = steps_of(len(record.token_ids))
        assert record.step_accepted[:-2] == truth[: len(record.step_accepted) - 2]
        assert abs(len(record.step_accepted) - len(truth)) <= 1
