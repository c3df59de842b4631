"""``prepare_data``: what it fetches, from a folder in place of the network; what it refuses."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval import datasets, prepare_data
from eval.cli.errors import UserError
from eval.datasets import files, preparing
from eval.datasets import placeholders as sources

HIDDEN = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE USING SPECDEC_BENCH"
SCRIPT = """
import argparse, json, pathlib
given = argparse.ArgumentParser()
given.add_argument("--config"); given.add_argument("--output_dir", type=pathlib.Path)
given = given.parse_args()
row = {"question_id": "1", "category": "qa", "messages": [{"role": "user", "content": "Hi"}]}
(given.output_dir / f"{given.config}.jsonl").write_text(json.dumps(row))
"""


class Folder:
    """Files at ``REPO/NAME`` and addresses; those in ``closed`` cannot be had."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.closed: set[str] = set()
        self.asked: Counter[str] = Counter()

    def put(self, place: str, *lines: Any) -> None:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _open(self, name: str) -> None:
        self.asked[name] += 1
        if name in self.closed:
            raise UserError(f"{name}: gated; accept its terms")

    def names(self, repo: str, revision: str) -> list[str]:
        self._open(repo)
        files = (self.root / repo).rglob("*")
        return [str(file.relative_to(self.root / repo)) for file in files if file.is_file()]

    def hub(self, repo: str, name: str, revision: str) -> Path:
        path = self.root / repo / name
        assert path.is_file()
        return path

    def url(self, address: str) -> Path:
        self._open(address)
        return self.root / address.partition("://")[2]


def row(name: str, source: str, src_id: str, *turns: str) -> dict[str, Any]:
    return {
        "question_id": name,
        "category": "qa",
        "sub_category": "x",
        "turns": list(turns) or [HIDDEN],
        "source": source,
        "src_id": src_id,
    }


