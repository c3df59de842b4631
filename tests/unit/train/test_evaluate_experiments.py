"""Ablation, scaling and shapes: their tables from known numbers, and going on after a stop."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from proposers.train.evaluate.ways import Way
from proposers.train.trainer.settings import TrainSettings
from recipes.train import ablation, scaling, shapes
from recipes.train.experiments import Lab, Outcome, Run, as_text, millions

WHERE = ("/t", "/f")


def report(al: float, top1: float = 0.4) -> dict[str, Any]:
    """A report.json of four answers whose AL is about ``al``."""
    lengths = {"answers": 4, "mean": al, "low": al - 0.1, "high": al + 0.1, "pooled": al}
    answers = {str(i): al + 0.1 * i for i in range(4)}
    tree = {"name": "served", "all": lengths, "by_answer": answers, "draft_ms": 3.25}
    accuracy = {"d": {"all": {"top-1": [top1 - 0.02 * lag for lag in range(5)]}, "loss": [2.0]}}
    return {"results": [tree, {**tree, "name": "1-1-1-1"}], "accuracy": accuracy}


def outcome(name: str, al: float, **settings: Any) -> Outcome:
    top1 = settings.pop("top1", 0.4)
    curves = [{"seconds": 600.0, "positions": 2e6, "loss": 2.5}]
    return Outcome(Run(name, settings), curves, report(al, top1))


class Faked(Lab):
    """Its commands write what real ones leave behind; the third one is stopped once."""

    calls: list[str]

    def _command(self, folder: Path, name: str, options: Any) -> None:
        self.calls.append(f"{folder.name} {name}")
        if len(self.calls) == 3:
            raise ValueError("train ended with 1: no more memory")
        (folder / "state").mkdir(exist_ok=True)
        (folder / "report").mkdir(exist_ok=True)
        (folder / "state" / "curves.csv").write_text("seconds,positions,loss\n60,1000,2.5\n")
        (folder / "report" / "report.json").write_text(json.dumps(report(2.0)))


def faked(out: Path) -> Faked:
    lab = Faked(Path(WHERE[0]), Path(WHERE[1]), out, 1, {})
    lab.calls = []
    return lab


def test_a_finished_run_is_not_run_again_and_a_failed_one_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [Run("base", {"hard": 0.2}), Run("other", {"hard": 0.0})]
    lab = faked(tmp_path)
    first = lab.perform(runs, 1, lambda *_: 0.5)
    assert [o.run.name for o in first] == ["base"]
    assert "other: train ended with 1: no more memory" in capsys.readouterr().err
    lab = faked(tmp_path)
    both = lab.perform(runs, 1, lambda *_: 0.5)
    assert lab.calls == ["other train", "other evaluate"]
    assert [o.run.name for o in both] == ["base", "other"]
    assert (both[0].positions, both[0].minutes, both[0].top1(2)) == (1000, 1, 0.38)


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    faked(tmp_path).perform([Run("base", {"hard": 0.2})], 1, lambda *_: 0.0)
    with pytest.raises(ValueError, match=r"hard=0\.2, not 0\.5; name another --out"):
        faked(tmp_path).perform([Run("base", {"hard": 0.5})], 1, lambda *_: 0.0)


def test_the_ablation_table_pairs_answers_and_ranks(tmp_path: Path) -> None:
    outcomes = [outcome("base", 2.0), outcome("worse", 1.9), outcome("better", 2.2)]
    ablation.write(tmp_path, "about", outcomes, {"better": {"layers": 2}, "worse": {"hard": 1.0}})
    with open(tmp_path / "ablation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["base", "better", "worse"]
    assert rows[1]["changes"] == "layers 2"
    # each answer is 0.2 better, so the interval has no width
    assert [rows[1][k] for k in ("to base", "to base, low", "to base, high")] == ["0.2000"] * 3
    assert (
        "| `worse` | hard 1.0 | 1.900 | -0.100 [-0.100, -0.100] |"
        in (tmp_path / "ablation.md").read_text()
    )
    assert (tmp_path / "ablation.png").stat().st_size > 5000


@pytest.mark.parametrize(("file", "count"), [("variants.yaml", 20), ("weightings.yaml", 3)])
def test_the_shipped_variants_are_settings_of_training(file: str, count: int) -> None:
    base, variants = ablation.read_variants(Path(ablation.__file__).with_name(file), [])
    assert len(variants) >= count
    for changes in variants.values():
        settings = TrainSettings.read(None, {"target": "t", **base, **changes})
        assert any(getattr(settings, key) != base[key] for key in changes)


@pytest.mark.parametrize(
    ("text", "only", "message"),
    [
        ("variants: {}", [], "expected base: and variants:"),
        ("base: {}\nvariants: {a: {}}", ["b"], "'b'"),
    ],
)
def test_a_wrong_list_of_variants_is_refused(
    tmp_path: Path, text: str, only: list[str], message: str
) -> None:
    (tmp_path / "v.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        ablation.read_variants(tmp_path / "v.yaml", only)
    assert "\n" not in str(caught.value)


def test_amounts_double_and_all_make_the_same_number_of_positions() -> None:
    runs = scaling.runs(500_000, 3_100_000, 2.0, {"hard": 0.1})
    assert [r.name for r in runs] == ["0.5M", "1M", "2M", "3.1M"]
    for run in runs:
        assert run.settings["max_tokens"] * run.settings["epochs"] == pytest.approx(6.2e6)
        assert run.settings["hard"] == 0.1


def test_a_power_law_is_found_and_drawn_out() -> None:
    x = [1e6, 2e6, 4e6, 8e6]
    law = scaling.PowerLaw.fit(x, [0.5 * n**0.1 for n in x])
    assert (law.scale, law.exponent) == (pytest.approx(0.5), pytest.approx(0.1))
    assert law.at(1e8) == pytest.approx((0.5 * 1e8**0.1,) * 3)
    noise = scaling.PowerLaw.fit(
        x, [0.5 * n**0.1 * f for n, f in zip(x, (1, 1.1, 0.9, 1), strict=True)]
    )
    mid, low, high = noise.at(1e8)
    near = noise.at(2e6)
    assert low < mid < high
    assert high / low > near[2] / near[1]  # the farther, the less certain


def test_the_scaling_report_says_what_is_extrapolated(tmp_path: Path) -> None:
    amounts = [500_000, 1_000_000, 2_000_000, 4_000_000]
    outcomes = [
        outcome(millions(n), 1 + 0.02 * n**0.27, max_tokens=n, top1=1 - 4 * n**-0.13)
        for n in amounts
    ]
    scaling.write(tmp_path, outcomes, [1e7, 1e8])
    text = (tmp_path / "scaling.md").read_text()
    assert "Extrapolated, not measured" in text
    assert f"{1 + 0.02 * 1e8**0.27:.2f} [" in text
    assert (tmp_path / "scaling.png").stat().st_size > 5000
    scaling.write(tmp_path, outcomes[:2], [1e7])
    assert "No law" in (tmp_path / "scaling.md").read_text()


def test_the_speedup_of_a_shape_by_hand() -> None:
    found = {"steps": 4, "accepted": 6, "nodes": {"3": 2, "7": 2}, "levels": 8, "level_ms": 1.5}
    told = shapes.estimate(found, [(1, 20.0), (8, 34.0)], None)
    # rows 4 and 8 take 26 and 34 ms, drafting 2 levels of 1.5 ms; AL is 2.5
    assert told["effective AL"] == 2.5
    assert told["step ms"] == pytest.approx(30)
    assert told["speedup"] == pytest.approx(2.5 * 20 / 33)
    assert shapes.estimate(found, [(1, 20.0), (8, 34.0)], 5.0)["draft ms"] == 10


def test_the_grid_drops_lookup_where_there_is_none() -> None:
    grid = {"tree_shape": [[2, 1]], "nodes": [None, 3], "lookup_shape": [None, [1, 1]]}
    first, second = shapes.ways(Path("d"), grid)
    assert isinstance(first, Way)
    assert (first.proposer, first.name) == ("glide", "tree_shape 2-1")
    assert (second.proposer, second.name) == ("glide_lookup", "tree_shape 2-1, lookup_shape 1-1")


def test_wrong_curves_are_refused() -> None:
    assert shapes.read_curve("8:38,1:24") == [(1.0, 24.0), (8.0, 38.0)]
    with pytest.raises(ValueError, match="expected ROWS:MS pairs"):
        shapes.read_curve("24")


def test_options_as_text() -> None:
    assert [as_text(v) for v in ([1, 2], True, 0.5, "x", Path("a"))] == [
        "[1, 2]",
        "true",
        "0.5",
        "x",
        "a",
    ]
    assert [millions(n) for n in (4_000, 500_000, 12_345_678)] == ["0.004", "0.5", "12.3"]
