"""Rotary embeddings (RoPE, arXiv 2104.09864) with the scalings that long-context targets use.

A draft turns its queries and keys exactly as its target does, since it reads the target's keys as
they are stored. Read from the keys of a transformers ``config.json``; the formulas are those of
``transformers.modeling_rope_utils``, the names those of its ``rope_type``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

Kind = Literal["default", "linear", "llama3", "yarn", "dynamic", "longrope"]
NEEDED: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": (),
    "dynamic": ("factor",),
    "longrope": ("short_factor", "long_factor"),
}
"""What each kind cannot do without."""
READ = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "beta_fast", "beta_slow", "truncate", "attention_factor"),
    "dynamic": ("factor",),
    "longrope": ("factor", "short_factor", "long_factor", "attention_factor"),
}
"""What each kind takes from a ``config.json``."""
KEYS = (
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "partial_rotary_factor",
    "original_max_position_embeddings",
    "max_position_embeddings",
)
"""The keys of a ``config.json`` that tell a rotary embedding."""


class RotaryConfig(BaseModel):
    """A rotary embedding: base, kind, and what its kind makes of the frequencies.

    - ``linear`` divides all by ``factor``.
    - ``llama3`` divides by ``factor`` those that turn less than ``low_freq_factor`` times in the
      first training's context, none that turn more than ``high_freq_factor`` times, and those
      between in part.
    - ``yarn`` (arXiv 2309.00071) does the same with ``beta_slow`` and ``beta_fast``, in equal steps
      from dimension to dimension.
    - ``dynamic`` raises the base as the context grows beyond the first training's.
    - ``longrope`` (arXiv 2402.13753) divides each by its own ``long_factor``, or by its
      ``short_factor`` where the context stays within the first training's.

    Attributes:
        original_max_position_embeddings: positions of the first training.
        attention_factor: of cosines and sines.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    type: Kind = "default"
    theta: float = Field(default=10_000.0, gt=0)
    factor: float = Field(default=1.0, gt=0)
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = Field(default=None, gt=0)
    attention_factor: float = Field(default=1.0, gt=0)
    beta_fast: float = Field(default=32.0, gt=0)
    beta_slow: float = Field(default=1.0, gt=0)
    truncate: bool = True
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_type(cls, data: Any) -> Any:
        """Drafts of the first format do not name the kind."""
        if isinstance(data, Mapping) and "type" not in data:
            scaled = "linear" if data.get("factor", 1.0) != 1.0 else "default"
            return {**data, "type": "llama3" if data.get("low_freq_factor") else scaled}
        return data

    @classmethod
    def of(cls, config: Mapping[str, Any], head_dim: int) -> RotaryConfig:
        """From the keys of a target's ``config.json``.

        Raises:
            ValueError: in one line, for another kind or what is missing of it.
        """
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        kind = _kind(rope)
        if (part := rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))) and (
            part != 1
        ):
            raise ValueError(f"partial_rotary_factor={part} is not supported; allowed: 1")
        if missing := [key for key in NEEDED[kind] if rope.get(key) is None]:
            raise ValueError(
                f"rope_type={kind!r} without {missing[0]}; the target's config needs one"
            )
        given = {key: rope[key] for key in READ.get(kind, ()) if rope.get(key) is not None}
        told = (rope.get("rope_theta"), config.get("rope_theta"), 10_000.0)
        theta = next(value for value in told if value is not None)
        try:
            found = cls.model_validate({"type": kind, "theta": theta, **given})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ValueError(f"rope {key}={first['input']!r}: {first['msg']}") from None
        return _settled(found, rope, config, head_dim)

    def limit(self, positions: int) -> int:
        """Positions that a target with so many ``max_position_embeddings`` is good for."""
        if self.type in ("linear", "dynamic"):
            return int(positions * self.factor)
        if self.type == "yarn":  # some configs tell those of the first training
            assert self.original_max_position_embeddings is not None
            return max(positions, int(self.original_max_position_embeddings * self.factor))
        return positions

    @property
    def grows(self) -> bool:
        """Whether frequencies hang on how long the context may become."""
        return self.type in ("dynamic", "longrope")

    def differs(self, other: RotaryConfig) -> tuple[str, Any, Any] | None:
        """The first value that another embedding does not share: its name in a ``config.json``,
        ours and theirs."""
        for name in type(self).model_fields:
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                return {"type": "rope_type", "theta": "rope_theta"}.get(name, name), ours, theirs
        return None

    def keys(self) -> dict[str, Any]:
        """``rope_parameters`` of a ``config.json``."""
        others = self.model_dump(mode="json", exclude={"type", "theta"}, exclude_defaults=True)
        return {"rope_type": self.type, "rope_theta": self.theta, **others}


def _kind(rope: Any) -> Kind:
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, Mapping) else rope
    if isinstance(rope, Mapping) and any(isinstance(value, Mapping) for value in rope.values()):
        kind = "one for each kind of layer"
    if kind == "su":  # the first name of longrope
        return "longrope"
    if kind not in get_args(Kind):
        raise ValueError(
            f"rope_type={kind!r} is not supported; allowed: {', '.join(get_args(Kind))}"
        )
    known: Kind = kind
    return known


