"""A recipe: one YAML file that holds every choice of the way from a target to its draft.

Keys at the top (``target``, ``name``, ``data``) are shared; a section for each command
(``answers:``, ``features:``, ``train:``, ``evaluate:``) holds the rest. A command line option
wins over the file, the file over the default. Only ``target`` has no default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..hub import model_folder

SHARED = ("target", "name", "data")
MODELS = ("target", "draft", "init")
"""Keys that take a folder, or a name on the Hugging Face hub."""


class Section(BaseModel):
    """What every command is told; each command adds its own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    section: ClassVar[str]

    target: Path = Field(description="directory of the target model, or its name on the hub")
    name: str = Field(default="", description="name of the target (default: its directory's name)")
    data: Path | None = Field(
        default=None, description="folder of all that is made (default: data/NAME)"
    )

    @property
    def target_name(self) -> str:
        return self.name or self.target.resolve().name

    def place(self, chosen: Path | None, name: str) -> Path:
        """``chosen``, or ``name`` in the data folder."""
        return chosen or (self.data or Path("data") / self.target_name) / name

    @classmethod
    def read(cls, recipe: Path | None, options: dict[str, Any]) -> Self:
        """From a recipe file and options over it.

        Raises:
            ValueError: one line that names the key, its value and what is allowed.
        """
        data = _of_file(recipe, cls.section) if recipe is not None else {}
        try:
            return cls.model_validate(_located({**data, **options}))
        except ValidationError as error:
            raise ValueError(_one_line(error, list(cls.model_fields))) from None


def _located(given: dict[str, Any]) -> dict[str, Any]:
    """Names on the hub made folders; a target's stays its name."""
    named = {key: given[key] for key in MODELS if isinstance(given.get(key), str | Path)}
    found: dict[str, Any] = {key: model_folder(path) for key, path in named.items()}
    if "target" in found and found["target"] != Path(named["target"]).expanduser():
        found["name"] = given.get("name") or Path(named["target"]).name
    return {**given, **found}


def _of_file(path: Path, section: str) -> dict[str, Any]:
    try:
        whole = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; name a recipe file") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    allowed = (*SHARED, *SECTIONS)
    if not isinstance(whole, dict) or set(whole) - set(allowed):
        unknown = sorted(set(whole) - set(allowed))[0] if isinstance(whole, dict) else whole
        raise ValueError(f"{path}: {unknown!r} is unknown; allowed: {', '.join(allowed)}")
    own = whole.get(section) or {}
    if not isinstance(own, dict):
        raise ValueError(f"{path}: {section}: {own!r}: expected keys and values")
    return {**{key: whole[key] for key in SHARED if key in whole}, **own}


SECTIONS = ("answers", "features", "train", "evaluate")


def _one_line(error: ValidationError, allowed: list[str]) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{key} is missing; give --{key.replace('_', '-')} or write it into the recipe"
    if first["type"] == "extra_forbidden":
        return f"{key}={first['input']!r} is unknown; allowed: {', '.join(allowed)}"
    return f"{key}={first['input']!r}: {first['msg'].removeprefix('Value error, ')}"
