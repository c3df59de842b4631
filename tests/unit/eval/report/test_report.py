"""results.json, results.csv, report.md, nemo.* and the tables in a terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from eval.records.results import AcceptanceLength, Results
from eval.report import markdown as md
from eval.report import matrix, nemo, number, print_table, rows, write
from eval.report.csv import frame

from ..report_samples import EMPTY, EVIL, record, records, results, spec, vanilla

SHOWN = {
    "requests": "4 (1 failed)",
    "completion tokens": "400",
    "throughput tok/s": "31.25",
    "requests/s": "0.30",
    "goodput requests/s": "0.22 (75%)",
    "speedup [95%]": "1.56 [1.31, 1.87]",
    "decode speedup [95%]": "1.66 [1.41, 1.97]",
    "TTFT ms p50 / p95": "10 / 14",
    "TPOT ms p50 / p95": "10.5 / 13.5",
    "identical to vanilla": "2/4",
    "AL pooled": "2.58",
    "AL macro": "2.71",
    "AL effective": "2.46",
    "AR (of drafted)": "0.237",
    "AR (of path)": "0.395",
    "joint per position": "0.61 0.32",
    "conditional": "0.62 0.53",
    "verify ms (share)": "37.5 (75%)",
    "draft ms (share)": "10.1 (20%)",
    "engine ms (share)": "2.4 (5%)",
    "tree nodes": "12.5",
    "tree nodes used": "12.6%",
    "step time, x vanilla's": "1.25",
    "AL effective / step time": "1.97",
}


def printed(shown: Results, *, nemo: bool = False, width: int = 200) -> str:
    out = io.StringIO()
    print_table(shown, Console(file=out, width=width), nemo=nemo)
    return out.getvalue()


def test_every_number_is_the_results_own() -> None:
    assert rows(spec()).items() >= SHOWN.items()


def test_number() -> None:
    assert [number(None), number(1.005, 1), number(2)] == ["-", "1.0", "2.00"]


def test_all_files_are_written(tmp_path: Path) -> None:
    write(results(), records(), tmp_path, nemo=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "results.json",
        "results.csv",
        "report.md",
        "report.html",
        "nemo.md",
        "nemo.csv",
    }
    read = Results.model_validate_json((tmp_path / "results.json").read_text())
    assert read == results()


def test_nemo_only_if_asked(tmp_path: Path) -> None:
    write(results(), records(), tmp_path)
    assert not list(tmp_path.glob("nemo.*"))


def test_csv_holds_every_number(tmp_path: Path) -> None:
    write(results(), [], tmp_path)
    table = pd.read_csv(tmp_path / "results.csv")
    longspec = table.set_index("label").loc["longspec"]
    assert longspec["acceptance_length.pooled"] == 2.58
    assert longspec["categories.coding.acceptance_length.pooled"] == 3.14
    assert json.loads(longspec["joint_per_position"]) == [0.61, 0.32]
    assert json.loads(longspec["lossless.divergences"])[0]["margin"] == 0.0173
    assert list(table.columns) == list(frame(results()).columns)


def test_markdown_shows_the_tables() -> None:
    text = md.markdown(results())
    for cell in SHOWN.values():
        assert re.search(rf"\| {re.escape(cell)} +\|", text), cell
    assert "- truncated (longspec): 2 of 4 answers were cut" in text
    assert "## Acceptance length by source" in text
    assert '"commit": "abc"' in text


def test_markdown_escapes_tables_and_markup() -> None:
    text = md.markdown(results(vanilla(), spec(f"a|{EVIL}")))
    assert EVIL not in text
    assert "a\\|&lt;script&gt;" in text


def test_terminal_leaves_markup_alone() -> None:
    text = printed(results(vanilla(), spec("[red]a[/red]")))
    assert "[red]a[/red]" in text
    assert "1.56 [1.31, 1.87]" in text
    assert "warning: truncated (longspec): 2 of 4 answers were cut" in text


def test_stopped_early_is_told() -> None:
    stopped = results().model_copy(update={"complete": False})
    assert md.STOPPED in printed(stopped)
    assert md.STOPPED in md.markdown(stopped)


@pytest.mark.parametrize("arms", [[], [EMPTY], [vanilla()], [spec()], [EMPTY, spec()]])
def test_little_data_is_no_error(tmp_path: Path, arms: list[object]) -> None:
    shown = Results(complete=False, arms=arms, warnings=[], provenance={})
    write(shown, [], tmp_path, nemo=True)
    printed(shown, nemo=True, width=60)
    for name in ("report.md", "nemo.md"):
        assert not re.search(r"\bnan\b", (tmp_path / name).read_text(), re.IGNORECASE)


def test_matrix() -> None:
    found = matrix.matrix(results(vanilla(), spec(), spec("ngram")))
    assert list(found.columns)[:3] == [("longspec", "AL"), ("longspec", "AR"), ("longspec", "n")]
    assert list(found.index) == ["coding", "writing", matrix.TOTAL]
    assert found.loc["coding", ("ngram", "AL")] == 3.14
    assert found.loc[matrix.TOTAL, ("longspec", "n")] == 3
    assert matrix.grouped(results())["coding"] == [("3.14", "0.250", "2")]


def test_matrix_of_another_length() -> None:
    arm = spec()
    arm.categories["coding"].acceptance_length = AcceptanceLength(pooled=3.0, macro=4.0)
    assert matrix.grouped(results(arm), "macro")["coding"][0][0] == "4.00"


def test_matrix_without_a_category_in_one_arm() -> None:
    short = spec("ngram").model_copy(update={"categories": {"coding": spec().categories["coding"]}})
    assert matrix.grouped(results(spec(), short))["writing"] == [
        ("1.59", "0.250", "2"),
        ("", "", ""),
    ]
    assert matrix.table(results(vanilla())) is None


NEMO = (
    "evaluation_mode | num_entries | avg_tokens | gen_seconds"
    " | spec_acceptance_length | spec_acceptance_rate"
)


def test_nemo_columns(tmp_path: Path) -> None:
    """A tree of depth 4: 100 * 2.58 / 5 is what SGLang's gauge would have said."""
    write(results(), [], tmp_path, nemo=True)
    text = (tmp_path / "nemo.md").read_text()
    lines = text.split("## builtin-longspec\n\n")[1].splitlines()
    assert lines[0] == f"| {NEMO} | {nemo.GAUGE} |"
    assert "| pass@1 | 3 | 133 | 20 | 2.58 | 23.70 | 51.60 |" in lines
    assert "| pass@1[coding] | 2 | 100 | - | 3.14 | 25.00 | 62.80 |" in lines
    table = pd.read_csv(tmp_path / "nemo.csv")
    assert " | ".join(table.columns) == f"benchmark | {NEMO} | {nemo.GAUGE}"
    assert len(table) == 6


