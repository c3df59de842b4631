"""``config.json`` of a GLIDE draft: what it was trained for and how it is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..base import TargetShape
from ..rotary import KEYS, RotaryConfig
from .speculators import FIELDS, speculators_fields

MODEL_TYPE = "glide"
POSITIONS = "max_position_embeddings"
TARGET_TYPES = ("llama", "qwen2", "qwen3", "mistral", "olmo2")
"""Architectures whose ``config.json`` tells the sizes of a draft in the published format."""


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
        """From the target's own ``config.json``.

        Raises:
            ValueError: in one line, for a rotary embedding that is not known.
            KeyError: for a size that is not there.
        """
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        head_dim = config.get("head_dim") or hidden // heads
        return cls(
            name=name,
            hidden_size=hidden,
            intermediate_size=config["intermediate_size"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=head_dim,
            vocab_size=config["vocab_size"],
            max_position_embeddings=config["max_position_embeddings"],
            rms_norm_eps=config.get("rms_norm_eps", 1e-6),
            rope=RotaryConfig.of(config, head_dim),
            architectures=tuple(config.get("architectures") or ()),
        )

    @property
    def positions(self) -> int:
        """That are trained: as many as it serves, unless its embedding changes beyond the first."""
        most = self.max_position_embeddings
        return most if self.rope.type == "dynamic" else self.rope.limit(most)

    def sizes(self) -> dict[str, int]:
        """As :class:`proposers.base.TargetShape` names them."""
        names = [name for name in TargetShape.__dataclass_fields__ if name != "rope"]
        return {name: getattr(self, name) for name in names}


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
        served_rope: turn as the served target does, whatever ``target.rope`` is (published drafts).
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
    served_rope: bool = False
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

        It turns by the served target's own rotary embedding, as the public reference does; what
        the file says of one counts where nobody tells the target's.

        Raises:
            ValueError: in one line, for another architecture.
        """
        if data.get("model_type") not in TARGET_TYPES:
            raise ValueError(
                f"{path}: model_type={data.get('model_type')!r}; allowed: {MODEL_TYPE}, or"
                f" {', '.join(TARGET_TYPES)} (published LongSpec drafts)"
            )
        try:
            target = TargetConfig.from_transformers(data, path.parent.name)
        except ValueError:  # of an embedding that is not known
            plain = {key: data[key] for key in data if key not in KEYS or key == POSITIONS}
            target = TargetConfig.from_transformers(plain, path.parent.name)
        return cls(
            target=target,
            served_rope=True,
            final_norm=False,
            hidden_state_input=False,
            attention_bias=True,
            longspec_config=dict(data.get("longspec_config") or {}),
        )

    def on(self, shape: TargetShape) -> GlideConfig:
        """This draft on a target: with the target's rotary embedding, if it is to turn by that.

        Raises:
            ValueError: in one line, for a rotary embedding that is not known.
        """
        if not self.served_rope or shape.rope is None:
            return self
        rope = RotaryConfig.of(shape.rope, shape.head_dim)
        return self.model_copy(update={"target": self.target.model_copy(update={"rope": rope})})

    def save(self, folder: Path) -> None:
        """Write ``config.json``, with :mod:`.speculators` metadata."""
        text = json.dumps({**self.model_dump(), **speculators_fields(self)}, indent=2) + "\n"
        (Path(folder) / "config.json").write_text(text)


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
