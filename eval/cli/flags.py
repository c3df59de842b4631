"""What every command line of `eval` has alike."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pydantic import BaseModel

from .errors import UserError


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as ``UserError``."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')}; see --help")


def flag(name: str) -> str:
    """``--num-prompts`` of ``num_prompts``."""
    return "--" + name.replace("_", "-")


def allowed(options: type[BaseModel], name: str) -> str | None:
    """What a field says is allowed, for errors."""
    extra = options.model_fields[name].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) and extra.get("allowed") else None
