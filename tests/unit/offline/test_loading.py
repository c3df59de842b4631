"""Drafts of every format, and every wrong input in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from proposers import LlamaGlide, MistralGlide, Qwen2Glide, load_glide_model
from proposers.glide.checkpoint import expected_shapes, save_glide
from proposers.glide.config import GlideConfig

from .conftest import ModelMaker
from .tiny import draft_state, ragged_prompts, tiny_draft, tiny_target

UNUSED = ("cross_attn.k_proj", "cross_attn.v_proj")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("loading")
    tiny_draft(folder / "draft", tiny_target(folder / "target"))
    return folder / "target", folder / "draft"


def published_tensors(config: GlideConfig) -> dict[str, torch.Tensor]:
    """The 20 tensors of a published checkpoint, the four unused ones included."""
    state = draft_state(config, seed=3)
    for name in UNUSED:
        state |= {f"{name}.weight": torch.randn(24, 48), f"{name}.bias": torch.randn(24)}
    return state


@pytest.mark.parametrize("form", ["published", "pth", "bare pth", "bare file"])
def test_formats_say_the_same(paths: tuple[Path, Path], tmp_path: Path, form: str) -> None:
    target, _ = paths
    data = json.loads((target / "config.json").read_text())
    config = GlideConfig.published(data, tmp_path)
    save_glide(tmp_path / "ours", config, draft_state(config, seed=3))
    state, draft = published_tensors(config), tmp_path / "other"
    assert len(state) == 20
    draft.mkdir()
    if form == "published":
        save_file(state, draft / "model.safetensors")
    else:
        weights = {f"draft_model.{name}": tensor for name, tensor in state.items()}
        torch.save(weights, draft / "draft_model_weights.pth")
    if not form.startswith("bare"):
        shutil.copy(target / "config.json", draft)
    path = draft / "draft_model_weights.pth" if form == "bare file" else draft
    ids, lengths = ragged_prompts(3, seed=1)
    ours, theirs = (
        LlamaGlide(None, target, p, device="cpu").tree_spec_generate(ids, lengths, [4, 4], 16)
        for p in (tmp_path / "ours", path)
    )
    assert torch.equal(ours[0], theirs[0])
    assert ours[1:3] == theirs[1:3]  # the same drafts were accepted


def test_config_may_be_given(paths: tuple[Path, Path]) -> None:
    target, draft = paths
    config = LlamaGlide(None, target, draft, device="cpu").target.model.config
    model = LlamaGlide(config, str(target), str(draft), device="cpu", dtype=torch.bfloat16)
    assert model.target.embedding.dtype == torch.bfloat16


def wrong(how: str, target: Path, draft: Path, tmp: Path) -> Any:
    """Do one thing wrong."""
    if how == "class":
        return Qwen2Glide(None, target, draft)
    if how == "no target":
        return LlamaGlide(None, tmp / "nowhere", draft)
    if how == "no draft":
        return LlamaGlide(None, target, tmp / "nowhere")
    if how == "no weights":
        shutil.copytree(target, tmp / "t")
        (tmp / "t" / "model.safetensors").unlink()
        return LlamaGlide(None, tmp / "t", draft)
    if how == "gpt2":
        (tmp / "config.json").write_text('{"model_type": "gpt2"}')
        return load_glide_model(tmp, draft)
    if how == "sliding":
        tiny_target(tmp / "t", "mistral", sliding_window=64)
        return MistralGlide(None, tmp / "t", draft)
    if how == "other target":
        tiny_draft(tmp / "d", tiny_target(tmp / "t", hidden_size=32))
        return LlamaGlide(None, target, tmp / "d")
    return _bad_tensor(how, target, tmp)


def _bad_tensor(how: str, target: Path, tmp: Path) -> Any:
    config = GlideConfig.published(json.loads((target / "config.json").read_text()), tmp)
    state = published_tensors(config)
    name = "self_attn.q_proj.bias"
    state[name] = torch.zeros(3) if how == "shape" else state[name]
    if how == "missing":
        del state[name]
    if how == "pickle":
        state["mlp.up_proj.weight"] = Path("evil")  # type: ignore[assignment]
    torch.save(state, tmp / "draft_model_weights.pth")
    return LlamaGlide(None, target, tmp / "draft_model_weights.pth", device="cpu")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("class", "Qwen2Glide takes model_type qwen2, not 'llama'; proposers.load_glide_model"),
        ("no target", "nowhere has no config.json"),
        ("no draft", "nowhere.* does not exist"),
        ("no weights", "cannot be loaded: .*model.safetensors"),
        ("gpt2", "model_type='gpt2'; allowed: llama, qwen2, qwen3, mistral, olmo2"),
        ("sliding", "slide a window .*only full attention"),
        ("other target", "trained for a target with hidden_size=32, this one has 48"),
        ("shape", r"self_attn.q_proj.bias has shape \[3\], config.json asks for \[48\]"),
        ("missing", r"tensor self_attn.q_proj.bias \[48\] is missing"),
        ("pickle", "draft_model_weights.pth cannot be read: it holds other things than tensors"),
    ],
)
def test_one_line(paths: tuple[Path, Path], tmp_path: Path, how: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        wrong(how, *paths, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt_length": 25}, "prompt_length=25 of row 0: expected 1 to 24"),
        ({"prompt_length": 0}, "prompt_length=0 of row 0"),
        ({"prompt_length": [3]}, "prompt_length has 1 entries for 2 rows"),
        ({"max_gen_len": 0}, "max_gen_len=0: expected a whole number of 1 or more"),
        ({"max_gen_len": 500}, "pass the target's 512 positions"),
        ({"temperature": -1.0}, "temperature=-1.0: expected 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"tree_shape": []}, r"tree_shape=\[\]"),
        ({"tree_shape": [128, 2]}, "130 nodes; at most 128"),
        ({"eos_id": []}, r"eos_id=\[\]: expected"),
        ({"eos_id": "</s>"}, "eos_id='</s>': expected"),
        ({"eos_id": [2, "x"]}, "'x' is not a token id"),
        ({"input_ids": torch.zeros(4, dtype=torch.long)}, r"expected a tensor \[batch, tokens\]"),
        ({"input_ids": torch.zeros(2, 24)}, "got torch.float32"),
        ({"input_ids": torch.full((2, 24), 64)}, "row 0 holds token 64; the vocabulary is 0 to 63"),
    ],
)
def test_bad_arguments(make_model: ModelMaker, arguments: dict[str, Any], message: str) -> None:
    good = {"input_ids": ragged_prompts(2, seed=1)[0], "prompt_length": 20}
    with pytest.raises(ValueError, match=message) as caught:
        make_model().tree_spec_generate(**{**good, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gamma", [0, 129, True, 2.0])
def test_bad_gamma(make_model: ModelMaker, gamma: Any) -> None:
    ids, lengths = ragged_prompts(1, seed=1)
    with pytest.raises(ValueError, match=f"{gamma}"):
        make_model().spec_generate(ids, lengths, gamma)


def test_proposers_alone_needs_no_transformers() -> None:
    code = (
        "import sys, proposers, proposers.glide.proposer; sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_all_shapes_are_the_papers(tmp_path: Path) -> None:
    """4.43 M parameters for SmolLM2-135M's sizes, the unused projections among them."""
    data = {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
    }
    config = GlideConfig.published(data, tmp_path)
    count = sum(shape.numel() for shape in expected_shapes(config).values())
    unused = 2 * (192 * 576 + 192)
    assert abs(count + unused - 4.43e6) < 0.01e6
