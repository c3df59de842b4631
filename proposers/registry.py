"""Finding a proposer by name, by entry point or by dotted path."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from .base import Proposer

BUILTIN = {
    "glide": "proposers.glide.proposer:GlideProposer",
    "glide_lookup": "proposers.glide_lookup:GlideLookupProposer",
    "prompt_lookup": "proposers.prompt_lookup:PromptLookupProposer",
}
ENTRY_POINT_GROUP = "longspec.proposers"


def available() -> dict[str, str]:
    """Names and ``module:Class`` paths of built-in and installed proposers."""
    installed = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return {**installed, **BUILTIN}


def load_proposer(name: str) -> type[Proposer]:
    """The proposer class called ``name``, or at the dotted path ``package.module:Class``.

    Raises:
        ValueError: in one line that names the value, what is allowed and the fix.
    """
    path = available().get(name, name)
    module_name, colon, class_name = path.partition(":")
    if not colon:
        raise ValueError(
            f"proposer={name!r} is unknown; allowed: {', '.join(sorted(available()))}"
            " or a path 'package.module:Class'"
        )
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"proposer={name!r} cannot be imported: {error}") from error
    methods = ("propose", "bind", "start")
    if missing := [method for method in methods if not hasattr(found, method)]:
        raise ValueError(
            f"proposer={name!r} lacks {', '.join(missing)}; derive it from proposers.base.Proposer"
        )
    return found
