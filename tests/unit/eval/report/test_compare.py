"""``python -m eval.compare``: two saved runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval import compare
from eval.numbers.metrics import paired_speedup
from eval.records.requests import RequestRecord
from eval.records.results import Results
from eval.report import differences

from ..report_samples import EVIL, record, records, results, spec, vanilla
from .test_report_html import Page


def save(folder: Path, shown: Results, told: list[RequestRecord]) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(shown.model_dump_json())
    lines = "".join(each.model_dump_json() + "\n" for each in told)
    (folder / "requests.jsonl").write_text(lines)
    return folder


def faster(told: list[RequestRecord], factor: float) -> list[RequestRecord]:
    return [r.model_copy(update={"latency_ms": (r.latency_ms or 0) / factor}) for r in told]


def renamed(told: list[RequestRecord]) -> list[RequestRecord]:
    return [r.model_copy(update={"prompt_id": f"more-{r.prompt_id}"}) for r in told]


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """B has a faster longspec, one other answer, another output length and other ports."""
    other = results(vanilla(), spec().model_copy(update={"throughput_tok_s": 62.5}), spec("ngram"))
    other.provenance["options"] = {**other.provenance["options"], "output_len": 256}
    other.provenance["server_commands"] = {"vanilla": "vllm serve M --port 4999"}
    told = faster(records(), 2)
    told[-1].text = "another"
    a = save(tmp_path / "a", results(), records())
    return [str(a), str(save(tmp_path / "b", other, told))]


def test_table(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(runs) == 0
    out = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["throughput tok/s", "31.25", "62.50", "+31.25", "2.00"] in lines
    assert ["AL pooled", "2.58", "2.58", "+0.00", "1.00"] in lines
    assert ["longspec", "4", "2.00", "3/4"] in lines
    assert ["options.output_len", "128", "256"] in lines
    assert "server_commands" not in out
    assert "note: Only in B: ngram." in out


def test_the_interval_is_that_of_a_run(tmp_path: Path) -> None:
    a, b = (records() + renamed(records()) for _ in range(2))
    for index, each in enumerate(b):
        each.latency_ms = (each.latency_ms or 0) * (1.5 if index % 2 else 0.8)
    pair = differences.pairs(
        differences.Run("a", results(), a), differences.Run("b", results(), b)
    )[1]
    one, two = ([r.latency_per_token or 0 for r in x if r.arm == "longspec"] for x in (a, b))
    assert pair.speedup.model_dump() == paired_speedup(one, two)
    assert pair.speedup.low is not None


def test_drawn_answers_are_not_compared() -> None:
    drawn = results(vanilla(temperature=1.0))
    told = [record("vanilla", "a-1").model_copy(update={"temperature": 1.0})]
    run = differences.Run("a", drawn, told)
    assert differences.pairs(run, run)[0].identical is None


@pytest.mark.parametrize("name", ["out.html", "out.md"])
def test_output(runs: list[str], tmp_path: Path, name: str) -> None:
    assert compare.main([*runs, "--output", str(tmp_path / name)]) == 0
    text = (tmp_path / name).read_text()
    shown = Page(text).text if name.endswith("html") else text
    for cell in ("+31.25", "2.00", "3/4", "options.output_len"):
        assert cell in shown


def test_hostile_names(tmp_path: Path) -> None:
    arm = spec(EVIL)
    paths = [str(save(tmp_path / n, results(vanilla(), arm), records())) for n in "ab"]
    for name in ("out.html", "out.md"):
        assert compare.main([*paths, "--output", str(tmp_path / name)]) == 0
        assert "<script" not in (tmp_path / name).read_text()


def test_other_inputs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    longer = [r.model_copy(update={"prompt_tokens": 99}) for r in records()]
    a = save(tmp_path / "a", results(), records())
    assert compare.main([str(a), str(save(tmp_path / "b", results(), longer))]) == 0
    assert "note: longspec: 4 of 4 inputs differ" in capsys.readouterr().out


def test_runs_without_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = save(tmp_path / "a", results(), records())
    (a / "requests.jsonl").unlink()
    assert compare.main([str(a), str(a)]) == 0
    assert "note: A has no requests.jsonl" in capsys.readouterr().out


def broken(folder: Path, text: str) -> str:
    (folder / "results.json").write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "{b}: holds no results.json; give the --output-dir of a run"),
        ("{", "{b}/results.json: cannot be read (Expecting property name"),
        ("[]", "{b}/results.json: has schema version None, only 2 can be compared"),
        (
            '{"schema_version": 1, "arms": []}',
            "{b}/results.json: has schema version 1, only 2 can be compared; measure again with",
        ),
        ('{"schema_version": 2}', "{b}/results.json: complete: Field required"),
    ],
)
def test_bad_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    a, b = save(tmp_path / "a", results(), []), tmp_path / "b"
    b.mkdir()
    if text is not None:
        broken(b, text)
    assert compare.main([str(a), str(b)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("compare: " + message.format(b=b))


def test_other_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = str(save(tmp_path / "a", results(vanilla()), []))
    b = str(save(tmp_path / "b", results(spec()), []))
    for line, message in (
        ([a, f"{a}-none"], f"{a}-none: no such folder; give the --output-dir of a run"),
        ([a, b], "no arm is in both runs: A has vanilla; B has longspec"),
        ([a, a, "--output", "x.pdf"], "--output x.pdf: allowed are names in .html and .md"),
        ([a, a, "--output", f"{a}/no/x.md"], f"--output {a}/no/x.md: cannot be written"),
    ):
        assert compare.main(line) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert told.startswith(f"compare: {message}")
