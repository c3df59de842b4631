"""What ``python -m proposers.train answers`` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from ..prompts import CATEGORIES, ON_REQUEST
from ..prompts.overlap import evaluation_prompts
from ..recipe import Section

Share = Annotated[float, Field(ge=0, le=1)]


OFFLINE = "offline"
"""In place of a server's address."""


class AnswersSettings(Section):
    """Options of the command, and the ``answers:`` section of a recipe."""

    section: ClassVar[str] = "answers"

    server: str = Field(
        default="http://127.0.0.1:8000/v1",
        description="OpenAI-compatible server that runs the target, such as vLLM or SGLang; or"
        " offline: our own batched engine, in this process",
    )
    model: str = Field(
        default="", description="its name for the target (default: the first that it lists)"
    )
    api_key: str = Field(default="EMPTY", description="key that the server asks for")
    out: Path | None = Field(
        default=None, description="folder of the answers (default: DATA/answers)"
    )
    prompts: list[Path] = Field(
        default=[],
        description="JSONL files with prompts (`turns` or `prompt`), with commas between; all of"
        " them are answered, none is composed (default: the shipped generator)",
    )
    categories: list[str] = Field(
        default=[],
        description="categories of the generator, with commas between (default: all in a balanced"
        f" mix: {', '.join(CATEGORIES)}; on request only: {', '.join(ON_REQUEST)})",
    )
    tokens: int = Field(
        default=10_000_000, ge=1, description="stop at so many tokens, prompts and answers"
    )
    minutes: float | None = Field(
        default=None, gt=0, description="stop after so many minutes as well (default: no limit)"
    )
    device: str = Field(
        default="auto", description="of the offline engine: auto (cuda if there), cpu, cuda:1, ..."
    )
    streams: int = Field(default=128, ge=1, description="requests in flight")
    self_written: Share = Field(
        default=0.35, description="share of prompts that the target writes itself"
    )
    greedy: Share = Field(default=0.6, description="share of answers at temperature 0")
    temperatures: tuple[float, float] = Field(
        default=(0.7, 1.0),
        description="range of the other answers' temperatures (default: [0.7, 1.0])",
    )
    lengths: tuple[int, int] = Field(
        default=(256, 448),
        description="range of the most tokens of an answer (default: [256, 448])",
    )
    held_out: list[Path] = Field(
        default_factory=lambda: [evaluation_prompts()],
        description="JSONL files of evaluation prompts, with commas between; a prompt that shares"
        " 8 words in a row with them is refused; '' for none (default: the built-in ones)",
    )
    seed: int = Field(default=1, description="seed of the prompts and of the mix")

    @field_validator("prompts", "held_out", "categories", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.strip("[]").split(",") if part.strip()]

    @field_validator("categories")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        allowed = (*CATEGORIES, *ON_REQUEST)
        for name in value:
            if name not in allowed:
                raise ValueError(f"{name!r} is unknown; allowed: {', '.join(allowed)}")
        return value

    @field_validator("temperatures", "lengths")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("expected [LOW, HIGH] with 0 < LOW <= HIGH")
        return value
