"""The Hydra: logits, caches, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from proposers.hydra import HydraConfig, HydraTransformer

from .tiny import tiny_hydra, tiny_target

KINDS = pytest.mark.parametrize("kind", ["llama", "olmo2"])


def tokens(length: int, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randint(12, (batch, length), generator=torch.Generator().manual_seed(seed))


@KINDS
def test_heads_of_the_target_give_the_targets_logits(kind: str) -> None:
    model, ids = tiny_target(kind), tokens(7)
    hydra = HydraTransformer.from_target(model, HydraConfig(4, 2), "target")
    expected = model(ids).logits
    torch.testing.assert_close(hydra(ids), expected)
    for logits in hydra.residual_forward(ids):
        torch.testing.assert_close(logits, expected)


@KINDS
def test_logits_are_averaged(kind: str) -> None:
    hydra, ids = tiny_hydra(3, kind=kind), tokens(6)
    each = hydra.residual_forward(ids)
    assert (each[0] - each[1]).abs().max() > 0.1
    torch.testing.assert_close(hydra(ids), each.mean(0))
    torch.testing.assert_close(hydra(ids, last_token_only=True), each.mean(0)[:, -1:])
    torch.testing.assert_close(hydra.residual_forward(ids, [2, 0], True), each[[2, 0], :, -1:])
    torch.testing.assert_close(hydra.head_forward(1, hydra.trunk_forward(ids)), each[1])


@KINDS
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_caches_change_nothing(kind: str, attention: str) -> None:
    hydra, ids = tiny_hydra(3, kind=kind, attn_implementation=attention), tokens(9)
    whole = hydra.residual_forward(ids)
    hydra.init_kv_cache(2, 9)
    parts = [hydra.residual_forward(part) for part in ids.split([4, 1, 3, 1], dim=1)]
    # Eager attention takes its softmax in float32, whose sums differ by processor and shape.
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=1e-4, atol=1e-5)
    hydra.reset_kv_cache()
    torch.testing.assert_close(hydra(ids), whole.mean(0))


def test_roll_back_leaves_the_caches_of_a_fresh_run() -> None:
    hydra, ids = tiny_hydra(), tokens(8)
    hydra.init_kv_cache(2, 12)
    hydra(torch.cat([ids[:, :5], tokens(4, seed=1)], 1))
    hydra.roll_back(5)
    hydra(ids[:, 5:])
    kept = [cache.storage[..., :8, :].clone() for cache in hydra.caches]
    hydra.init_kv_cache(2, 12)
    hydra(ids)
    for cache, one in zip(hydra.caches, kept, strict=True):
        torch.testing.assert_close(cache.storage[..., :8, :], one)


def test_parts_roll_back_on_their_own() -> None:
    hydra = tiny_hydra()
    hydra.init_kv_cache(2, 8)
    hydra(tokens(6))
    hydra.roll_back(4, trunk=False, heads=[1])
    hydra.roll_back(7)
    assert (hydra.trunk_length, hydra.head_lengths) == (6, [6, 4, 6])
    with pytest.raises(ValueError, match=r"head 1 holds 4 tokens and the trunk 6"):
        hydra(tokens(1))
    assert hydra.residual_forward(tokens(1), [0, 2]).shape == (2, 2, 1, 12)


def test_random_heads_are_the_models_own_init() -> None:
    torch.manual_seed(0)
    model = tiny_target(initializer_range=0.1, hidden_size=64)
    hydra = HydraTransformer.from_target(model, HydraConfig(2, 2), "random")
    for head in hydra.heads:
        for name, parameter in head.named_parameters():
            assert parameter.dtype == torch.float64
            if "norm" in name:
                assert torch.equal(parameter, torch.ones_like(parameter))
            else:
                assert 0.08 < float(parameter.std()) < 0.12
    first, second = (head[0].mlp.up_proj.weight for head in hydra.heads)
    assert not torch.equal(first, second)


def test_trunk_and_lm_head_are_shared_and_heads_are_not() -> None:
    model = tiny_target()
    hydra = HydraTransformer.from_target(model, HydraConfig(2, 1))
    assert hydra.trunk[0] is model.model.layers[0]
    assert hydra.lm_head is model.lm_head
    own = {id(p) for head in hydra.heads for p in head.parameters()}
    assert len(own) == 2 * len(list(model.model.layers[-1].parameters()))
    assert not own & {id(p) for p in model.parameters()}


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"n_heads": 1}, r"n_heads=1: expected a whole number of 2 or more"),
        ({"n_heads": 2.5}, r"n_heads=2.5: expected"),
        ({"heads_depth": 0}, r"heads_depth=0: expected a whole number of 1 or more"),
        ({"heads_depth": 3}, r"heads_depth=3: the target has 3 layers .* expected 1 to 2"),
    ],
)
def test_bad_shapes_are_refused_in_one_line(config: dict[str, int], line: str) -> None:
    with pytest.raises(ValueError, match=line) as error:
        HydraTransformer.from_target(tiny_target(), HydraConfig(**config))
    assert "\n" not in str(error.value)


def test_other_mistakes_are_refused_in_one_line() -> None:
    hydra = tiny_hydra()
    with pytest.raises(ValueError, match=r"call init_kv_cache first"):
        hydra.roll_back(0)
    with pytest.raises(ValueError, match=r"a KV cache of 97 tokens: expected 1 to 96"):
        hydra.init_kv_cache(1, 97)
    hydra.init_kv_cache(1, 4)
    with pytest.raises(ValueError, match=r"5 tokens behind 0 pass the KV cache's 4"):
        hydra(tokens(5, 1))
    with pytest.raises(ValueError, match=r"a batch of 2 rows"):
        hydra(tokens(2))
    with pytest.raises(ValueError, match=r"heads='mean': expected target, random or one file"):
        tiny_hydra(heads="mean")
    with pytest.raises(ValueError, match=r"llama or olmo2, not 'qwen2'"):
        tiny_hydra(kind="qwen2")
