"""The command: its tables, its exit status, and mistakes in one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.gpu import __main__ as command
from recipes.gpu import table
from recipes.gpu.plan import Plan, read, write

from . import samples


@pytest.fixture
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "gpus", list)


def run_of(folder: Path, plan: Plan = samples.PLAN, **changed: Any) -> Path:
    """A folder with results of every piece that is JSON."""
    plan.save(folder, {"hardware": {"gpus": ["Some GPU, 80 GiB"]}})
    found = samples.everything() | changed
    write(folder / "bf16.json", found["bf16"])
    write(folder / "attention" / "attention.json", found["attention"])
    write(folder / "draft" / "step_llama-3-8b_draft.json", found["draft"])
    write(folder / "cycle.json", found["cycle"])
    return folder


def shown(folder: Path) -> str:
    out = io.StringIO()
    table.show(folder, Console(file=out, width=150))
    return out.getvalue()


def test_tables(tmp_path: Path) -> None:
    text = shown(run_of(tmp_path))
    assert "Some GPU, 80 GiB" in text
    assert "no room on 80 GiB: 32,768 x 32" in text
    assert "graphs FULL" in text
    (line,) = [line for line in text.splitlines() if line.startswith("│     512 │     1 │")]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[2:] == ["10.000", "12.500", "6.250", "1.450", "-", "-", "4.800", "11.6%", "1.250"]
    (line,) = [line for line in text.splitlines() if line.startswith("│  16,384 │")]
    assert line.split()[3::2] == ["1.000", "4.000", "2.000", "4.00", "1.30"]
    assert (text.count("│ met"), text.count("missed")) == (7, 0)
    assert "FAULT" not in text


def test_a_fault_and_what_failed_are_told(tmp_path: Path) -> None:
    folder = run_of(tmp_path, bf16=samples.bf16(margin=0.7))
    states = {"bf16": {"state": "done"}, "draft": {"state": "failed", "why": "(no such kernel)"}}
    write(folder / table.STATES, states)
    text = shown(folder)
    assert "FAULT, tree, alone: prompt 3 parts at token 7, where vanilla's margin is 0.700" in text
    assert "draft: failed (no such kernel)" in text
    assert text.count("missed") == 1
    assert not table.save(folder)


def test_figures_of_a_cpu_are_no_verdicts(tmp_path: Path) -> None:
    text = shown(run_of(tmp_path, Plan(device="cpu")))
    assert text.count("nothing here is a measurement") == 3
    assert "│ met" not in text


@pytest.mark.parametrize(
    ("worse", "status"), [({}, 0), ({"cycle": samples.cycle(first=2)}, 0),
                          ({"bf16": samples.bf16(margin=0.7)}, 1)]
)  # fmt: skip
def test_status_is_of_correctness_alone(
    worse: dict[str, Any], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_of(tmp_path, **worse)
    assert command.main(["--only-table", "--out", str(folder)]) == status
    assert "break-even AL" in capsys.readouterr().out
    assert len(read(folder / table.ALL)["targets"]) == 9


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no NVIDIA GPU here (nvidia-smi lists none); --device cpu tries"),
        (["--pieces", "cycle,speed"], "--pieces 'speed': unknown; allowed: kernels, identity,"),
        (["--tree", "[4, 0]"], "--tree [4, 0]: expected a JSON list of positive numbers"),
        (["--tree", "[100, 100]"], "200 nodes; at most 128 are allowed"),
        (["--repeats", "0"], "--repeats 0: expected 1 or more"),
        (["--only-table"], "holds no gpu-run.json; name the --out of a run"),
    ],
)
@pytest.mark.usefixtures("no_gpus")
def test_mistakes_in_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpu: error: ")
    assert told in line
    assert not (tmp_path / "out").exists()


def test_a_folder_is_of_one_plan(tmp_path: Path) -> None:
    command.open_folder(tmp_path / "out", Plan(), overwrite=False)
    command.open_folder(tmp_path / "out", Plan(), overwrite=False)
    other = Plan(shapes="tiny")
    with pytest.raises(ValueError, match="with shapes llama-3-8b, not tiny; give another folder"):
        command.open_folder(tmp_path / "out", other, overwrite=False)
    command.open_folder(tmp_path / "out", other, overwrite=True)
    assert Plan.load(tmp_path / "out") == other


def test_no_folder_of_others_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    command.open_folder(tmp_path, Plan(), overwrite=True)
    assert (tmp_path / "mine.txt").exists()
