"""`python -m proposers.train evaluate` on a tiny target: its report, resuming, bad inputs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from proposers.glide.checkpoint import VOCABULARY, save_glide
from proposers.glide.config import GlideConfig, TargetConfig
from proposers.glide.layer import GlideLayer
from proposers.train import provenance
from proposers.train.evaluate import plots, walk
from proposers.train.evaluate.ablation import short_names
from proposers.train.evaluate.accuracy import load, logits
from proposers.train.evaluate.report import Report
from proposers.train.evaluate.run import main
from proposers.train.evaluate.sequences import read_answers
from proposers.train.evaluate.simulate import Simulation
from proposers.train.evaluate.ways import served, shaped
from proposers.train.target import TargetWeights
from tests.unit.proposers.contexts import first_trees

from .tiny import SIZES, write_shard, write_target

SHAPES = "[[1, 1], [2, 2, 1]]"


def write_draft(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A random draft of the tiny target."""
    torch.manual_seed(seed)
    served_with = {"proposer": "glide_lookup", "tree_shape": [2, 1], "lookup_shape": [1, 1]}
    target = TargetConfig.from_transformers(SIZES, "tiny")
    options = {"window": 8, "draft_vocab_size": 30, "longspec_config": served_with, **changes}
    config = GlideConfig(target=target, **options)
    layer = GlideLayer(config)
    if layer.hidden_proj is not None:
        torch.nn.init.normal_(layer.hidden_proj.weight, std=0.2)
    state = {name: tensor.bfloat16() for name, tensor in layer.state_dict().items()}
    save_glide(folder, config, state | {VOCABULARY: torch.arange(10, 40).int()})
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_target(tmp_path / "target")
    write_shard(tmp_path / "data" / "features", 0)
    write_draft(tmp_path / "data" / "draft")
    return tmp_path


def evaluate(data: Path, **options: object) -> int:
    given = {"target": data / "target", "data": data / "data", "all": True, "shapes": SHAPES}
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in {**given, **options}.items()]
    return main(flags)


def test_the_report_holds_what_was_measured(data: Path) -> None:
    state = data / "data" / "state"
    state.mkdir()
    (state / "curves.csv").write_text("positions,loss,top1_lag1\n10,3.5,0.1\n20,2.5,0.2\n")
    assert evaluate(data, lags=3) == 0
    folder = data / "data" / "report"
    report = json.loads((folder / "report.json").read_text())
    text = (folder / "report.md").read_text()
    served_way, chain, tree = report["results"]
    assert [r["name"] for r in report["results"]] == ["served", "1-1", "2-2-1"]
    assert (served_way["proposer"], served_way["nodes"]) == ("glide_lookup", 5)
    assert (chain["nodes_per_step"], tree["nodes"], tree["depth"]) == (2, 5, 3)
    assert set(tree["by_category"]) == {"code", "chat"}
    assert sum(part["answers"] for part in tree["by_category"].values()) == 12
    assert 1 <= chain["all"]["pooled"] <= tree["all"]["pooled"] <= 4
    assert len(tree["by_answer"]) == 12
    assert tree["by_depth"] == sorted(tree["by_depth"], reverse=True)
    assert f"{tree['all']['pooled']:.3f}" in text
    (accuracy,) = report["accuracy"].values()
    assert all(len(shares) == 3 for shares in accuracy["all"].values())
    assert 0.4 < accuracy["coverage"] < 0.8  # 30 of 50 tokens
    assert all(2 < loss < 100 for loss in accuracy["loss"])  # log 30 for an even guess
    assert report["curves"][-1] == {"positions": 20, "loss": 2.5, "top1_lag1": 0.2}
    pictures = ("lengths", "categories", "depths", "calibration", "accuracy", "curves")
    assert all((folder / f"{name}.png").stat().st_size > 5000 for name in pictures)
    assert all(f"({name}.png)" in text for name in pictures)


def test_a_second_run_walks_nothing_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def report() -> Any:
        return json.loads((data / "data" / "report" / "report.json").read_text())

    monkeypatch.setattr(Report, "draw", lambda *_: None)  # slow, and tested above
    assert evaluate(data, shapes="[[1, 1]]") == 0
    first = report()
    monkeypatch.setattr(walk, "Simulation", None)
    assert evaluate(data, shapes="[[1, 1]]") == 0
    assert report() == first


def test_other_drafts_stand_beside_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Report, "draw", lambda *_: None)
    other = write_draft(data / "other", seed=5, hidden_state_input=False)
    assert evaluate(data, against=other, shapes="[[1, 1]]", tokens=8) == 0
    report = json.loads((data / "data" / "report" / "report.json").read_text())
    assert len(report["results"]) == 4
    assert list(report["accuracy"]) == [str(data / "data" / "draft"), str(other)]
    text = (data / "data" / "report" / "report.md").read_text()
    assert "| other: 1-1 |" in text
    assert "## Ablation" in text


