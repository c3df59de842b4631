"""The sizes that random weights come in, in the words of transformers' configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """An architecture without weights.

    Attributes:
        name: as people call it.
        model_type: transformers' name of the architecture.
        layers: decoder layers.
        positions: tokens of prompt and answer at most.
        vocab: tokens.
        values: the rest of the configuration.
    """

    name: str
    model_type: str
    layers: int
    positions: int
    vocab: int
    values: Mapping[str, Any]

    def config(self) -> dict[str, Any]:
        """Arguments for the configuration class of ``model_type``."""
        return {
            **self.values,
            "num_hidden_layers": self.layers,
            "max_position_embeddings": self.positions,
            "vocab_size": self.vocab,
        }


def _values(hidden: int, mlp: int, heads: int, kv_heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        **more,
    }


_OLMO = {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}, "rms_norm_eps": 1e-6}
_SMOL = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
    "tie_word_embeddings": True,
}

SIZES = {
    "1b": Shape("OLMo2-1B", "olmo2", 16, 4096, 100_352, _values(2048, 8192, 16, 16, **_OLMO)),
    "7b": Shape("OLMo2-7B", "olmo2", 32, 4096, 100_352, _values(4096, 11_008, 32, 32, **_OLMO)),
    "smollm2": Shape("SmolLM2-135M", "llama", 30, 8192, 49_152, _values(576, 1536, 9, 3, **_SMOL)),
    "tiny": Shape(
        "tiny OLMo2",
        "olmo2",
        6,
        1024,
        512,
        _values(64, 128, 4, 4, eos_token_id=None, pad_token_id=None, **_OLMO),
    ),
}
