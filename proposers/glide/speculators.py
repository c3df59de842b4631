"""Metadata that other people's tools look for in a draft's ``config.json``.

The format is that of vLLM's ``speculators`` library (0.9): what drafts, for which verifier, how
many tokens a step. Neither engine takes another path for it: vLLM looks for ``speculators_config``
in the folder given as the *target* only, SGLang keeps unknown keys as attributes.
"""

from __future__ import annotations

from typing import Any, Protocol

FORMAT_VERSION = "0.9.0"
ALGORITHM = "glide"
FIELDS = (
    "architectures",
    "speculators_model_type",
    "speculators_version",
    "speculators_config",
    "transformer_layer_config",
)
"""Keys written beside the config's own; they follow from those, so reading skips them."""


class Drafting(Protocol):
    """What is told of a draft: a part of :class:`.config.GlideConfig`."""

    longspec_config: dict[str, Any]
    max_lag: int
    num_layers: int
    attention_bias: bool
    target: Any


def speculators_fields(config: Drafting) -> dict[str, Any]:
    """The values of :data:`FIELDS`.

    ``speculative_tokens`` is the depth of the default tree, the most tokens a step may have
    accepted; ``greedy`` is the only proposal type the library knows.
    """
    served = config.longspec_config
    levels = [len(served[name]) for name in ("tree_shape", "lookup_shape") if served.get(name)]
    depth = max(levels, default=config.max_lag - 1 or 1)  # else what training saw
    depth = min(depth, served.get("nodes") or depth)
    proposal = {"proposal_type": "greedy", "speculative_tokens": depth}
    target = config.target
    values = (
        ["GlideDraft"],
        ALGORITHM,
        FORMAT_VERSION,
        {
            "algorithm": ALGORITHM,
            "proposal_methods": [proposal],
            "default_proposal_method": "greedy",
            "verifier": {"name_or_path": target.name, "architectures": list(target.architectures)},
        },
        layer_config(config),
    )
    return dict(zip(FIELDS, values, strict=True))


def layer_config(config: Drafting) -> dict[str, Any]:
    """The draft's layers in the words of a Llama ``config.json``."""
    return {
        "model_type": "llama",
        **config.target.model_dump(exclude={"name", "architectures", "rope"}),
        "num_hidden_layers": config.num_layers,
        "hidden_act": "silu",
        "attention_bias": config.attention_bias,
        "rope_parameters": config.target.rope.keys(),
    }
