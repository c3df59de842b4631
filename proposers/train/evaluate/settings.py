"""What ``python -m proposers.train evaluate`` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from ...growth import check_shape
from ..recipe import Section

SHAPES = [[1, 1, 1, 1], [2, 2, 2], [4, 4, 2, 1], [4, 6, 4, 2], [4, 16, 16, 16, 16]]


class EvaluateSettings(Section):
    """Options of the command, and the ``evaluate:`` section of a recipe."""

    section: ClassVar[str] = "evaluate"

    features: Path | None = Field(
        default=None,
        description="feature folder, of which held-out answers count (default: DATA/features)",
    )
    draft: Path | None = Field(default=None, description="draft to evaluate (default: DATA/draft)")
    state: Path | None = Field(
        default=None, description="training state, for its curves (default: DATA/state)"
    )
    out: Path | None = Field(default=None, description="report folder (default: DATA/report)")
    against: list[Path] = Field(
        default=[], description="other drafts beside it, with commas between"
    )
    all: bool = Field(
        default=False,
        description="take all greedy answers of the folder: none of them was trained on",
    )
    sequences: int = Field(default=96, ge=0, description="at most so many answers; 0: all")
    tokens: int = Field(
        default=0, ge=0, description="only the first tokens of each answer; 0: all of it"
    )
    proposer: str = Field(
        default="", description="served proposer (default: what the draft's config.json names)"
    )
    options: dict[str, Any] = Field(
        default={},
        description="its options, over those of the draft's config.json, such as"
        " '{min_probability: 0.1}'",
    )
    shapes: list[list[int]] = Field(
        default=SHAPES, description="tree shapes of the plain proposer glide"
    )
    lags: int = Field(default=5, ge=1, description="greatest lag of the top-k accuracies")
    batch: int = Field(default=8, ge=1, description="answers that are walked together")
    device: str = Field(default="cpu", description="where the draft runs, such as cpu or cuda")
    threads: int = Field(default=1, ge=1, description="CPU threads")

    @field_validator("against", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @field_validator("shapes")
    @classmethod
    def _shapes(cls, value: list[list[int]]) -> list[list[int]]:
        return [list(check_shape(shape)) for shape in value]
