"""The feature folder: shards of tensors, and an index that says which of them count.

``index.json`` names the target, the bytes per token, and every whole shard with its size and
checksum; it is replaced atomically after a shard was renamed into place, so a folder is whole
after kill -9 and may be read while it grows. Files that the index does not name do not count.

A shard (safetensors) holds S sequences laid end to end, T tokens in all:

======================= ==================== ======================================================
``tokens``              ``[T]`` int32        prompt and answer
``offsets``             ``[S + 1]`` int32    where sequences begin and end
``prompt_len``          ``[S]`` int32        tokens of the prompt
``greedy``              ``[S]`` int32        1 = answered at temperature 0
``held_out``            ``[S]`` int32        1 = never trained on, see :func:`held_out`
``anchor``, ``shift``   ``[S]`` int32        token i is at position ``i + shift * (i >= anchor)``
``keys``, ``values``    ``[T, kv_heads, d]`` the target's last layer, keys rotated, bfloat16
``hidden``              ``[T, H]`` bfloat16  after the target's final norm
``states``              ``[T, 3H]`` bfloat16 before three layers, for EAGLE-3; missing elsewhere
``top_tokens``          ``[T, k]`` int32     the k likeliest next tokens; missing when k = 0
``top_logits``          ``[T, k]`` float16   their logits, falling
``log_norm``            ``[T]`` float32      logsumexp of all logits
======================= ==================== ======================================================

Row t is the state after token t: its logits predict token t + 1. A sequence's last row may be zero
(the recipe that answers and records in one pass never feeds the last token), so do not read it.
``log_norm`` is 0 in rows whose logits were not computed (early rows of a prompt).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

KEEP = 24
"""One sequence in this many is never trained on."""
INDEX = "index.json"


def drawn(name: str, what: str) -> float:
    """A number in 0..1 for a sequence's id and a purpose: the same in every run."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=what.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def held_out(name: str) -> bool:
    """Whether the sequence of this id is never trained on."""
    return drawn(name, "held out") < 1 / KEEP


class Source(BaseModel):
    """The target whose features these are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    config_sha256: str

    @classmethod
    def of(cls, folder: Path, name: str) -> Source:
        """Of a target's directory."""
        text = (folder / "config.json").read_bytes()
        return cls(name=name, config_sha256=hashlib.sha256(text).hexdigest())


class Shard(BaseModel):
    """One whole shard: file name, tokens, bytes, SHA-256; category and id of each sequence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    tokens: int
    sequences: int
    sha256: str
    size: int
    categories: list[str]
    ids: list[str]


class Index(BaseModel):
    """Contents of a feature folder; ``top`` is k, the number of logits kept for each token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    target: Source
    bytes_per_token: int
    top: int
    shards: list[Shard] = []

    @property
    def tokens(self) -> int:
        return sum(shard.tokens for shard in self.shards)

    @property
    def ids(self) -> set[str]:
        return {name for shard in self.shards for name in shard.ids}

    def save(self, folder: Path) -> None:
        """Replace the folder's index in one move."""
        temporary = folder / f"{INDEX}.tmp"
        temporary.write_text(self.model_dump_json() + "\n")
        temporary.replace(folder / INDEX)


def open_index(folder: Path) -> Index:
    """The index of a feature folder.

    Raises:
        ValueError: in one line, if there is none or it is of another format.
    """
    path = folder / INDEX
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{folder} holds no {INDEX}; make features first: python -m proposers.train features"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict) or data.get("format") != 2:
        found = data.get("format") if isinstance(data, dict) else None
        raise ValueError(f"{path}: format={found!r}; allowed: 2; make the features again")
    try:
        return Index.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {key}: {first['msg']}; make the features again") from None


def load_shard(folder: Path, shard: Shard) -> dict[str, Tensor]:
    """Tensors of one shard, mapped into memory, not read.

    Raises:
        ValueError: in one line, if the file is missing, shorter or longer than the index says, or
            no safetensors file.
    """
    path = folder / shard.file
    size = path.stat().st_size if path.exists() else 0
    if size != shard.size:
        raise ValueError(f"{path} holds {size} bytes, the index says {shard.size}; {REPAIR}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {REPAIR}") from None


REPAIR = "run python -m proposers.train features with --verify, then again without"


def is_whole(folder: Path, shard: Shard) -> bool:
    """Whether the shard's file has the checksum that the index says."""
    path = folder / shard.file
    if not path.exists() or path.stat().st_size != shard.size:
        return False
    return sha256(path) == shard.sha256


def bytes_per_token(kv_heads: int, head_dim: int, hidden_size: int, top: int) -> int:
    """Disk space of one token: its id, keys, values, hidden state and top logits."""
    return 4 + 4 * kv_heads * head_dim + 2 * hidden_size + (6 * top + 4 if top else 0)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