ROLES = "https://huggingface.co/datasets/ZenMoore/RoleBench/tree/abc/rolebench-eng"
TALK = "https://raw.githubusercontent.com/mtbench101/mt-bench-101/x.jsonl"
CODE = f"{HIDDEN}\n\n{{question}}|{{starter_code}}"
ROLE = f"{HIDDEN}\n\nYou are {{role_name}}, {{role_description_and_catchphrases}}"
WORDS = f"{HIDDEN}\n\nTranslate {{question[de]}}"
ROWS = [
    row("own", "own", "1", "Why?"),
    row("news", "abisee/cnn_dailymail", "n1", f"{HIDDEN}\n\nSum up: {{article}}"),
    row("exam", "cais/hle", "h2"),
    row("code", "livecodebench/code_generation_lite", "c1", CODE),
    row("contest", "deepmind/code_contests", "d1", f"{HIDDEN}\n\nSolve {{question}}"),
    row("words", "Helsinki-NLP/opus-100", "opus_de-en_1", WORDS),
    row("talk", TALK, "CC_1", HIDDEN, HIDDEN),
    row("role", ROLES, "r_general_0_1", ROLE, HIDDEN),
]
ANSWERS = {
    "own": ["Why?"],
    "news": ["Sum up: Rain {falls}."],
    "exam": ["How?"],
    "code": ["Add|def f"],
    "contest": ["Solve it"],
    "words": ["Translate zwei"],
    "talk": ["Hi", "More"],
    "role": ["You are Ann, a baker\nAnn, who?", "why?"],
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """All sources under the names that they have on the hub; JSONL inside the parquet files."""
    monkeypatch.setattr(files, "_parquet", files._lines)
    made = Folder(tmp_path / "hub")
    made.put("nvidia/SPEED-Bench/qualitative/test-00000-of-00001.parquet", *ROWS)
    made.put(
        "abisee/cnn_dailymail/3.0.0/test-0.parquet",
        {"id": "n1", "article": "Rain {falls}.", "more": 1},
    )
    made.put(
        "cais/hle/data/test-0.parquet",
        {"id": "h1", "question": "No"},
        {"id": "h2", "question": "How?"},
    )
    made.put(
        "livecodebench/code_generation_lite/test2.jsonl",
        {"question_id": "c1", "question_content": "Add", "starter_code": "def f"},
    )
    made.put("deepmind/code_contests/data/test-0.parquet", {"name": "d1", "description": "it"})
    pairs = [{"translation": {"de": word}} for word in ("eins", "zwei")]
    made.put("Helsinki-NLP/opus-100/de-en/test-0.parquet", *pairs)
    made.put(
        "raw.githubusercontent.com/mtbench101/mt-bench-101/x.jsonl",
        {"history": []},
        {"history": [{"user": "Hi", "bot": "Oh"}, {"user": "More", "bot": "No"}]},
    )
    place = "huggingface.co/datasets/ZenMoore/RoleBench/resolve"
    made.put(
        f"{place}/abc/rolebench-eng/general/role_specific/test.jsonl",
        {"role": "Ann", "question": "Ann, who?"},
        {"role": "Ann", "question": "Ann, why?"},
    )
    made.put(sources._ROLES.partition("://")[2], {"Ann": "a baker"})
    return made


Prepare = Callable[..., str]


@pytest.fixture
def prepare(hub: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Prepare:
    """Run the command with the folder as the network; returns what it printed."""

    def run(*given: str) -> str:
        prepare_data.prepare([*given, "--output-dir", str(tmp_path / "data")], hub)
        return capsys.readouterr().out

    return run


def test_speed_bench_is_filled_from_its_sources(prepare: Prepare, tmp_path: Path) -> None:
    shown = prepare("speed-bench")
    assert "licence: NVIDIA Evaluation Dataset License" in shown
    assert "8 prompts, of which 7 lie in other data sets" in shown
    folder = tmp_path / "data" / "speed-bench"
    found = datasets.load(f"speed-bench:{folder}")
    assert {prompt.prompt_id: prompt.turns for prompt in found} == ANSWERS
    assert [prompt.prompt_id for prompt in found] == list(ANSWERS)
    assert sorted(file.name for file in folder.iterdir()) == [
        "qualitative.jsonl",
        "qualitative.source.json",
    ]
    assert "is there; delete it to fetch it again" in prepare("speed-bench")


def test_what_cannot_be_filled_is_named_and_the_rest_is_kept(
    prepare: Prepare, hub: Folder, tmp_path: Path
) -> None:
    left = [row(name, name, "1") for name in (*sources.LEFT, "an/other")]
    hub.put("nvidia/SPEED-Bench/qualitative/test-00000-of-00001.parquet", *ROWS, *left)
    hub.closed = {"cais/hle"}
    with pytest.raises(UserError) as caught:
        prepare("speed-bench")
    told = str(caught.value)
    assert "\n" not in told
    assert "8 of 15 prompts are not filled" in told
    assert "cais/hle: 1 (cais/hle: gated; accept its terms)" in told
    assert "an/other: 1 (an unknown source)" in told
    assert all(f"{name}: 1 ({sources.WORDED})" in told for name in sources.LEFT)
    assert sources.SCRIPT in told
    partial = tmp_path / "data" / "speed-bench" / "qualitative.partial.jsonl"
    found = datasets.load(f"speed-bench:{partial}")
    assert {p.prompt_id for p in found} == set(ANSWERS) - {"exam"}


def test_a_second_run_asks_only_for_what_is_missing(prepare: Prepare, hub: Folder) -> None:
    hub.closed = {"cais/hle"}
    with pytest.raises(UserError, match="1 of 8 prompts are not filled"):
        prepare("speed-bench")
    hub.asked.clear()
    hub.closed = set()
    prepare("speed-bench")
    assert set(hub.asked) == {"nvidia/SPEED-Bench", "cais/hle"}


def test_other_rows_drop_those_of_an_earlier_run(prepare: Prepare, hub: Folder) -> None:
    hub.closed = {"cais/hle"}
    with pytest.raises(UserError):
        prepare("speed-bench")
    hub.put("nvidia/SPEED-Bench/qualitative/test-00000-of-00001.parquet", *ROWS[1:])
    hub.asked.clear()
    hub.closed = set()
    prepare("speed-bench")
    assert hub.asked["abisee/cnn_dailymail"] == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (row("x", "cais/hle", "none"), "KeyError at none"),
        (row("x", "abisee/cnn_dailymail", "n1"), "the row has no template"),
        (row("x", "abisee/cnn_dailymail", "n1", f"{HIDDEN}\n\n{{title}}"), "KeyError at n1"),
        (row("x", "Helsinki-NLP/opus-100", "opus_1"), "ValueError at opus_1"),
    ],
)
def test_rows_that_their_source_does_not_fit(
    changed: dict[str, Any], why: str, prepare: Prepare, hub: Folder
) -> None:
    hub.put("nvidia/SPEED-Bench/qualitative/test-00000-of-00001.parquet", changed)
    with pytest.raises(UserError) as caught:
        prepare("speed-bench")
    assert f"{why})" in str(caught.value)