def test_drafts_are_compared_with_the_first_in_pairs_of_answers(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in ("acceptance_lengths", "categories", "depths", "reliability", "accuracies"):
        monkeypatch.setattr(plots, function, lambda *_: None)  # slow, and tested above
    base, layers = data / "run" / "base" / "draft", data / "run" / "two" / "draft"
    write_draft(base)
    write_draft(layers, seed=5, num_layers=2)
    provenance.write(base, {"layers": 1, "hard": 0.2, "out": "a"})
    provenance.write(layers, {"layers": 2, "hard": 0.2, "out": "b"})
    assert evaluate(data, draft=base, against=layers, shapes="[[1, 1]]", tokens=8, lags=2) == 0
    folder = data / "data" / "report"
    results = json.loads((folder / "report.json").read_text())["results"]
    mine, theirs = (r["by_answer"] for r in results if r["name"] == "served")
    difference = sum(theirs[a] - mine[a] for a in mine) / len(mine)
    with open(folder / "ablation.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["variant"], second["variant"]) == ("base", "two")
    assert (first["changes"], second["changes"]) == ("", "layers 2")
    assert float(first["to base"]) == 0
    assert float(second["to base"]) == pytest.approx(difference, abs=1e-4)
    assert float(second["to base, low"]) <= difference <= float(second["to base, high"])
    assert (
        f"| `two` | layers 2 | {float(second['AL, served']):.3f} |"
        in (folder / "report.md").read_text()
    )
    assert (folder / "ablation.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["/x/base/draft", "/x/reach/draft"], ["base", "reach"]),
        (["/x/draft", "/x/other"], ["draft", "other"]),
        (["/x", "/x/y", "/x/z"], ["1", "y", "z"]),
        (["/x/a/1", "/x/b/2", "/x/b/3"], ["a/1", "b/2", "b/3"]),
    ],
)
def test_drafts_are_called_what_tells_them_apart(folders: list[str], names: list[str]) -> None:
    assert short_names(folders) == names


def test_only_answers_that_are_held_out_at_plain_positions_count(data: Path) -> None:
    features = data / "data" / "features"
    write_shard(features, 1)
    assert len(read_answers(features, every=True, limit=0)) == 24
    kept = read_answers(features, every=False, limit=0)
    assert len(kept) == 2  # the first of each shard
    limited = read_answers(features, every=True, limit=6)
    assert sorted(a.category for a in limited) == ["chat"] * 3 + ["code"] * 3


@pytest.mark.parametrize("layers", [1, 2])
def test_accuracy_asks_the_draft_as_serving_does(data: Path, layers: int) -> None:
    folder = write_draft(data / "two", num_layers=layers)
    target = TargetWeights(data / "target").model()
    (answer, *_) = read_answers(data / "data" / "features", every=True, limit=1)
    proposer = shaped(folder, [1, 1, 1]).load(target)
    walk_ = Simulation(proposer, [answer])
    context = walk_.context(torch.tensor([0]), walk_.root)
    chain = first_trees(proposer, context).tokens[0]
    # the chain's own tokens, put where the text was: then lag d + 1 must name token d + 1
    tokens = answer.tokens.clone()
    tokens[answer.prompt_len + 1 : answer.prompt_len + 4] = chain
    forced = type(answer)(**{**vars(answer), "tokens": tokens})
    draft = load(folder, target)
    at = answer.prompt_len
    best = [logits(draft, forced, torch.tensor([at + d]), d + 1).argmax() for d in range(3)]
    assert draft.vocabulary is not None
    named = [int(draft.vocabulary[entry]) for entry in best]
    assert named == chain.tolist()


def test_the_served_way_is_the_drafts_own_with_what_is_chosen(data: Path) -> None:
    draft = data / "data" / "draft"
    way = served(draft, "", {"tree_shape": [3]})
    assert (way.proposer, way.options["tree_shape"]) == ("glide_lookup", [3])
    assert way.options["lookup_shape"] == [1, 1]
    assert served(draft, "prompt_lookup", {}).options == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"target": "/nowhere"}, "target='/nowhere' holds no config.json"),
        ({"features": "/nowhere"}, "/nowhere holds no index.json"),
        ({"draft": "/nowhere"}, "/nowhere/config.json does not exist"),
        ({"shapes": "[[0]]"}, "shapes=[[0]]: tree_shape=[0]: level size 0"),
        ({"options": "{tree_shap: [1]}"}, "tree_shap=[1] is unknown"),
        ({"proposer": "gilde"}, "proposer='gilde' is unknown"),
        ({"all": "perhaps"}, "all='perhaps'"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
    ],
)
def test_bad_inputs_are_refused_in_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str], text: str
) -> None:
    assert evaluate(data, **options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("evaluate: error: ")
    assert text in error


def test_features_of_another_target_are_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "target" / "config.json"
    path.write_text(path.read_text().replace("128", "256"))
    assert evaluate(data) == 2
    assert "was made of tiny" in capsys.readouterr().err
