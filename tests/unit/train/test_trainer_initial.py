"""What a draft starts from."""

import json
from pathlib import Path

import pytest
import torch

from proposers.glide.checkpoint import load_glide, save_glide
from proposers.glide.config import GlideConfig
from proposers.glide.layer import GlideLayer
from proposers.train.target import TargetWeights
from proposers.train.trainer.run import train
from proposers.train.trainer.trainer import Trainer

from .tiny import SIZES, write_target
from .training import settings, trainer


def layer_of(run: Trainer, name: str) -> int:
    """Which of the target's two layers a tensor came from, -1 for neither."""
    target = TargetWeights(run.settings.target)
    source = name.replace("cross_attn", "self_attn").removeprefix("more.0.")
    own = run.layer.state_dict()[name]
    return next(
        (n for n in range(2) if torch.equal(own, target[f"model.layers.{n}.{source}"].float())), -1
    )


@pytest.mark.parametrize(
    ("initial", "self_attention", "rest"),
    [("first_last", 0, 1), ("last", 1, 1), ("first", 0, 0), ("random", -1, -1)],
)
def test_weights_come_from_the_named_layers(
    tmp_path: Path, initial: str, self_attention: int, rest: int
) -> None:
    run = trainer(tmp_path, initial=initial, layers=2)
    assert layer_of(run, "self_attn.k_proj.weight") == self_attention
    assert layer_of(run, "cross_attn.q_proj.weight") == rest
    assert layer_of(run, "mlp.down_proj.weight") == rest
    assert layer_of(run, "more.0.self_attn.k_proj.weight") == rest
    assert run.layer.hidden_proj is not None
    assert not run.layer.hidden_proj.weight.any()


def test_random_weights_are_of_one_size(tmp_path: Path) -> None:
    run = trainer(tmp_path, initial="random", layers=2)
    matrices = {name: p for name, p in run.layer.named_parameters() if p.ndim > 1}
    sizes = [
        float(p.detach().std()) for name, p in matrices.items() if name != "hidden_proj.weight"
    ]
    assert len(sizes) > 12
    assert all(0.015 < size < 0.025 for size in sizes)


def test_a_draft_of_ours_trains_further_with_its_own_config(tmp_path: Path) -> None:
    first = trainer(tmp_path, layers=2, draft_vocab=20)
    train(first)
    init = {"init": tmp_path / "draft", "state": tmp_path / "s2", "out": tmp_path / "d2"}
    second = trainer(tmp_path, **init)
    assert second.config.num_layers == 2
    assert second.vocabulary is not None
    assert first.vocabulary is not None
    assert torch.equal(second.vocabulary, first.vocabulary)
    torch.testing.assert_close(
        second.layer.mlp.up_proj.weight, first.layer.mlp.up_proj.weight, rtol=0.01, atol=1e-3
    )
    train(second)
    assert load_glide(tmp_path / "d2")[0] == second.config


def test_a_published_draft_trains_further(tmp_path: Path) -> None:
    config = GlideConfig.published(SIZES, write_target(tmp_path / "target") / "config.json")
    torch.manual_seed(0)
    state = {f"draft_model.{k}": v for k, v in GlideLayer(config).state_dict().items()}
    unused = {"weight": torch.zeros(8, 16), "bias": torch.zeros(8)}
    for projection in "kv":
        prefix = f"draft_model.cross_attn.{projection}_proj"
        state |= {f"{prefix}.{kind}": tensor for kind, tensor in unused.items()}
    published = tmp_path / "published"
    published.mkdir()
    torch.save(state, published / "draft_model_weights.pth")
    (published / "config.json").write_text(json.dumps(SIZES))
    run = trainer(tmp_path, init=published)
    assert run.vocabulary is None
    assert not run.config.final_norm
    assert run.config.hidden_state_input is False
    train(run)
    after, weights = load_glide(tmp_path / "draft")
    assert after.attention_bias
    assert weights["self_attn.q_proj.bias"].any()


def test_a_draft_of_another_target_is_refused_in_one_line(tmp_path: Path) -> None:
    options = settings(tmp_path, init=tmp_path / "other")
    sizes = {**SIZES, "vocab_size": 60}
    config = GlideConfig.published(sizes, tmp_path / "other" / "config.json")
    save_glide(tmp_path / "other", config, GlideLayer(config).state_dict())
    with pytest.raises(ValueError, match="with vocab_size=60, this one has 50") as error:
        Trainer(options)
    assert "\n" not in str(error.value)
