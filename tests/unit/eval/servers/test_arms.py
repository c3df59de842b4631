"""Arms from the command line and from a recipe, and the conditions of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.cli.errors import UserError
from eval.cli.options import Options
from eval.cli.parsing import parse
from eval.cli.sweep import Condition, label
from eval.servers.arms import Arm, parse_arms


def arms(*line: str) -> list[Arm]:
    return parse_arms(parse(["--model", "t", *line]))


def recipe(folder: Path, **given: Any) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return ["--recipe", str(path)]


def test_a_name_that_yaml_reads_otherwise(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("arms:\n  vanilla:\n  off: {method: ngram}\n")
    with pytest.raises(UserError, match=r"arms: the name False is no text; put it in quotes"):
        arms("--recipe", str(tmp_path / "recipe.yaml"))


def test_vanilla_runs_first() -> None:
    assert [arm.name for arm in arms("--arms", "ngram,vanilla,suffix")] == [
        "vanilla",
        "ngram",
        "suffix",
    ]


def test_methods_of_the_engines() -> None:
    found = {arm.name: arm.config for arm in arms("--arms", "suffix,eagle3", "--eagle3", "head")}
    assert found["suffix"] == {"method": "suffix"}
    assert found["eagle3"] == {"method": "eagle3", "model": "head", "num_speculative_tokens": 3}
    line = ["--engine", "sglang", "--arms", "draft_model", "--draft-model", "small"]
    config = arms(*line)[0].config
    assert config is not None
    assert config["speculative_algorithm"] == "STANDALONE"
    assert config["speculative_draft_model_path"] == "small"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--arms", "eagle3"], "--arms eagle3: needs a model; give --eagle3 DIR"),
        (["--arms", "draft_model"], "--arms draft_model: needs a model; give --draft-model DIR"),
        (
            ["--engine", "sglang", "--arms", "suffix"],
            "--arms suffix: sglang has no such method; it has ngram, draft_model, eagle3",
        ),
        (["--arms", "a=ftp://x"], "--arms a=ftp://x: neither a JSON object nor a URL"),
    ],
)
def test_refusals(line: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        arms(*line)
    assert str(error.value).startswith(message)


def test_servers_that_run_already() -> None:
    found = arms("--arms", "a=http://h:1/v1+http://h:2,vanilla=http://h:3")
    assert [(arm.name, arm.urls) for arm in found] == [
        ("vanilla", ("http://h:3",)),
        ("a", ("http://h:1", "http://h:2")),
    ]
    assert [arm.speculates for arm in found] == [False, None]
    alone = parse_arms(parse(["--base-url", "http://h:1+http://h:2", "--arms", "mine"]))
    assert alone == [Arm("mine", urls=("http://h:1", "http://h:2"))]


def test_a_recipe_and_the_command_line_over_it(tmp_path: Path) -> None:
    line = recipe(
        tmp_path,
        model="t",
        arms={"vanilla": None, "two": {"method": "ngram"}, "far": ["http://h:1", "http://h:2"]},
        concurrency=[1, 4],
        temperature=0.5,
        **{"output-len": 32},
    )
    options = parse([*line, "--concurrency", "8"])
    assert (options.concurrency, options.temperature, options.output_len) == ([8], [0.5], 32)
    assert parse_arms(options) == [
        Arm("vanilla"),
        Arm("two", {"method": "ngram"}),
        Arm("far", urls=("http://h:1", "http://h:2")),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", "--recipe: colour is no option; allowed: engine, model, "),
        ("concurrency: [0]", "--concurrency [0]: expected whole numbers of at least 1"),
        ("arms: {a: 3}", "--arms a=3: expected a configuration, URLs or nothing"),
        ("- 1", "expected options as NAME: VALUE, a line each"),
        ("a: [", "cannot be read (while parsing"),
    ],
)
def test_a_bad_recipe(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        parse_arms(parse(["--recipe", str(path)]))
    assert str(error.value).removeprefix(f"--recipe {path}: ").startswith(message)


def test_limits() -> None:
    assert parse(["--goodput", "ttft:500,tpot:50"]).limits == {"ttft": 500.0, "tpot": 50.0}
    assert Options().limits == {}
    with pytest.raises(UserError, match=r"--goodput speed:1: expected limits above 0 as ttft:MS"):
        parse(["--goodput", "speed:1"])


def test_sweeps_and_their_labels() -> None:
    found = parse(["--concurrency", "1,4", "--temperature", "0,1"]).conditions
    assert found == [Condition(c, t) for t in (0.0, 1.0) for c in (1, 4)]
    assert label("x", found[1], found) == "x c=4 T=0"
    assert label("x", found[1], found[:2]) == "x c=4"
    assert label("x", found[0], found[:1]) == "x"


def test_the_recipe_that_ships() -> None:
    path = Path(__file__).resolve().parents[4] / "recipes" / "eval" / "sweep.yaml"
    options = parse(["--recipe", str(path), "--model", "t"])
    assert [arm.name for arm in parse_arms(options)] == ["vanilla", "longspec", "narrow", "ngram"]
    assert (options.concurrency, options.limits) == ([1, 4, 16], {"ttft": 1000.0, "tpot": 60.0})


def test_nodes_of_a_step() -> None:
    """What SGLang counts as drafted in each: all that the tree may have, the root apart."""
    ours = {"method": "longspec", "model": "none", "tree_shape": [4, 2]}
    configs = [
        {"speculative_num_draft_tokens": 12},
        ours,
        {**ours, "nodes": 5},
        {"method": "ngram"},
    ]
    assert [Arm("x", config).nodes for config in configs] == [11, 6, 5, None]
    assert Arm("x").nodes is None
