"""Files from the Hugging Face hub and from addresses; whatever fails is told in one line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from ..cli.errors import UserError, one_line

HOSTS = ("huggingface.co", "raw.githubusercontent.com")
"""Addresses come from data sets, too: files are taken from these hosts only."""
SECONDS = 60.0


class Fetcher(Protocol):
    """Where files come from; a test gives them from a folder."""

    def names(self, repo: str, revision: str) -> list[str]:
        """Every file of a data set on the hub."""

    def hub(self, repo: str, name: str, revision: str) -> Path:
        """One of them, on this disk."""

    def url(self, address: str) -> Path:
        """What lies at an https address, on this disk."""


class Online:
    """The network. What was fetched before is not fetched again; the hub's files resume."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def names(self, repo: str, revision: str) -> list[str]:
        with _told(repo):
            from huggingface_hub import HfApi

            # Not list_repo_files, which tries a dead network for half a minute.
            info = HfApi().dataset_info(repo, revision=revision, timeout=SECONDS)
            return [file.rfilename for file in info.siblings or []]

    def hub(self, repo: str, name: str, revision: str) -> Path:
        with _told(repo):
            from huggingface_hub import hf_hub_download

            return Path(hf_hub_download(repo, name, repo_type="dataset", revision=revision))

    def url(self, address: str) -> Path:
        parts = urlsplit(address)
        if parts.scheme != "https" or parts.hostname not in HOSTS:
            raise UserError(f"{address}: not fetched; only https from {', '.join(HOSTS)}")
        digest = hashlib.sha256(address.encode()).hexdigest()[:16]
        path = self.cache / f"{digest}-{Path(parts.path).name}"
        if not path.is_file():
            with _told(address):
                _download(address, path)
        return path


def _download(address: str, path: Path) -> None:
    import httpx

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with httpx.stream("GET", address, timeout=SECONDS, follow_redirects=True) as answer:
        answer.raise_for_status()
        with part.open("wb") as file:
            for chunk in answer.iter_bytes():
                file.write(chunk)
    os.replace(part, path)


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Make one line of whatever the network, the hub or the disk raises."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{source}: needs {error.name}; run pip install {error.name}") from None
    except Exception as error:  # the hub's and httpx's have no common base of their own
        name = type(error).__name__
        if name == "GatedRepoError":
            raise UserError(
                f"{source}: gated; accept its terms at https://huggingface.co/datasets/{source}"
                " and run hf auth login"
            ) from None
        why = one_line(str(error))[:160]
        raise UserError(
            f"{source}: cannot be fetched ({name}: {why}); this needs a network, try again there"
        ) from None
