"""Our rotary tables are those of transformers, for every kind of scaling that we take."""

from typing import Any

import pytest
import torch

from proposers.glide.config import TargetConfig
from proposers.glide.layer import rotary_tables

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
LLAMA_3_1 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 10_000.0},
        {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 8.0},
        LLAMA_3_1,
    ],
)
def test_tables_are_those_of_transformers(rope: dict[str, Any]) -> None:
    config = transformers.LlamaConfig(**SIZES, rope_parameters=rope)
    positions = torch.tensor([[0, 1, 7, 511, 8191, 9000, 120_000]])
    expected = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    target = TargetConfig.from_transformers(config.to_dict(), "x")
    assert target.rope.type == rope["rope_type"]
    found = rotary_tables(target.rope, positions, 64, torch.float32)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-2)  # angles reach 120,000 radians
        torch.testing.assert_close(ours[:, :4], theirs[:, :4], rtol=0, atol=1e-4)
    plain = target.rope.model_copy(
        update={"factor": 1.0, "low_freq_factor": None, "high_freq_factor": None}
    )
    differs = (rotary_tables(plain, positions, 64, torch.float32)[0] - expected[0]).abs().max()
    assert float(differs) > 0.5 or rope["rope_type"] == "default"


def test_a_scaling_that_is_not_supported_or_not_whole() -> None:
    with pytest.raises(ValueError, match="rope_type='yarn' is not supported; allowed: default"):
        TargetConfig.from_transformers({**SIZES, "rope_scaling": {"rope_type": "yarn"}}, "x")
    part = {k: v for k, v in LLAMA_3_1.items() if k != "low_freq_factor"}
    with pytest.raises(ValueError, match="rope_type='llama3' without low_freq_factor"):
        TargetConfig.from_transformers({**SIZES, "rope_scaling": part}, "x")