def test_nemo_in_the_terminal() -> None:
    shown = printed(results(vanilla()), nemo=True).splitlines()
    title = next(i for i, line in enumerate(shown) if line.startswith("---"))
    assert shown[title].strip("-") == " builtin-vanilla "
    assert shown[title + 1] == NEMO
    line = printed(results(), nemo=True).split("builtin-longspec")[1].splitlines()[2]
    parts = [part.strip() for part in line.split("|")]
    assert parts == ["pass@1", "3", "133", "20", "2.58", "23.70", "51.60"]


@pytest.mark.parametrize(
    ("length", "path", "rate", "gauge"),
    [(2.776, 0.592, 0.592, "69.40"), (4.0, 1.0, 1.0, "100.00"), (None, None, None, "-")],
)
def test_both_rates_of_nemo(
    length: float | None, path: float | None, rate: float | None, gauge: str
) -> None:
    """Chains of 3 tokens: 59.20 of them accepted, and 2.776 / 4; at 100 they agree."""
    arm = spec().model_copy(
        update={
            "acceptance_length": AcceptanceLength(pooled=length),
            "acceptance_rate": rate,
            "acceptance_rate_path": path,
            "categories": {},
        }
    )
    found = results(arm)
    (row,) = nemo.tables(found)["builtin-longspec"]
    assert nemo.cells(row)[-1] == gauge
    assert (nemo.GAUGE in nemo.columns(found)) is (gauge == "69.40")


def test_failed_requests_have_no_latency() -> None:
    assert record("a", "x-1").model_copy(update={"error": "no"}).latency_per_token is None
