"""Export to the published layout and back, and what it has no place for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from proposers.glide.checkpoint import UNUSED, load_glide, save_glide
from proposers.glide.config import GlideConfig
from proposers.train.__main__ import main
from proposers.train.target import TargetWeights
from tests.unit.glide.test_proposer import bound, context
from tests.unit.glide.tiny import tiny_config, tiny_draft
from tests.unit.proposers.contexts import first_trees

from .tiny import write_target

PLAIN = {
    "draft_vocab_size": None,
    "hidden_state_input": False,
    "final_norm": False,
    "window": 512,
    "longspec_config": {"proposer": "glide", "tree_shape": [3, 2]},
}


def export(draft: Path, out: Path, *options: str) -> int:
    return main(["export", "--draft", str(draft), "--out", str(out), *options])


def refused(capsys: pytest.CaptureFixture[str], draft: Path, out: Path, *options: str) -> str:
    """The one line that the command ends with."""
    capsys.readouterr()
    assert export(draft, out, *options) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("export: error: ")
    assert "\n" not in error
    return error


@pytest.mark.parametrize("layout", ["longspec", "training"])
@pytest.mark.parametrize("bias", [False, True])
def test_there_and_back_proposes_the_same(tmp_path: Path, layout: str, bias: bool) -> None:
    tiny_draft(tmp_path / "ours", **PLAIN, attention_bias=bias)
    assert export(tmp_path / "ours", tmp_path / "theirs", "--layout", layout) == 0
    back = [str(tmp_path / "theirs"), str(tmp_path / "back")]
    assert export(*map(Path, back), "--layout", "ours", "--name", "tiny") == 0
    asked, options = context([21, 9], seed=2), {"tree_shape": [4, 3, 2]}
    first = first_trees(bound(tmp_path / "ours", options), asked)
    for folder in ("theirs", "back"):
        other = first_trees(bound(tmp_path / folder, options), asked)
        assert torch.equal(first.tokens, other.tokens)
        assert torch.equal(first.parents, other.parents)
        torch.testing.assert_close(first.log_probs, other.log_probs)
    config = GlideConfig.from_pretrained(tmp_path / "back")
    assert config == tiny_config(**PLAIN, attention_bias=True)


def test_the_published_names(tmp_path: Path) -> None:
    config = tiny_draft(tmp_path / "ours", **PLAIN)
    assert export(tmp_path / "ours", tmp_path / "theirs") == 0
    assert export(tmp_path / "ours", tmp_path / "pickled", "--layout", "training") == 0
    state = load_file(tmp_path / "theirs" / "model.safetensors")
    pickled = torch.load(tmp_path / "pickled" / "draft_model_weights.pth", weights_only=True)
    assert len(state) == 20
    assert {f"draft_model.{name}" for name in state} == set(pickled)
    assert not any(state[name].any() for name in (*UNUSED, "self_attn.q_proj.bias"))
    data = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert (data["model_type"], data["hidden_size"]) == ("llama", config.target.hidden_size)
    assert data["longspec_config"] == PLAIN["longspec_config"]


def test_weights_keep_their_dtype(tmp_path: Path) -> None:
    config = tiny_draft(tmp_path / "wide", **PLAIN)
    _, state = load_glide(tmp_path / "wide", dtype=torch.bfloat16)
    save_glide(tmp_path / "ours", config, state)
    assert export(tmp_path / "ours", tmp_path / "theirs") == 0
    state = load_file(tmp_path / "theirs" / "model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}


def test_the_unused_places_hold_the_targets_own(tmp_path: Path) -> None:
    target = write_target(tmp_path / "target")
    theirs = load_file(target / "model.safetensors")
    sizes = TargetWeights(target).shape("tiny")
    tiny_draft(tmp_path / "ours", **PLAIN, target=sizes)
    assert export(tmp_path / "ours", tmp_path / "theirs", "--target", str(target)) == 0
    state = load_file(tmp_path / "theirs" / "model.safetensors")
    expected = theirs["model.layers.1.self_attn.k_proj.weight"].float()
    assert torch.equal(state["cross_attn.k_proj.weight"], expected)
    assert not state["cross_attn.k_proj.bias"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_state_input": True}, "hidden_state_input=True: .*--hidden-state-input false"),
        ({"final_norm": True}, "final_norm=True: .*--final-norm false"),
        ({"num_layers": 2}, "num_layers=2: .*--layers 1"),
        ({"window": 16}, "window=16: .*allowed: 512"),
        ({"draft_vocab_size": 40}, "draft_vocab_size=40: .*--draft-vocab 0"),
    ],
)
def test_what_has_no_place_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], message: str
) -> None:
    tiny_draft(tmp_path / "ours", **{**PLAIN, **change})
    error = refused(capsys, tmp_path / "ours", tmp_path / "theirs")
    assert re.search(message, error)
    assert not (tmp_path / "theirs").exists()


def test_a_whole_vocabulary_is_none(tmp_path: Path) -> None:
    tiny_draft(tmp_path / "ours", **{**PLAIN, "draft_vocab_size": 60})
    assert export(tmp_path / "ours", tmp_path / "theirs") == 0
    assert len(load_file(tmp_path / "theirs" / "model.safetensors")) == 20


def test_weights_without_a_config_need_the_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = write_target(tmp_path / "target")
    tiny_draft(tmp_path / "ours", **PLAIN, target=TargetWeights(target).shape("tiny"))
    bare = tmp_path / "bare"
    assert export(tmp_path / "ours", bare, "--layout", "training") == 0
    (bare / "config.json").unlink()
    assert "config.json does not exist" in refused(
        capsys, bare, tmp_path / "back", "--layout", "ours"
    )
    args = ("--layout", "ours", "--target", str(target))
    assert export(bare, tmp_path / "back", *args) == 0
    assert GlideConfig.from_pretrained(tmp_path / "back").target.name == "target"


def other_target(folder: Path) -> tuple[str, ...]:
    return ("--target", str(write_target(folder / "target")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (other_target, "give the target that the draft was trained for"),
        (lambda folder: ("--target", str(folder / "none")), "has no config.json"),
        (lambda folder: ("--layout", "eagle"), "layout='eagle'"),
        (lambda folder: ("--out", str(folder / "ours")), "is the draft itself"),
        (lambda folder: ("--out", str(folder / "used")), "holds draft_model_weights.pth already"),
    ],
)
def test_bad_options(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: Callable[[Path], tuple[str, ...]],
    message: str,
) -> None:
    tiny_draft(tmp_path / "ours", **PLAIN)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "draft_model_weights.pth").touch()
    args = options(tmp_path)
    assert message in refused(capsys, tmp_path / "ours", tmp_path / "theirs", *args)


def test_something_to_read_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--layout", "ours"]) == 2
    assert "draft is missing; give --draft" in capsys.readouterr().err
