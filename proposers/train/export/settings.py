"""What `export` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ..recipe import Section


class ExportSettings(Section):
    """Options of `export`; it needs no recipe and, most of the time, no target."""

    section: ClassVar[str] = "export"

    target: Path | None = Field(  # type: ignore[assignment]  # the one command that can do without
        default=None,
        description="directory of the target model: fills the projections that published drafts"
        " carry unused (else zeros), sizes a draft without config.json (default: none)",
    )
    draft: Path | None = Field(default=None, description="draft to read (default: DATA/draft)")
    out: Path | None = Field(
        default=None, description="folder to write (default: DATA/draft-LAYOUT)"
    )
    layout: Literal["longspec", "training", "ours"] = Field(
        default="longspec",
        description="longspec (safetensors, published names), training (draft_model_weights.pth of"
        " LongSpec's training code) or ours",
    )

    def folders(self) -> tuple[Path, Path]:
        """Where to read and where to write.

        Raises:
            ValueError: in one line, where neither an option nor the data folder tells.
        """
        for name in ("draft", "out"):
            if getattr(self, name) is None and self.data is None and self.target is None:
                raise ValueError(f"{name} is missing; give --{name}, or --data or --target")
        return self.place(self.draft, "draft"), self.place(self.out, f"draft-{self.layout}")
