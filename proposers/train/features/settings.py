"""What the features command can be told: keys of a recipe and command line options alike."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ..recipe import Section


class FeaturesSettings(Section):
    """Settings of one pass of the target over its answers."""

    section: ClassVar[str] = "features"

    answers: Path | None = Field(
        default=None, description="answers to read (default: DATA/answers/answers.jsonl)"
    )
    out: Path | None = Field(
        default=None, description="folder of the features (default: DATA/features)"
    )
    top: int = Field(
        default=16, ge=0, description="greatest logits kept for each token; 0 keeps none"
    )
    head_from: int = Field(
        default=32,
        ge=0,
        description="last prompt tokens whose logits are kept too; those of the answer always are",
    )
    max_len: int | None = Field(
        default=None, ge=2, description="cut longer sequences (default: the target's limit)"
    )
    batch_tokens: int = Field(default=4096, ge=1, description="padded tokens in a forward")
    chunk: int = Field(default=1024, ge=1, description="tokens of a sequence read at a time")
    anchor_offset: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the sequences read at anchor-offset positions (LongSpec, 3.2)",
    )
    anchor_limit: int | None = Field(
        default=None, ge=1, description="positions they stay below (default: the target's limit)"
    )
    shard_tokens: int = Field(default=32_768, ge=1, description="tokens in a shard")
    device: str = Field(default="auto", description="auto (cuda if there), cpu, cuda, cuda:1, ...")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="auto is bfloat16 where the device computes in it, else float32"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 leaves it to torch")
    verify: bool = Field(
        default=False, description="only check the checksums of all shards; broken ones are dropped"
    )
