"""The options of a speculative config, checked before any engine loads a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proposers.base import Proposer
from proposers.registry import load_proposer

from .errors import LongSpecError

ENGINE_KEYS = ("method", "model")
DEFAULT_PROPOSER = "glide"


@dataclass(frozen=True)
class LongSpecOptions:
    """What a speculative config says beside ``method``.

    Attributes:
        draft: folder of the draft, or None for a proposer that needs none.
        proposer: registered name or ``package.module:Class``.
        proposer_options: everything else, for instance ``{"tree_shape": [4, 4, 2, 1]}``; the
            proposer itself refuses what it does not know.
    """

    draft: Path | None
    proposer: str
    proposer_options: dict[str, Any]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LongSpecOptions:
        """Read a speculative config; defaults come from the draft's ``config.json``.

        A null takes such a default away.
        """
        draft = _draft_folder(config.get("model"))
        given = {k: v for k, v in config.items() if k not in ENGINE_KEYS and v is not None}
        defaults = {k: v for k, v in _draft_defaults(draft).items() if config.get(k, v) is not None}
        own_proposer = defaults.pop("proposer", DEFAULT_PROPOSER)
        proposer = given.pop("proposer", own_proposer)
        if not isinstance(proposer, str):
            raise LongSpecError(f"proposer={proposer!r}: expected a name such as 'glide'")
        if proposer != own_proposer:
            defaults = {}  # the draft's defaults are meant for its own proposer
        return cls(draft, proposer, {**defaults, **given})

    def build(self) -> Proposer:
        """The proposer, without the target; refuses bad options and bad drafts."""
        try:
            return load_proposer(self.proposer)(self.draft, self.proposer_options)
        except (ValueError, OSError) as error:
            raise LongSpecError(str(error)) from error

    def to_json(self) -> dict[str, Any]:
        """A form that survives the way to the worker processes."""
        return {
            "draft": str(self.draft) if self.draft else None,
            "proposer": self.proposer,
            "proposer_options": self.proposer_options,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LongSpecOptions:
        draft = Path(data["draft"]) if data["draft"] else None
        return cls(draft, data["proposer"], dict(data["proposer_options"]))


def _draft_folder(model: Any) -> Path | None:
    if model is None:
        return None
    if not isinstance(model, str | Path):
        raise LongSpecError(f"draft {model!r}: expected the path of a draft folder")
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise LongSpecError(f"draft {str(model)!r} is not a folder; give the path of a GLIDE draft")
    return folder.resolve()


def _draft_defaults(draft: Path | None) -> dict[str, Any]:
    if draft is None:
        return {}
    path = draft / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise LongSpecError(f"{path} does not exist; a draft folder needs one") from None
    except json.JSONDecodeError as error:
        raise LongSpecError(f"{path} is not valid JSON: {error}") from None
    return dict(config.get("longspec_config") or {})
