"""Every mistake: exit code 2 and one line, before any weights are loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.long_bench.model import cut_middle, up_to_eos

from .conftest import Command
from .fake import FakeModel, document, jsonl

SAMPLE = "--data-path sample for the small built-in set"
WHOLE = "expected a whole number of at least"

OPTIONS = [
    ("--gamma 0", f"--gamma: 0: {WHOLE} 1; see --help"),
    ("--max-gen-len x", f"--max-gen-len: x: {WHOLE} 1; see --help"),
    ("--max-prompt-len 1", f"--max-prompt-len: 1: {WHOLE} 2; see --help"),
    (
        "--temperature -1",
        "--temperature: -1: expected 0 (greedy) or a positive number; see --help",
    ),
    (
        "--tree-shape [4,0]",
        "--tree-shape: [4,0]: expected the nodes of each level, such as"
        ' "[4,16,16,16,16]"; see --help',
    ),
    (
        "--resume --overwrite",
        "--overwrite: not allowed with argument --resume; see --help",
    ),
    (
        "--method vanilla --temperature 0.5",
        "--temperature 0.5: vanilla is greedy; give 0, or --method seq",
    ),
    (
        "--method seq --gamma 129",
        "--gamma: gamma=129: at most 128 tokens may be drafted a step",
    ),
    (
        "--tree-shape [128,2]",
        "--tree-shape: tree_shape=[128, 2]: 130 nodes; at most 128 are allowed, shrink the levels",
    ),
    (
        "--model nobody/nothing",
        "--model: nobody/nothing is neither a folder here nor in the hub's cache, and the hub"
        " cannot be reached (offline, or no network); give a folder, or fill the cache",
    ),
    ("--test-length 4", "--test-length 4: gov_report has 3 samples; give 1 to 3"),
    (
        "--data-path {tmp}/none",
        "{tmp}/none/gov_report.jsonl: no such file; LongBench is THUDM/LongBench on the Hugging"
        f" Face hub: unpack its data.zip and give that folder as --data-path, or {SAMPLE}",
    ),
    (
        "--data-path {tmp}/x.jsonl --task all",
        "--data-path {tmp}/x.jsonl: --task all needs a folder of <task>.jsonl files",
    ),
    (
        "--model {tmp}/none",
        "--model {tmp}/none: no config.json there; give the folder of a transformers model",
    ),
    (
        "--draft {tmp}/none",
        "--draft {tmp}/none: no such path; give the folder of a draft",
    ),
    ("--device tpu9", "--device tpu9: unknown; give cpu, cuda or cuda:N"),
    (
        "--max-gen-len 4096",
        "--max-gen-len 4096: 4096 positions leave 0 for the prompt; give less",
    ),
    (
        "--max-gen-len 4000 --max-prompt-len 97",
        "--max-gen-len 4000: 4096 positions leave 96 for the prompt, --max-prompt-len is 97;"
        " give less",
    ),
    (
        "--output-dir {tmp}/target/config.json",
        "--output-dir {tmp}/target/config.json: cannot be written (File exists); give"
        " another folder",
    ),
]

LINES = [
    ("{", ":1: not JSON; expected one object a line"),
    ("[]", ":1: a JSON list; expected an object"),
    ('{"input": "", "answers": []}', ":1: no key context; it has input, answers"),
    ('{"context": 5, "input": ""}', ":1: context is a JSON int; expected a text"),
    (
        '{"context": "", "input": "", "answers": "x", "_id": "1"}',
        ":1: answers is not a list of texts",
    ),
    ('{"context": "", "input": "", "answers": []}', ":1: no key _id; it has context, input, an"),
    ("", ": holds no samples; expected one JSON object a line"),
]


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    told = [line for line in shown.err.splitlines() if not line.startswith("loading ")]
    assert len(told) == 1
    assert shown.out == ""
    assert told[0].startswith("long_bench: error: ")
    return told[0].removeprefix("long_bench: error: ")


@pytest.mark.parametrize(("line", "message"), OPTIONS, ids=[line for line, _ in OPTIONS])
def test_options(
    line: str,
    message: str,
    bench: Command,
    place: Path,
    fake: FakeModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench(*line.replace("{tmp}", str(place)).split()) == 2
    assert refused(capsys) == message.replace("{tmp}", str(place))
    assert fake.calls == []
    assert not (place / "out").exists()


@pytest.mark.parametrize(("text", "message"), LINES)
def test_data(
    text: str, message: str, bench: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "bad.jsonl"
    path.write_text(text)
    assert bench("--data-path", str(path)) == 2
    assert refused(capsys).startswith(f"{path}{message}")


def test_the_line_is_named(bench: Command, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = document(2)
    del row["input"]
    path = jsonl(place / "bad.jsonl", document(1, context="a\u2028b"), row)
    assert bench("--data-path", str(path)) == 2
    assert refused(capsys) == f"{path}:2: no key input; it has context, answers, _id"


def test_rows_of_another_task_and_ids_that_come_twice(
    bench: Command, place: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(
        place / "rows.jsonl", document(1, dataset="gov_report"), document(2, dataset="lcc")
    )
    assert bench("--data-path", str(path)) == 2
    assert refused(capsys) == (
        f"{path}:2: dataset lcc, the task is gov_report; give --task lcc, or its own file"
    )
    path = jsonl(place / "rows.jsonl", document(1), document(2), document(1))
    assert bench("--data-path", str(path)) == 2
    assert refused(capsys) == f"{path}:3: id id1 as in line 1; ids must be unique"
    path = jsonl(place / "rows.jsonl", document(1, dataset="gov_report_e"), document(2))
    assert bench("--data-path", str(path)) == 0


def test_a_target_without_a_tokenizer(
    bench: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "target" / "tokenizer.json").unlink()
    assert bench("--method", "vanilla") == 2
    assert refused(capsys).endswith("tokenizer.model, vocab.json, vocab.txt: add the target's")


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "odd"}, "rope_type='odd' is not supported; allowed: default, linear"),
        ({"rope_type": "yarn", "factor": "x"}, "rope factor='x': "),
    ],
)
def test_a_rotary_embedding_that_is_not_known(
    bench: Command, place: Path, capsys: pytest.CaptureFixture[str], rope: object, message: str
) -> None:
    config = {"model_type": "llama", "hidden_size": 48, "num_attention_heads": 4}
    config |= {"max_position_embeddings": 512, "rope_parameters": rope}
    (place / "target" / "config.json").write_text(json.dumps(config))
    assert bench("--method", "vanilla") == 2
    assert message in refused(capsys)


def test_what_the_engine_refuses(
    bench: Command, place: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.stop_at, fake.error = 0, ValueError("the tree has\n999 nodes")
    assert bench() == 2
    assert refused(capsys) == "the tree has 999 nodes"


def test_cut_middle() -> None:
    ids = list(range(10))
    assert cut_middle(ids, 10) == cut_middle(ids, 11) == ids
    assert cut_middle(ids, 4) == [0, 1, 8, 9]
    assert cut_middle(ids, 5) == [0, 1, 2, 8, 9]
    assert cut_middle(ids, 2) == [0, 9]


def test_up_to_eos() -> None:
    assert up_to_eos([5, 6, 2, 2], frozenset({2, 3})) == [5, 6, 2]
    assert up_to_eos([5, 6], frozenset({2})) == [5, 6]
