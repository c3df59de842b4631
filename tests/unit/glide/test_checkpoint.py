"""Reading and writing drafts: ours, the published format, and every way to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from proposers.glide.checkpoint import expected_shapes, load_glide, save_glide
from proposers.glide.config import GlideConfig, RotaryConfig, TargetConfig
from proposers.glide.speculators import layer_config

from .tiny import tiny_config, tiny_draft, tiny_state

LLAMA = {
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 60,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000.0,
}
PUBLISHED = {
    "draft_vocab_size": None,
    "hidden_state_input": False,
    "final_norm": False,
    "attention_bias": True,
}


def test_roundtrip(tmp_path: Path) -> None:
    config = tiny_draft(tmp_path)
    read, state = load_glide(tmp_path)
    assert read == config
    written = tiny_state(config)
    assert set(state) == set(written)
    assert all(torch.equal(state[name], written[name]) for name in state)


@pytest.mark.parametrize("pickled", [False, True])
def test_published_checkpoint(tmp_path: Path, pickled: bool) -> None:
    state = tiny_state(tiny_config(**PUBLISHED))
    for kind, shape in (("weight", (16, 48)), ("bias", (16,))):
        for part in "kv":  # present in every published file, used by none
            state[f"cross_attn.{part}_proj.{kind}"] = torch.randn(shape)
    assert len(state) == 20
    if pickled:
        prefixed = {f"draft_model.{name}": tensor for name, tensor in state.items()}
        torch.save(prefixed, tmp_path / "draft_model_weights.pth")
    else:
        save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    config, read = load_glide(tmp_path)
    assert (config.attention_bias, config.final_norm, config.window) == (True, False, 512)
    assert config.target.head_dim == 8
    assert len(read) == 16


def broken(folder: Path, how: str) -> None:
    config = tiny_draft(folder)
    data = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    if how == "missing tensor":
        del weights["mlp.up_proj.weight"]
    elif how == "wrong shape":
        weights["mlp.up_proj.weight"] = torch.zeros(3, 4)
    elif how == "unknown tensor":
        weights["extra.weight"] = torch.zeros(1)
    elif how == "unknown key":
        data["windoww"] = 3
    elif how == "model type":
        data["model_type"] = "gpt2"
    elif how == "no window":
        data["window"] = 0
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(data))
    if how == "not json":
        (folder / "config.json").write_text("{")
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "no weights":
        (folder / "model.safetensors").unlink()
    elif how == "cut short":
        (folder / "model.safetensors").write_bytes(b"\x09")
    assert config


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing tensor", r"tensor mlp.up_proj.weight \[64, 48\] is missing"),
        ("wrong shape", r"mlp.up_proj.weight has shape \[3, 4\], config.json asks for \[64, 48\]"),
        ("unknown tensor", "tensor extra.weight is unknown"),
        ("unknown key", "windoww=3: .*allowed: model_type, target, window"),
        ("model type", "model_type='gpt2'; allowed: glide, or llama, qwen2"),
        ("no window", "window=0"),
        ("not json", "not valid JSON"),
        ("no config", "config.json does not exist"),
        ("no weights", "holds no weights; expected one of model.safetensors"),
        ("cut short", "cannot be read"),
    ],
)
def test_one_line_for_each_fault(tmp_path: Path, how: str, message: str) -> None:
    broken(tmp_path, how)
    with pytest.raises(ValueError, match=message) as caught:
        load_glide(tmp_path)
    assert "\n" not in str(caught.value)


def test_saving_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    config = tiny_config()
    with pytest.raises(ValueError, match="is missing"):
        save_glide(tmp_path, config, {})
    assert isinstance(config, GlideConfig)


@pytest.mark.parametrize(
    ("shape", "deepest"),
    [
        ({"tree_shape": [4, 4, 2, 1]}, 4),
        ({"tree_shape": [2, 2], "lookup_shape": [1] * 8, "nodes": 9}, 8),
        ({"tree_shape": [2, 2], "lookup_shape": [1] * 8, "nodes": 6}, 6),
    ],
)
def test_speculators_metadata(tmp_path: Path, shape: dict[str, object], deepest: int) -> None:
    """What other people's tools look for; it follows from the config and is skipped at reading."""
    config = tiny_draft(tmp_path, num_layers=2, longspec_config=shape)
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["speculators_model_type"] == data["speculators_config"]["algorithm"] == "glide"
    methods = data["speculators_config"]["proposal_methods"]
    assert methods == [{"proposal_type": "greedy", "speculative_tokens": deepest}]
    assert data["speculators_config"]["default_proposal_method"] == methods[0]["proposal_type"]
    assert data["speculators_config"]["verifier"] == {"name_or_path": "tiny", "architectures": []}
    layer = data["transformer_layer_config"]
    assert (layer["model_type"], layer["num_hidden_layers"], layer["hidden_size"]) == (
        "llama",
        2,
        48,
    )
    data["speculators_config"]["verifier"]["name_or_path"] = "elsewhere"
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert GlideConfig.from_pretrained(tmp_path) == config


@pytest.mark.parametrize(
    "rope",
    [
        RotaryConfig(theta=1000.0),
        RotaryConfig(theta=1000.0, factor=4.0),
        RotaryConfig(
            theta=5e5,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=8192,
        ),
    ],
)
def test_the_layer_config_is_a_targets_config(rope: RotaryConfig) -> None:
    config = tiny_config()
    target = config.target.model_copy(update={"rope": rope})
    layer = layer_config(config.model_copy(update={"target": target}))
    assert TargetConfig.from_transformers(layer, "tiny") == target


@pytest.mark.parametrize(
    ("change", "message"),
    [({"num_layers": 3}, "num_layers=3"), ({"temperature": 0.0}, "temperature=0.0")],
)
def test_bad_values_in_the_config(tmp_path: Path, change: dict[str, object], message: str) -> None:
    tiny_draft(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**data, **change}))
    with pytest.raises(ValueError, match=message) as caught:
        load_glide(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_layers_are_named_apart(tmp_path: Path) -> None:
    config = tiny_draft(tmp_path, num_layers=2)
    _, state = load_glide(tmp_path)
    second = {name.removeprefix("more.0.") for name in state if name.startswith("more.0.")}
    assert second == set(expected_shapes(tiny_config())) - {"hidden_proj.weight", "draft_vocab"}
    assert config.num_layers == 2
