"""What every reader returns."""

from __future__ import annotations

from pydantic import BaseModel


class Prompt(BaseModel):
    """A prompt: the user's turns of one conversation; the answers are the model's own.

    Attributes:
        system: what is said to the model before the first turn.
        sub_category: a finer category, where the data set has one.
        entropy: of SPEED-Bench's throughput splits: low_entropy, mixed or high_entropy.
    """

    prompt_id: str
    category: str
    turns: list[str]
    system: str | None = None
    sub_category: str | None = None
    entropy: str | None = None