def test_drawn_at_random_upstream(prepare: Prepare, hub: Folder) -> None:
    """HLE's questions are whole prompts in one configuration, padded with others elsewhere."""
    hub.put("nvidia/SPEED-Bench/throughput_1k/test-00000-of-00001.parquet", ROWS[2])
    with pytest.raises(UserError, match=r"cais/hle: 1 .its prompts are made in the source's own"):
        prepare("speed-bench", "--config", "throughput_1k")


def test_all_tries_each_configuration(prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file throughput_1k/test-\* at .* \| .*throughput_2k"):
        prepare("speed-bench", "--config", "all")
    assert (tmp_path / "data" / "speed-bench" / "qualitative.jsonl").is_file()


def test_the_own_script_of_the_source(prepare: Prepare, tmp_path: Path) -> None:
    script = tmp_path / "prepare.py"
    with pytest.raises(UserError, match=r"no such file; download https://github.com/"):
        prepare("speed-bench", "--script", str(script))
    script.write_text(SCRIPT)
    prepare("speed-bench", "--script", str(script), "--config", "throughput_1k")
    folder = tmp_path / "data" / "speed-bench"
    assert datasets.load(f"speed-bench:{folder}", "throughput_1k")[0].turns == ["Hi"]
    script.write_text("raise SystemExit(3)")
    with pytest.raises(UserError, match="ended with 3, see above"):
        prepare("speed-bench", "--script", str(script))


@pytest.mark.parametrize(
    ("name", "address"), [("spec-bench", preparing.SPEC), ("mt-bench", preparing.MT)]
)
def test_questions(name: str, address: str, prepare: Prepare, hub: Folder, tmp_path: Path) -> None:
    place = address.partition("://")[2]
    hub.put(place, {"error": "no such page"})
    with pytest.raises(UserError, match="no key question_id"):
        prepare(name)
    hub.put(place, {"question_id": 1, "category": "qa", "turns": ["Hi"]})
    assert "question.jsonl: 1 prompts" in prepare(name)
    assert len(datasets.load(f"{name}:{tmp_path}/data/{name}")) == 1


def test_aime(prepare: Prepare, hub: Folder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no parquet file at revision main"):
        prepare("aime")
    problem = {"id": 1, "problem": "1 + 1?", "answer": "2", "solution": "2"}
    hub.put(f"{preparing.AIME}/data/train-0.parquet", problem)
    prepare("aime")
    text = (tmp_path / "data" / "aime" / "aime.jsonl").read_text()
    assert json.loads(text) == {"id": 1, "problem": "1 + 1?", "answer": "2"}


def test_longbench(prepare: Prepare, hub: Folder, tmp_path: Path) -> None:
    line = {"context": "T", "input": "Q", "answers": [], "_id": "1"}
    hub.put("zai-org/LongBench/data.zip")
    with pytest.raises(UserError, match=r"no data/qmsum.jsonl in it .BadZipFile."):
        prepare("longbench", "--config", "qmsum")
    with zipfile.ZipFile(hub.root / "zai-org/LongBench/data.zip", "w") as archive:
        archive.writestr("data/qmsum.jsonl", json.dumps(line))
    prepare("longbench", "--config", "qmsum")
    assert len(datasets.load(str(tmp_path / "data" / "longbench"), "qmsum")) == 1
    with pytest.raises(UserError, match=r"no data/lcc.jsonl in it .KeyError."):
        prepare("longbench", "--config", "lcc")
    choices = {f"choice_{letter}": letter for letter in "ABCD"}
    hub.put(
        "zai-org/LongBench-v2/data.json", {"context": "T", "question": "Q", "_id": "1"} | choices
    )
    prepare("longbench", "--config", "v2")
    assert len(datasets.load(f"longbench:{tmp_path}/data/longbench", "v2")) == 1
