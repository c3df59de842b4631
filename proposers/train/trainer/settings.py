"""What a training run can be told: keys of a recipe and command line options alike."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ...glide.options import MAX_GROWN
from ...growth import check_shape
from ...registry import load_proposer
from ..recipe import Section
from .lags import ALONG_PATHS
from .loss import Weighting

SERVE = {
    "proposer": "glide_lookup",
    "tree_shape": [8, 8, 8, 8],
    "nodes": 16,
    "lookup_shape": [1] * 12,
}
"""A wide tree of which the likeliest nodes are verified, and what the context repeats."""


class TrainSettings(Section):
    """Settings of one training run."""

    section: ClassVar[str] = "train"

    features: Path | None = Field(
        default=None,
        description="feature folder; may still be growing (default: DATA/features)",
    )
    out: Path | None = Field(
        default=None, description="where the draft is written (default: DATA/draft)"
    )
    state: Path | None = Field(
        default=None,
        description="folder of resumable state and curves (default: DATA/state)",
    )

    init: Path | None = Field(
        default=None,
        description="draft to start from, ours or a published one; its config rules then",
    )
    initial: Literal["first_last", "last", "first", "random"] = Field(
        default="first_last",
        description="where the weights come from without --init: first_last (self-attention from"
        " the target's first layer, the rest from its last), last, first, or random",
    )
    layers: Literal[1, 2] = Field(default=1, description="decoder layers of the draft, 1 or 2")
    hidden_state_input: bool = Field(
        default=True, description="read the target's last hidden state too"
    )
    final_norm: bool = Field(default=True, description="apply the target's final norm")
    window: int = Field(default=512, ge=1, description="tokens that self-attention reaches back")
    draft_vocab: int = Field(
        default=8192, ge=0, description="most frequent tokens it can propose; 0 is all of them"
    )
    serve: dict[str, Any] = Field(
        default=SERVE, description="proposer and tree that are served by default"
    )

    lag_weights: list[float] = Field(
        default=[0.36, 0.26, 0.16, 0.12, 0.10],
        min_length=1,
        description="how often lag 1, 2, ... is trained: one more than the deepest tree has levels",
    )
    hard: float = Field(
        default=0.2, ge=0, le=1, description="share of the target's argmax in the loss; rest soft"
    )
    top_k: int = Field(
        default=0, ge=0, description="learn from so many stored logits; 0: from all, made anew"
    )
    weighting: Weighting = Field(
        default="none",
        description="of positions: none, reach (how likely the draft is to get there), tree (only"
        " where the draft's own tree gets), or mistakes (how much it gives to wrong tokens)",
    )

    epochs: float = Field(default=3.0, gt=0, description="passes over the data")
    minutes: float | None = Field(
        default=None, gt=0, description="train by the clock instead, whatever that makes of epochs"
    )
    max_tokens: int = Field(
        default=0, ge=0, description="use only the first so many tokens of the data; 0 is all"
    )
    prompt_tail: int = Field(default=16, ge=0, description="last prompt tokens trained on as well")
    batch_tokens: int = Field(default=2048, ge=1, description="trained positions in a micro-batch")
    accumulate: int = Field(
        default=1, ge=1, description="micro-batches in a step, in each process of torchrun"
    )
    optimizer: Literal["muon", "adamw"] = Field(default="muon", description="muon or adamw")
    learning_rate: float = Field(default=2e-3, gt=0, description="peak, reached after the warm-up")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="after the warm-up: cosine, linear or constant"
    )
    warmup: float = Field(default=0.03, ge=0, lt=1, description="share of the run to warm up")
    final_rate: float = Field(default=0.0, ge=0, le=1, description="last rate, share of the peak")
    weight_decay: float = Field(default=0.1, ge=0, description="of matrices, times the rate")
    clip: float = Field(default=1.0, gt=0, description="greatest gradient norm")

    held_out: int = Field(
        default=64, ge=1, description="greedy sequences tested on, of those never trained on"
    )
    save_minutes: float = Field(
        default=5.0, ge=0, description="between tests, saved states and exported drafts"
    )
    threads: int = Field(default=1, ge=1, description="CPU threads")
    device: str = Field(default="auto", description="auto (cuda if there), cpu, cuda, cuda:1, ...")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="auto is bfloat16 where the device computes in it, else float32"
    )
    seed: int = Field(default=1, ge=0, description="of all draws")

    @field_validator("serve")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        load_proposer(value.get("proposer", SERVE["proposer"]))
        if "tree_shape" in value:
            check_shape(value["tree_shape"], MAX_GROWN)
        return value

    @model_validator(mode="after")
    def _lags(self) -> Self:
        weights = self.lag_weights
        if min(weights) < 0 or not sum(weights):
            raise ValueError(f"lag_weights={weights}: expected numbers from 0, and one above it")
        rises = any(later > sooner for sooner, later in pairwise(weights))
        if self.weighting in ALONG_PATHS and rises:
            raise ValueError(
                f"lag_weights={weights}: weighting={self.weighting} needs weights that do not rise"
            )
        return self
