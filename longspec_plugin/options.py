"""The options of a speculative config, checked before any engine loads a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proposers.base import Proposer
from proposers.hub import model_folder
from proposers.load.schedule import KEY, NodeSchedule
from proposers.registry import load_proposer

from .errors import LongSpecError

ENGINE_KEYS = ("method", "model")
FOLLOW = "follow_load"
FEW_ROWS = "few_rows"
DEFAULT_PROPOSER = "glide"


@dataclass(frozen=True)
class LongSpecOptions:
    """What a speculative config says beside ``method``.

    Attributes:
        draft: folder of the draft, or None for a proposer that needs none.
        proposer: registered name or ``package.module:Class``.
        proposer_options: everything else, for instance ``{"tree_shape": [4, 4, 2, 1]}``; the
            proposer itself refuses what it does not know.
        schedule: the most nodes of a tree by batch size, told by hand.
        follow_load: whether they are chosen by what steps cost and trees yield; None where the
            engine can and no schedule is given.
        few_rows: whether the target's matrix products are our kernel's; None where it is quicker.
    """

    draft: Path | None
    proposer: str
    proposer_options: dict[str, Any]
    schedule: NodeSchedule | None = None
    follow_load: bool | None = None
    few_rows: bool | None = None

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
        options = {**defaults, **given}
        few = _flag(FEW_ROWS, options.pop(FEW_ROWS, None))
        schedule, follow = _load(options.pop(KEY, None), options.pop(FOLLOW, None))
        return cls(draft, proposer, options, schedule, follow, few)

    def build(self) -> Proposer:
        """The proposer, without the target; refuses bad options and bad drafts."""
        try:
            proposer = load_proposer(self.proposer)(self.draft, self.proposer_options)
            if self.schedule is not None:
                self.schedule.check(proposer.max_nodes)
            return proposer
        except (ValueError, OSError) as error:
            raise LongSpecError(str(error)) from error

    def to_json(self) -> dict[str, Any]:
        """A form that survives the way to the worker processes."""
        return {
            "draft": str(self.draft) if self.draft else None,
            "proposer": self.proposer,
            "proposer_options": self.proposer_options,
            "schedule": self.schedule.to_json() if self.schedule else None,
            "follow_load": self.follow_load,
            "few_rows": self.few_rows,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LongSpecOptions:
        draft = Path(data["draft"]) if data["draft"] else None
        schedule, follow = _load(data["schedule"], data["follow_load"])
        options, few = dict(data["proposer_options"]), data["few_rows"]
        return cls(draft, data["proposer"], options, schedule, follow, few)


def _flag(name: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise LongSpecError(f"{name}={value!r}: allowed are true and false")
    return value


def _load(schedule: Any, follow: Any) -> tuple[NodeSchedule | None, bool | None]:
    """The two options of trees that follow the load, checked."""
    follow = _flag(FOLLOW, follow)
    if schedule is None:
        return None, follow
    if follow:
        raise LongSpecError(f"{FOLLOW}=true and {KEY} exclude each other; leave one out")
    try:
        return NodeSchedule.read(schedule), False
    except ValueError as error:
        raise LongSpecError(str(error)) from error


def _draft_folder(model: Any) -> Path | None:
    if model is None:
        return None
    if not isinstance(model, str | Path):
        raise LongSpecError(f"draft {model!r}: expected the path of a draft folder")
    try:
        folder = model_folder(model)
    except ValueError as error:
        raise LongSpecError(f"draft {error}") from error
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
