"""Scaled rotary embeddings, far beyond the positions of the first training; drafts follow them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from proposers import LlamaGlide, load_glide_model
from proposers.base import TargetModel
from proposers.glide.checkpoint import save_glide
from proposers.glide.config import GlideConfig, TargetConfig
from proposers.glide.proposer import GlideProposer
from proposers.offline.models import GlideModel
from proposers.offline.target import OfflineTarget
from proposers.rotary import RotaryConfig

from .tiny import VOCAB, draft_state, tiny_draft, tiny_target

FIRST = 64
"""Positions of the first training; a head is 12 wide."""
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
ORIGINAL = {"original_max_position_embeddings": FIRST}
ROPES: dict[str, tuple[int, dict[str, Any]]] = {
    "linear": (FIRST, LINEAR),
    "dynamic": (FIRST, {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}),
    "yarn": (FIRST, {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, **ORIGINAL}),
    "llama3": (
        4 * FIRST,
        {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            **ORIGINAL,
        },
    ),
    "longrope": (
        4 * FIRST,
        {
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
            "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            **ORIGINAL,
        },
    ),
}
SHAPE = [4, 4, 2]


def files(folder: Path, kind: str) -> tuple[Path, Path]:
    positions, rope = ROPES[kind]
    changes = {"rope_parameters": dict(rope), "max_position_embeddings": positions}
    config = tiny_target(folder / "target", **changes)
    tiny_draft(folder / "draft", config)
    return folder / "target", folder / "draft"


def prompts(length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(3, VOCAB, (2, length), generator=generator)


def by_transformers(target: Path, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Greedy tokens of a plain forward over the whole text, made anew for each."""
    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).eval()
    for _ in range(count):
        logits = model(ids, use_cache=False).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return ids[:, -count:]


@pytest.mark.parametrize("kind", ROPES)
@pytest.mark.parametrize("length", [20, 3 * FIRST])
def test_tree_is_chain_is_vanilla_beyond_the_first_training(
    tmp_path: Path, kind: str, length: int
) -> None:
    """In float32, at three times the positions of the first training; drafts are accepted."""
    model = load_glide_model(*files(tmp_path, kind), device="cpu", dtype=torch.float32)
    ids, new = prompts(length), 40
    assert model.target.shape.max_position_embeddings == 4 * FIRST
    free = model.vanilla_generate(ids, length, new, eos_id=VOCAB)[0]
    chain = model.spec_generate(ids, length, 3, new, eos_id=VOCAB)
    tree = model.tree_spec_generate(ids, length, SHAPE, new, eos_id=VOCAB)
    assert torch.equal(chain[0], free)
    assert torch.equal(tree[0], free)
    assert tree[1] > 0
    if kind != "dynamic" or length + new <= FIRST:  # there transformers changes what is cached
        assert torch.equal(free[:, :12], by_transformers(tmp_path / "target", ids, 12))


@pytest.mark.parametrize("kind", ROPES)
def test_the_scaled_limit_is_the_limit(tmp_path: Path, kind: str) -> None:
    model = load_glide_model(*files(tmp_path, kind), device="cpu")
    ids = prompts(4 * FIRST)
    with pytest.raises(ValueError, match="pass the target's 256 positions"):
        model.vanilla_generate(ids, 4 * FIRST - 5, 6)
    model.vanilla_generate(ids, 4 * FIRST - 5, 5, eos_id=VOCAB)


def test_a_draft_of_another_embedding_is_refused(tmp_path: Path) -> None:
    """By the name of what differs: theta, kind, or a value of the kind."""
    target, _ = files(tmp_path, "linear")
    for number, (rope, message) in enumerate(
        (
            ({**LINEAR, "rope_theta": 500.0}, "rope_theta=500.0, this one has 10000.0"),
            ({**LINEAR, "factor": 2.0}, "factor=2.0, this one has 4.0"),
            (ROPES["dynamic"][1], "rope_type=dynamic, this one has linear"),
        )
    ):
        data = {**json.loads((target / "config.json").read_text()), "rope_parameters": rope}
        draft = GlideConfig(target=TargetConfig.from_transformers(data, "other"), window=16)
        save_glide(tmp_path / f"{number}", draft, draft_state(draft))
        with pytest.raises(ValueError, match=message) as caught:
            load_glide_model(target, tmp_path / f"{number}")
        assert "\n" not in str(caught.value)


def accepted(model: GlideModel) -> tuple[int, int]:
    return model.tree_spec_generate(prompts(48), 48, SHAPE, 60, eos_id=VOCAB)[1:3]


@pytest.mark.parametrize("told", [None, {"rope_type": "linear", "factor": 32.0}, "odd"])
def test_a_published_draft_takes_the_targets_own(
    tmp_path: Path, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its config.json says of one. The same weights draft otherwise by another."""
    target, _ = files(tmp_path, "linear")
    data = json.loads((target / "config.json").read_text())
    published = GlideConfig.published(data, tmp_path)
    state = draft_state(published, seed=3)

    def drafted(name: str, config: GlideConfig, **written: Any) -> tuple[int, int]:
        save_glide(tmp_path / name, config, state)
        if written:
            (tmp_path / name / "config.json").write_text(json.dumps(written))
        return accepted(LlamaGlide(None, target, tmp_path / name, device="cpu"))

    sizes = TargetConfig.from_transformers(data, "t")
    own = {"target": sizes, "served_rope": False}
    right = drafted("ours", published.model_copy(update=own))
    del data["rope_parameters"]
    told = {"rope_scaling": told, "rope_theta": 77.0} if told else {}
    assert drafted("published", published, **data, **told) == right
    assert drafted("saved again", published) == right
    turned = sizes.model_copy(update={"rope": RotaryConfig(theta=3.0)})
    monkeypatch.setattr(GlideProposer, "check_target", lambda *_: None)
    monkeypatch.setattr(OfflineTarget, "borrowed", borrowed_without_rotary)
    wrong = drafted("wrong", published.model_copy(update={**own, "target": turned}))
    assert wrong[0] < right[0]


def borrowed_without_rotary(target: OfflineTarget) -> TargetModel:
    weights = (target.embedding, target.head_weight, target.model.base_model.norm.weight)
    return TargetModel(target.shape, *weights)
