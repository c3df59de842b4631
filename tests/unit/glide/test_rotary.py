"""Our rotary tables are those of transformers, for every kind of scaling that we take."""

from typing import Any

import pytest
import torch

from proposers.glide.config import TargetConfig
from proposers.rotary import NEEDED, Rotary, RotaryConfig, rotary_tables

transformers = pytest.importorskip("transformers")
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding  # noqa: E402

SIZES = {
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "max_position_embeddings": 131_072,
}
DIM = 64
FIRST = {"original_max_position_embeddings": 8192}
PLAIN = {"rope_theta": 10_000.0}
LLAMA_3_1 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    **FIRST,
}
YARN = {"rope_type": "yarn", **PLAIN, "factor": 16.0, **FIRST}
LONG = {
    "rope_type": "longrope",
    **PLAIN,
    "short_factor": [1.0 + i / 64 for i in range(DIM // 2)],
    "long_factor": [1.0 + i for i in range(DIM // 2)],
    **FIRST,
}
ROPES: list[dict[str, Any]] = [
    {"rope_type": "default", **PLAIN},
    {"rope_type": "linear", **PLAIN, "factor": 8.0},
    LLAMA_3_1,
    YARN,
    {**YARN, "beta_fast": 20.0, "beta_slow": 2.0, "truncate": False},
    {**YARN, "attention_factor": 1.5},
    {**YARN, "mscale": 1.0, "mscale_all_dim": 0.7},
    {"rope_type": "dynamic", **PLAIN, "factor": 4.0},
    LONG,
    {**LONG, "factor": 4.0},
    {**LONG, "attention_factor": 1.25},
]
POSITIONS = torch.tensor([[0, 1, 7, 511, 8191, 9000, 120_000]])


def test_every_kind_is_tried() -> None:
    assert {rope["rope_type"] for rope in ROPES} == set(NEEDED)


@pytest.mark.parametrize("rope", ROPES)
def test_tables_are_those_of_transformers(rope: dict[str, Any]) -> None:
    config = transformers.LlamaConfig(**SIZES, rope_parameters=dict(rope))
    expected = LlamaRotaryEmbedding(config)(torch.zeros(1), POSITIONS)
    target = TargetConfig.from_transformers(config.to_dict(), "x")
    assert target.rope.type == rope["rope_type"]
    found = rotary_tables(target.rope, POSITIONS, DIM, torch.float32)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-2)  # angles reach 120,000 radians
        torch.testing.assert_close(ours[:, :4], theirs[:, :4], rtol=0, atol=1e-4)
    plain = RotaryConfig(theta=target.rope.theta)
    differs = (rotary_tables(plain, POSITIONS, DIM, torch.float32)[0] - expected[0]).abs().max()
    assert float(differs) > 0.3 or rope["rope_type"] in ("default", "dynamic")


@pytest.mark.parametrize("length", [100, 8192, 8193, 30_000])
@pytest.mark.parametrize("rope", [{"rope_type": "dynamic", **PLAIN, "factor": 4.0}, LONG])
def test_frequencies_follow_the_length(rope: dict[str, Any], length: int) -> None:
    """Where they hang on the context: as transformers has them for a prompt of that length."""
    sizes = {**SIZES, "max_position_embeddings": 8192 if rope["rope_type"] == "dynamic" else 65_536}
    config = transformers.LlamaConfig(**sizes, rope_parameters=dict(rope))
    positions = torch.arange(length)[None]
    expected = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)[0]
    read = TargetConfig.from_transformers(config.to_dict(), "x").rope
    rotary = Rotary(read, DIM, torch.device("cpu"))
    rotary.reach(length)
    found = rotary.tables(positions, torch.float32)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2)
    rotary.reach(100 if length > 8192 else 30_000)  # the other side of the first training's
    other = rotary.tables(positions, torch.float32)[0]
    assert float((other - expected).abs().max()) > (
        0.3 if length != 8193 or "factor" not in rope else 0
    )


@pytest.mark.parametrize(
    ("rope", "positions", "limit"),
    [
        ({"rope_type": "linear", "factor": 4.0}, 4096, 16_384),
        ({"type": "linear", "factor": 4}, 4096, 16_384),  # as Vicuna-16k's config has it
        ({"rope_type": "dynamic", "factor": 2.0}, 4096, 8192),
        (LLAMA_3_1, 131_072, 131_072),
        ({"rope_type": "yarn", "factor": 4.0, **FIRST}, 8192, 32_768),
        ({"rope_type": "yarn", "factor": 4.0, **FIRST}, 32_768, 32_768),
        (LONG, 131_072, 131_072),
    ],
)
def test_the_limit_is_the_scaled_one(rope: dict[str, Any], positions: int, limit: int) -> None:
    data = {"max_position_embeddings": positions, "rope_scaling": rope}
    assert RotaryConfig.of(data, DIM).limit(positions) == limit


def test_drafts_of_the_first_format_name_no_kind() -> None:
    assert RotaryConfig.model_validate({"theta": 1e5}).type == "default"
    assert RotaryConfig.model_validate({"factor": 4.0}).type == "linear"
    old = {k: v for k, v in LLAMA_3_1.items() if not k.startswith("rope")}
    assert RotaryConfig.model_validate(old).type == "llama3"


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "mrope"}, "rope_type='mrope' is not supported; allowed: default, linear"),
        ({"rope_type": "linear"}, "rope_type='linear' without factor"),
        ({"rope_type": "linear", "factor": 0}, r"rope factor=0: .*greater than 0"),
        ({"rope_type": "linear", "factor": "much"}, "rope factor='much': "),
        (
            {k: v for k, v in LLAMA_3_1.items() if k != "low_freq_factor"},
            "rope_type='llama3' without low_freq_factor",
        ),
        ({**LONG, "long_factor": [1.0]}, "long_factor has 1 entries; a head of 64 needs 32"),
        ({"full_attention": {"rope_type": "default"}}, "one for each kind of layer"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ],
)
def test_a_scaling_that_is_not_supported_or_not_whole(rope: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TargetConfig.from_transformers({**SIZES, "rope_scaling": rope}, "x")
    assert "\n" not in str(caught.value)
