"""Servers that already run: their addresses, and the model that they offer."""

from __future__ import annotations

import re

import httpx

from .errors import UserError


def served_model(url: str, asked: str | None = None) -> tuple[str, int | None]:
    """Name and context of the model that a server offers."""
    try:
        answer = httpx.get(f"{url}/v1/models", timeout=10, trust_env=False)
        models = answer.raise_for_status().json()["data"]
        found = {model["id"]: model.get("max_model_len") for model in models}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        raise UserError(
            f"--base-url {url}: no OpenAI-compatible server answers there; start it, or give its"
            " address as http://HOST:PORT"
        ) from None
    if asked is not None and asked not in found:
        raise UserError(f"--model {asked}: the server offers {', '.join(found)}; give one of them")
    if not found:
        raise UserError(f"--base-url {url}: the server offers no model; start it with one")
    name = asked or next(iter(found))
    return name, found[name]


def base_address(text: str) -> str:
    """``http://HOST:PORT`` of what the user gave, with or without ``/v1``."""
    if not re.match(r"https?://[^/\s]+", text):
        raise UserError(f"--base-url {text}: expected http://HOST:PORT")
    return text.rstrip("/").removesuffix("/v1")
