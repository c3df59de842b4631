"""Addresses of servers, ours and others, and the model that a server offers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from ..cli.errors import UserError
from ..records.jsontext import an_object, parsed
from .engines import HOST
from .http import BROKE_OFF, REFUSED, Address, why

KEY = "OPENAI_API_KEY"
_ADVICE = {
    REFUSED: "; start the server, or give its address as http://HOST:PORT",
    BROKE_OFF: "; is it https://?",
}


def foreign(url: str, told: str, certificate: Path | None) -> Address:
    """The address of a server that the user names; the key is in the environment."""
    return Address(url, told, os.environ.get(KEY) or None, certificate)


def own(line: Sequence[str], env: Mapping[str, str], port: int) -> Address:
    """The address of a server of ours, by the flags it is started with.

    Both engines call them ``--api-key`` and ``--ssl-certfile``.
    """
    key = _flag(line, "--api-key") or env.get("VLLM_API_KEY") or env.get(KEY)
    certificate = _flag(line, "--ssl-certfile")
    scheme, path = ("https", Path(certificate)) if certificate else ("http", None)
    told = f"its server at {scheme}://{HOST}:{port}"
    return Address(f"{scheme}://{HOST}:{port}", told, key or None, path, pinned=bool(path))


def _flag(line: Sequence[str], name: str) -> str | None:
    """The value of a flag, ``--flag VALUE`` or ``--flag=VALUE``; the last of a kind counts."""
    found = None
    for word, following in zip(line, [*line[1:], ""], strict=False):
        flag, tied, value = word.partition("=")
        if flag.replace("_", "-") == name:
            found = value if tied else following
    return found


class Offered(NamedTuple):
    """A model of a server: its name, its context in tokens, and where it was loaded from."""

    name: str
    context: int | None
    root: str | None


def served_model(address: Address, asked: str | None = None) -> Offered:
    """The model of that name, or the first that a server offers.

    Raises:
        UserError: names what the user gave, and why no model could be had there.
    """
    found = _models(address)
    if asked is not None and asked not in found:
        raise UserError(f"--model {asked}: the server offers {', '.join(found)}; give one of them")
    if not found:
        raise UserError(f"{address.told}: the server offers no model; start it with one")
    return found[asked or next(iter(found))]


def _models(address: Address) -> dict[str, Offered]:
    try:
        with address.client() as client:
            answer = client.get("/v1/models").raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:
        # The last two: a key that no header can hold, a proxy that httpx has no means for.
        reason = why(error)
        raise UserError(f"{address.told}: {reason}{_ADVICE.get(reason, '')}") from None
    try:
        listed = an_object(parsed(answer.content), "the answer")["data"]
        return {model["id"]: _offered(model) for model in listed}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{address.told}: what answers at /v1/models does not speak OpenAI's protocol; give the"
            " address of a server that does, as http://HOST:PORT"
        ) from None


def _offered(model: dict[str, object]) -> Offered:
    name, context, root = model["id"], model.get("max_model_len"), model.get("root")
    if not isinstance(name, str):
        raise TypeError(name)
    known = context if isinstance(context, int) and context > 0 else None
    return Offered(name, known, root if isinstance(root, str) else None)


def base_address(text: str, flag: str) -> str:
    """``http://HOST:PORT`` of what the user gave as ``flag``, with or without ``/v1``."""
    if not re.match(r"https?://[^/\s]+", text):
        raise UserError(f"{flag}{text}: expected http://HOST:PORT")
    return text.rstrip("/").removesuffix("/v1")
