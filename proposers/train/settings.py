"""What a training run can be told: the keys of a recipe file and the command line alike."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class TrainSettings(BaseModel):
    """Settings of one training run; every field is a command line option too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Path = Field(description="directory of the target model")
    target_name: str = Field(default="", description="name of the target to write into config.json")
    features: Path = Field(description="folder of feature shards; may still be growing")
    out: Path = Field(description="where the draft is written")
    state: Path = Field(description="folder for the resumable state, curves and logs")
    init: Path | None = Field(default=None, description="draft to start from; else the target")
    minutes: float = Field(default=60.0, gt=0, description="training time; the schedule follows it")
    batch_tokens: int = Field(default=3072, ge=1, description="trained positions in a step")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak, reached after the warm-up")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of the time to warm up")
    final_rate: float = Field(default=0.02, ge=0, le=1, description="last rate, share of the peak")
    optimizer: Literal["adamw", "muon"] = Field(default="muon", description="adamw or muon")
    weight_decay: float = Field(default=0.1, ge=0, description="AdamW weight decay")
    clip: float = Field(default=1.0, gt=0, description="greatest gradient norm")
    hard: float = Field(
        default=0.2, ge=0, le=1, description="share of the target's argmax in the loss; rest soft"
    )
    lag_weights: list[float] = Field(
        default=[0.36, 0.26, 0.16, 0.12, 0.10], description="how often lag 1, 2, ... is drawn"
    )
    anchor_offset: int = Field(
        default=0, ge=0, description="move all but the first tokens up to so many positions on"
    )
    window: int = Field(default=512, ge=1, description="self-attention window of the draft")
    draft_vocab: int = Field(default=8192, ge=1, description="most frequent tokens it can propose")
    prompt_tail: int = Field(default=32, ge=0, description="last prompt tokens trained on as well")
    hidden_state_input: bool = Field(default=True, description="read the target's hidden state")
    tree_shape: list[int] = Field(default=[4, 4, 2, 1], description="served by default")
    held_out: int = Field(
        default=64, ge=1, description="greedy sequences tested on (one in 24 is never trained on)"
    )
    save_minutes: float = Field(default=2.0, gt=0, description="between saved states")
    threads: int = Field(default=1, ge=1, description="CPU threads")
    seed: int = Field(default=1, description="random seed")

    @classmethod
    def read(cls, recipe: Path | None, overrides: dict[str, object]) -> TrainSettings:
        """From a recipe's ``train:`` section and overrides.

        Raises:
            ValueError: one line that names the key, its value and what is allowed.
        """
        data: dict[str, object] = {}
        if recipe is not None:
            data = dict((yaml.safe_load(recipe.read_text()) or {}).get("train") or {})
        try:
            return cls.model_validate({**data, **overrides})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            given = "" if first["type"] == "missing" else f"={first['input']!r}"
            allowed = f"; allowed keys: {', '.join(cls.model_fields)}"
            extra = allowed if first["type"] == "extra_forbidden" else ""
            raise ValueError(f"{key}{given}: {first['msg']}{extra}") from None
