"""Every mistake: exit code 2 and one line, before a model is made or a folder appears."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.latency_bench import main
from eval.latency_bench.options import DEFAULTS, ROWS, Options, parse

WHOLE = "expected a whole number of at least 1"

FLAGS = [
    ("--n-heads 1", "--n-heads 1: expected a whole number of at least 2"),
    ("--heads-depth 0", f"--heads-depth 0: {WHOLE}"),
    ("--gammas 2,0", "--gammas 2,0: expected whole numbers of at least 1, commas between"),
    ("--poe-gamma 0", f"--poe-gamma 0: {WHOLE}"),
    ("--poe-beta 0", "--poe-beta 0: expected a number above 0"),
    ("--poe-beta -0.5", "--poe-beta -0.5: expected a number above 0"),
    ("--poe-beta nan", "--poe-beta nan: expected a number above 0"),
    ("--rep-ms inf", "--rep-ms inf: expected a number above 0"),
    ("--warmup-ms -1", "--warmup-ms -1: expected a number of at least 0"),
    ("--size 3b", "--size 3b: expected one of 1b, 7b, smollm2, tiny"),
    ("--dtype int8", "--dtype int8: expected bf16, fp16 or fp32"),
    ("--device tpu", "--device tpu: expected auto, cpu, cuda or cuda:N"),
    ("--device cuda:99", "--device cuda:99: {count} GPUs are there; give one of them, or cpu"),
    (
        "--heads-depth 16",
        "--heads-depth 16: OLMo2-1B has 16 layers and the trunk needs one; give 1 to 15",
    ),
    (
        "--prompt-length 4000",
        "--prompt-length 4000: OLMo2-1B has 4096 positions and 128 follow the prompt; give at most"
        " 3968",
    ),
    (
        "--prompt-length 4030 --gen-length 8",
        "--prompt-length 4030: OLMo2-1B has 4096 positions and 73 follow the prompt; give at most"
        " 4023",
    ),
    ("--poe-draft-head 5", "--poe-draft-head 5: 5 heads are there; give 0 to 4, or random"),
    ("--poe-draft-head x", "--poe-draft-head x: expected a head or random"),
    (
        "--target nobody/nothing",
        "--target: nobody/nothing is neither a folder here nor in the hub's cache, and the hub"
        " cannot be reached (offline, or no network); give a folder, or fill the cache",
    ),
    ("--rows glide_tree --tree-shape 100,29", "--tree-shape 100,29: 129 nodes; give at most 128"),
    ("--rows glide_chain --chain-gamma 129", "--chain-gamma 129: give at most 128"),
    ("--rows base", f"--rows base: expected some of {', '.join(ROWS)}"),
    (
        "--rows glide_tree",
        "--rows glide_tree: needs --target DIR and its --draft DIR; give both",
    ),
    ("--draft x", "--draft x: belongs to a target; give --target DIR"),
    ("--heads x", "--heads x: belongs to a target; give --target DIR"),
    (
        "--target {tmp}/none",
        "--target {tmp}/none: no readable config.json there; give the folder of a transformers"
        " model",
    ),
    (
        "--target {tmp} --size 1b",
        "--size 1b: the target has a shape; leave one of them out",
    ),
    (
        "--target {tmp} --heads {tmp}/empty",
        "--heads {tmp}/empty: no readable index.json there; give a folder that recipes.hydra.heads"
        " has made",
    ),
    (
        "--target {tmp} --heads {tmp} --n-heads 5",
        "--n-heads 5: --heads {tmp} has 2; leave it out",
    ),
    (
        "--target {tmp} --draft {tmp}/none",
        "--draft {tmp}/none: no such path; give the folder of a draft",
    ),
    ("--gamma 4", "unrecognized arguments: --gamma 4; see --help"),
    ("--config {tmp}/none", "--config {tmp}/none: cannot be read ([Errno 2] No such file or"),
    ("--config {tmp}/list", "--config {tmp}/list: expected one JSON object, option by option"),
    ("--output-dir {tmp}/config.json --size tiny --prompt-length 8", "--output-dir {tmp}/config"),
]

FILES = [
    ({"n_heads": 1}, "n_heads 1: expected a whole number of at least 2"),
    ({"poe_beta": -1}, "poe_beta -1: expected a number above 0"),
    ({"gammas": [0]}, "gammas 0: expected whole numbers of at least 1, commas between"),
    ({"gamma": 4}, f"gamma is no option; allowed: {', '.join(DEFAULTS)}"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A target's configuration, an index of two heads, an empty folder and a list."""
    shape = {"model_type": "llama", "num_hidden_layers": 4}
    config = {**shape, "max_position_embeddings": 4096, "vocab_size": 9}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "index.json").write_text('{"n_heads": 2, "heads_depth": 1}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "list").write_text("[1]")
    return tmp_path


@pytest.fixture(autouse=True)
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What should have been refused builds no model."""
    monkeypatch.setattr(
        "eval.latency_bench.rows.measure", lambda *given: pytest.fail("not refused")
    )


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert shown.out == ""
    assert line.startswith("latency_bench: error: ")
    return line.removeprefix("latency_bench: error: ")


@pytest.mark.parametrize(("line", "message"), FLAGS, ids=[line for line, _ in FLAGS])
def test_flags(line: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    out = ["--output-dir", f"{place}/out"] if "--output-dir" not in line else []
    before = sorted(place.iterdir())
    assert main([*line.replace("{tmp}", str(place)).split(), *out]) == 2
    wanted = message.replace("{tmp}", str(place))
    assert refused(capsys).startswith(wanted.replace("{count}", str(torch.cuda.device_count())))
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize(("told", "message"), FILES)
def test_files(
    told: dict[str, object], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "options.json"
    path.write_text(json.dumps(told))
    assert main(["--config", str(path)]) == 2
    assert refused(capsys) == f"--config {path}: {message}"


def test_order(place: Path) -> None:
    """The built-in file, a file over it, the command line over both."""
    path = place / "options.json"
    path.write_text('{"size": "tiny", "gammas": [3], "n_heads": 2, "prompt_length": 40}')
    options = parse(["--config", str(path), "--n-heads", "3", "--gammas", "1,5"])
    assert (options.size, options.n_heads, options.gammas) == ("tiny", 3, [1, 5])
    assert (options.prompt_length, options.gen_length) == (40, DEFAULTS["gen_length"])


def test_heads_bring_their_number(place: Path) -> None:
    options = parse(["--target", str(place), "--heads", str(place)])
    assert (options.n_heads, options.heads_depth, options.bridge) == (2, 1, False)


def test_defaults_are_those_of_the_issue() -> None:
    options = Options.model_validate(DEFAULTS)
    assert (options.n_heads, options.heads_depth, options.size) == (5, 3, "1b")
    assert (options.prompt_length, options.gen_length, options.step_interval) == (512, 128, 8)
    assert (options.warmup_ms, options.rep_ms, options.dtype) == (100, 1000, "bf16")
    assert options.gammas == [2, 4, 8]
    assert options.chosen == [row for row in ROWS if not row.startswith("glide")]
    assert list(DEFAULTS) == list(Options.model_fields)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "(default: 512)" in text
    assert "(default: 2,4,8)" in text
    assert "--config FILE" in text
