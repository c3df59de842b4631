"""Everything that can be refused before a server starts."""

from __future__ import annotations

import os
import re
import shlex
import ssl
import tempfile
from pathlib import Path

from ..cli.context import positions
from ..cli.errors import UserError
from ..cli.options import Options
from ..records.folder import writing
from ..records.jsontext import an_object, parsed
from ..servers.arms import NAME, Arm
from ..servers.engines import engine_of

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SERVER_FLAGS = ("draft", "tree_shape", "dtype", "max_model_len", "server_args", "port", "trace")


def check(options: Options, arms: list[Arm]) -> None:
    """Raise ``UserError`` on the first option that cannot work."""
    if own := [arm for arm in arms if not arm.urls]:
        _check_own_servers(options, own)
    else:
        _check_running_servers(options)
    _check_certificate(options)
    _check_source(options, bool(own))
    _check_length(options.output_len, context_limit(options))
    _check_writable(options.output_dir)


def _check_own_servers(options: Options, arms: list[Arm]) -> None:
    if options.model is None:
        raise UserError("--model: missing; give the target's folder, or --base-url URL")
    if Path(options.model).exists() or not _HUB_NAME.fullmatch(options.model):
        _check_folder("--model", Path(options.model))
    if options.draft is not None:
        _check_folder("--draft", options.draft)
    if options.tree_shape and not any(arm.ours for arm in arms):
        raise UserError(
            f"--tree-shape {options.tree_shape}: no arm takes it; add longspec or prompt_lookup"
            " to --arms"
        )
    try:
        shlex.split(options.server_args)
    except ValueError as error:
        raise UserError(f"--server-args {options.server_args}: {error}; check quotes") from None
    if options.turn:
        raise UserError(
            f"--turn {options.turn}: the server of arm {arms[0].name} would start again at each"
            f" turn; give {arms[0].name}=URL of one that runs, or leave it out"
        )


def _check_folder(flag: str, folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{flag} {folder}: no such folder; give one that holds config.json")
    if not (folder / "config.json").is_file():
        raise UserError(f"{flag} {folder}: holds no config.json; give the folder that does")


def _check_running_servers(options: Options) -> None:
    extra = [name for name in _SERVER_FLAGS if name in options.model_fields_set]
    if extra:
        flag = "--" + extra[0].replace("_", "-")
        raise UserError(f"{flag}: does not go with servers that run already; leave it out")
    if options.base_url and options.arms is not None and not NAME.fullmatch(str(options.arms)):
        raise UserError(f"--arms {options.arms}: --base-url measures one arm; give one name")


def _check_certificate(options: Options) -> None:
    if options.ca_file is None:
        return
    try:
        ssl.create_default_context(cafile=str(options.ca_file))
    except OSError as error:
        why = "no certificate" if isinstance(error, ssl.SSLError) else os.strerror(error.errno or 0)
        raise UserError(
            f"--ca-file {options.ca_file}: cannot be used ({why}); give a PEM file"
        ) from None


def _check_source(options: Options, own: bool) -> None:
    file, folder = options.metrics_source == "file", options.metrics_file_dir
    if (file or folder) and not engine_of(options.engine).export:
        flag = "--metrics-source file" if file else f"--metrics-file-dir {folder}"
        raise UserError(
            f"{flag}: {options.engine} writes no file of its requests; leave it out, or give"
            " --engine sglang"
        )
    if folder and own:
        raise UserError(
            f"--metrics-file-dir {folder}: only for servers that run already; ours write below"
            " --output-dir, leave it out"
        )
    if file and not own and not folder:
        raise UserError(
            "--metrics-source file: needs the folder that the running server exports to; give"
            " --metrics-file-dir DIR"
        )
    if folder and not (folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
        raise UserError(
            f"--metrics-file-dir {folder}: no folder that can be read; give the one of the server's"
            " --export-metrics-to-file-dir"
        )


def context_limit(options: Options) -> int | None:
    """The context that ``--max-model-len`` or the target's config allows, if known."""
    if options.max_model_len:
        return options.max_model_len
    path = Path(options.model or "") / "config.json"
    if not options.model or not path.is_file():
        return None
    try:
        config = an_object(parsed(path.read_bytes()), "it")
    except (OSError, ValueError):
        raise UserError(f"--model {options.model}: config.json is not JSON; repair it") from None
    return positions(config)


def _check_length(output_len: int, limit: int | None) -> None:
    if limit and output_len >= limit:
        raise UserError(
            f"--output-len {output_len}: the context holds {limit} tokens, prompt included;"
            f" give less than {limit}"
        )


def _check_writable(folder: Path) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
