"""``config.json`` of a GLIDE draft: what it was trained for and how it is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .speculators import FIELDS, speculators_fields

MODEL_TYPE = "glide"
TARGET_TYPES = ("llama", "qwen2", "qwen3", "mistral", "olmo2")
"""Architectures whose ``config.json`` tells the sizes of a draft in the published format."""

SCALINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Kinds of rotary embeddings, and what each needs."""


class RotaryConfig(BaseModel):
    """The target's rotary embedding, as far as supported: plain, linearly scaled, Llama 3.1's.

    The latter (``rope_type: llama3``) divides by ``factor`` the frequencies that turn less than
    ``low_freq_factor`` times in the context of the first training, none that turn more than
    ``high_freq_factor`` times, and those between in part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    theta: float = 10_000.0
    factor: float = 1.0
    """Positions are divided by this (``rope_type: linear``)."""
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None

    @property
    def type(self) -> str:
        """``rope_type`` in a ``config.json``."""
        if self.low_freq_factor is not None:
            return "llama3"
        return "default" if self.factor == 1.0 else "linear"


class TargetConfig(BaseModel):
    """The target that a draft reads: sizes that must agree with the served model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope: RotaryConfig = RotaryConfig()
    architectures: tuple[str, ...] = ()
    """The target's own, as its ``config.json`` names them; told on, not checked."""

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any], name: str) -> TargetConfig:
        """From the target's own ``config.json``."""
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        return cls(
            name=name,
            hidden_size=hidden,
            intermediate_size=config["intermediate_size"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            vocab_size=config["vocab_size"],
            max_position_embeddings=config["max_position_embeddings"],
            rms_norm_eps=config.get("rms_norm_eps", 1e-6),
            rope=_rotary(config),
            architectures=tuple(config.get("architectures") or ()),
        )


class GlideConfig(BaseModel):
    """A draft: its target, its window, and which options it was trained with.

    Attributes:
        window: tokens before its own that self-attention sees.
        num_layers: 1 block, as published, or 2.
        draft_vocab_size: size of the reduced output vocabulary; None is the target's whole one.
        final_norm: apply the target's final norm before the output head (published drafts do not).
        hidden_state_input: mix the target's last hidden state into the layer's input.
        attention_bias: q, k and v projections have biases (published drafts do).
        max_lag: the greatest lag seen in training: deepest tree + 1.
        temperature: divides the logits, so that probabilities mean what they say (calibration).
        longspec_config: defaults of the speculative config, such as ``tree_shape``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_type: str = MODEL_TYPE
    target: TargetConfig
    window: int = Field(default=512, ge=1)
    num_layers: int = Field(default=1, ge=1, le=2)
    draft_vocab_size: int | None = None
    final_norm: bool = True
    hidden_state_input: bool = True
    attention_bias: bool = False
    max_lag: int = Field(default=5, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    longspec_config: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_pretrained(cls, folder: Path) -> GlideConfig:
        """Read ours, or a published checkpoint's ``config.json`` (Llama/Qwen2, target's shape).

        Raises:
            ValueError: one line that names the file, the key and what is allowed.
        """
        path = Path(folder) / "config.json"
        data = _read(path)
        try:
            if data.get("model_type") == MODEL_TYPE:
                return cls.model_validate({k: v for k, v in data.items() if k not in FIELDS})
            return cls.published(data, path)
        except ValidationError as error:
            raise ValueError(_one_line(path, error)) from None
        except KeyError as error:
            raise ValueError(f"{path}: {error.args[0]!r} is missing; a draft needs it") from None

    @classmethod
    def published(cls, data: Mapping[str, Any], path: Path) -> GlideConfig:
        """A LongSpec draft of a target with this ``config.json``, read from ``path``.

        Raises:
            ValueError: in one line, for another architecture.
        """
        if data.get("model_type") not in TARGET_TYPES:
            raise ValueError(
                f"{path}: model_type={data.get('model_type')!r}; allowed: {MODEL_TYPE}, or"
                f" {', '.join(TARGET_TYPES)} (published LongSpec drafts)"
            )
        return cls(
            target=TargetConfig.from_transformers(data, path.parent.name),
            final_norm=False,
            hidden_state_input=False,
            attention_bias=True,
            longspec_config=dict(data.get("longspec_config") or {}),
        )

    def save(self, folder: Path) -> None:
        """Write ``config.json``, with :mod:`.speculators` metadata."""
        text = json.dumps({**self.model_dump(), **speculators_fields(self)}, indent=2) + "\n"
        (Path(folder) / "config.json").write_text(text)


def _rotary(config: Mapping[str, Any]) -> RotaryConfig:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in SCALINGS:
        allowed = ", ".join(SCALINGS)
        raise ValueError(f"rope_type={kind!r} is not supported; allowed: {allowed}")
    theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    if missing := [key for key in SCALINGS[kind] if rope.get(key) is None]:
        raise ValueError(f"rope_type={kind!r} without {missing[0]}; the target's config needs one")
    return RotaryConfig(theta=theta, **{key: rope[key] for key in SCALINGS[kind]})


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; a draft folder needs one") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no JSON object; a draft's config.json is one")
    return data


def _one_line(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    value = f"={first['input']!r}" if first["type"] != "missing" else ""
    allowed = ""
    if first["type"] == "extra_forbidden":
        allowed = f"; allowed: {', '.join(GlideConfig.model_fields)}"
    return f"{path}: {key}{value}: {first['msg']}{allowed}"