def _settled(
    found: RotaryConfig, rope: Mapping[str, Any], config: Mapping[str, Any], head_dim: int
) -> RotaryConfig:
    """With what follows from the rest of the target's config."""
    if found.type == "linear" and found.factor == 1.0:
        return found.model_copy(update={"type": "default"})
    if found.type in ("default", "linear"):
        return found
    first, most = "original_max_position_embeddings", config.get("max_position_embeddings")
    original = most
    if found.type != "dynamic":
        original = config.get(first) or rope.get(first) or most
    if not isinstance(original, int) or original < 1:
        raise ValueError(f"rope_type={found.type!r} without {first}; the target's config needs one")
    factor = found.factor
    if found.type in ("yarn", "longrope") and rope.get("factor") is None:
        factor = (most or original) / original
    changed: dict[str, Any] = {first: original, "factor": factor}
    if found.type in ("yarn", "longrope") and rope.get("attention_factor") is None:
        changed["attention_factor"] = _attention_factor(found.type, factor, original, rope)
    for name in ("short_factor", "long_factor"):
        given = getattr(found, name)
        if given is not None and len(given) != head_dim // 2:
            raise ValueError(
                f"rope {name} has {len(given)} entries; a head of {head_dim} needs {head_dim // 2}"
            )
    return found.model_copy(update=changed)


def _attention_factor(kind: str, factor: float, original: int, rope: Mapping[str, Any]) -> float:
    if factor <= 1:
        return 1.0
    if kind == "longrope":
        return math.sqrt(1 + math.log(factor) / math.log(original))
    scales = [0.1 * float(rope.get(name) or 0) * math.log(factor) + 1 for name in _MSCALES]
    if all(rope.get(name) for name in _MSCALES):
        return scales[0] / scales[1]
    return 0.1 * math.log(factor) + 1


_MSCALES = ("mscale", "mscale_all_dim")


def keys_of(config: Any) -> dict[str, Any] | None:
    """The :data:`KEYS` of an engine's or transformers' config object, None where it tells none."""
    found = {key: getattr(config, key, None) for key in KEYS}
    told = {key: value for key, value in found.items() if value is not None}
    return told if told.keys() & {"rope_parameters", "rope_scaling", "rope_theta"} else None


def positions_of(config: Mapping[str, Any]) -> int | None:
    """The limit that a ``config.json`` tells, the scaled one; None where it tells none.

    Raises:
        ValueError: in one line, for an embedding that is not known.
    """
    most, heads = config.get("max_position_embeddings"), config.get("num_attention_heads")
    if not most or not heads or not config.get("hidden_size"):
        return most
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return RotaryConfig.of(config, head_dim).limit(most)


class Rotary:
    """A rotary embedding on a device.

    Attributes:
        frequencies: ``[head_dim / 2]`` float32, radians a position.
        scale: of cosines and sines.
    """

    def __init__(
        self, config: RotaryConfig, head_dim: int, device: torch.device, length: int | None = None
    ) -> None:
        self.config, self.head_dim = config, head_dim
        self.scale = config.attention_factor
        self.frequencies = frequencies(config, head_dim, device, length)

    def reach(self, length: int) -> None:
        """Tell how long the context may become, before anything of it is turned."""
        if self.config.grows:
            like = self.frequencies
            self.frequencies = frequencies(self.config, self.head_dim, like.device, length)

    def tables(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines ``[*positions.shape, head_dim]`` (two equal halves, Llama's order)."""
        angles = positions[..., None].float() * self.frequencies
        doubled = torch.cat([angles, angles], dim=-1)
        return (doubled.cos() * self.scale).to(dtype), (doubled.sin() * self.scale).to(dtype)


def rotary_tables(
    rope: RotaryConfig, positions: Tensor, head_dim: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """:meth:`Rotary.tables`, once."""
    return Rotary(rope, head_dim, positions.device).tables(positions, dtype)


def frequencies(
    rope: RotaryConfig, head_dim: int, device: torch.device, length: int | None = None
) -> Tensor:
    """``[head_dim / 2]`` radians a position; see :class:`RotaryConfig`.

    Args:
        length: to which the context may grow, where frequencies hang on it. Without one ``dynamic``
            stays within the first training's and ``longrope`` does not.
    """
    exponents = torch.arange(0, head_dim, 2, device=device).float() / head_dim
    theta, original = rope.theta, rope.original_max_position_embeddings or 0
    if rope.type == "dynamic":
        grown = rope.factor * max(length or original, original) / original - (rope.factor - 1)
        theta *= grown ** (head_dim / (head_dim - 2))
    plain: Tensor = 1.0 / theta**exponents
    if rope.type == "linear":
        return plain / rope.factor
    if rope.type == "longrope":
        long = length is None or length > original
        return plain / torch.tensor(rope.long_factor if long else rope.short_factor, device=device)
    if rope.type in ("llama3", "yarn"):
        kept = _llama3_kept(rope, plain) if rope.type == "llama3" else _yarn_kept(rope, head_dim)
        kept = kept.to(device)
        return plain * (kept + (1 - kept) / rope.factor)
    return plain


def _llama3_kept(rope: RotaryConfig, plain: Tensor) -> Tensor:
    """Which part of each frequency is not divided."""
    assert rope.low_freq_factor is not None
    assert rope.high_freq_factor is not None
    assert rope.original_max_position_embeddings is not None
    turns = rope.original_max_position_embeddings * plain / (2 * math.pi)
    width = rope.high_freq_factor - rope.low_freq_factor
    return ((turns - rope.low_freq_factor) / width).clamp(0, 1)


def _yarn_kept(rope: RotaryConfig, head_dim: int) -> Tensor:
    """Which part of each frequency is not divided (section 3.2)."""
    assert rope.original_max_position_embeddings is not None
    context = rope.original_max_position_embeddings / (2 * math.pi)

    def dimension(turns: float) -> float:
        """Of the frequency that turns so often in the first training's context."""
        return head_dim * math.log(context / turns) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    high += 0.001 if low == high else 0.0
    return 1 - ((torch.arange(head_dim // 2).float() - low) / (high - low)).clamp(0, 1)
