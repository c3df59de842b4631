"""The context that a target's config tells, scaled rotary embeddings included."""

from __future__ import annotations

from typing import Any

import pytest

from eval.cli.context import positions

LONG = {"max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        (LONG, 4096),
        ({"text_config": LONG}, 4096),
        ({**LONG, "rope_scaling": None}, 4096),
        ({**LONG, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16_384),
        ({**LONG, "rope_parameters": {"rope_type": "dynamic", "factor": 2}}, 8192),
        ({**LONG, "rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        ({**LONG, "rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, 16_384),
        (
            {
                "max_position_embeddings": 131_072,
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32_768,
                },
            },
            131_072,
        ),
    ],
)
def test_positions(config: dict[str, Any], expected: int | None) -> None:
    assert positions(config) == expected
