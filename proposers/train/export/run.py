"""A draft in the layout of the published LongSpec checkpoints, or one of those in ours.

    python -m proposers.train export --draft DRAFT --out FOLDER --target MODEL
    python -m proposers.train export --draft PUBLISHED --out FOLDER --layout ours

Without --draft it is that of the data folder (DATA/draft).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from torch import Tensor

from ...glide.checkpoint import FILES, PREFIX, load_glide, save_glide, write_weights
from ...glide.config import GlideConfig
from ...rotary import RotaryConfig
from ..command import run_command
from ..target import TargetWeights
from .layout import check_publishable, published_config, published_state, read_target
from .settings import ExportSettings

WEIGHTS = {"ours": FILES[0], "longspec": FILES[0], "training": FILES[1]}
"""The file of weights of each layout."""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(ExportSettings, export, argv, __doc__)


def export(settings: ExportSettings) -> None:
    """Read, rename, write.

    Raises:
        ValueError: in one line, for a draft that the layout cannot hold or a folder in the way.
    """
    source, out = settings.folders()
    _check_out(source, out, settings.layout)
    target = read_target(settings.target)
    assumed = None if target is None else GlideConfig.published(target.config, source)
    config, state = load_glide(source, dtype=None, assumed=assumed)
    if settings.layout == "ours":
        save_glide(out, _named(_settled(config), settings), state)
    else:
        check_publishable(config)
        _publish(out, settings.layout, config, published_state(config, state, target), target)
    print(f"wrote {out} ({settings.layout})", file=sys.stderr)


def _publish(
    out: Path,
    layout: str,
    config: GlideConfig,
    state: dict[str, Tensor],
    target: TargetWeights | None,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    prefix = PREFIX if layout == "training" else ""
    write_weights(out / WEIGHTS[layout], {prefix + name: part for name, part in state.items()})
    text = json.dumps(published_config(config, target), indent=2) + "\n"
    (out / "config.json").write_text(text)


def _check_out(source: Path, out: Path, layout: str) -> None:
    if out.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise ValueError(f"out={out} is the draft itself; choose another --out")
    others = [name for name in FILES if name != WEIGHTS[layout] and (out / name).exists()]
    if others:  # whoever opens the folder would read those
        raise ValueError(f"out={out} holds {others[0]} already; choose another --out")


def _settled(config: GlideConfig) -> GlideConfig:
    """What a published ``config.json`` tells of a rotary embedding becomes the draft's own; where
    it tells nothing, it stays the served target's."""
    told = config.target.rope != RotaryConfig()
    return config.model_copy(update={"served_rope": config.served_rope and not told})


def _named(config: GlideConfig, settings: ExportSettings) -> GlideConfig:
    """Published configs do not tell the target's name; the options may."""
    name = settings.name or (settings.target.resolve().name if settings.target else "")
    if not name:
        return config
    return config.model_copy(update={"target": config.target.model_copy(update={"name": name})})
