"""Writing a feature folder; :mod:`.shards` tells its layout."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..lock import locked
from .shards import INDEX, Index, Shard, Source, held_out, open_index, sha256

DTYPES = {
    "keys": torch.bfloat16,
    "values": torch.bfloat16,
    "hidden": torch.bfloat16,
    "states": torch.bfloat16,
    "top_tokens": torch.int32,
    "top_logits": torch.float16,
    "log_norm": torch.float32,
}


@dataclass(frozen=True)
class Features:
    """One sequence with its rows, as the table of :mod:`.shards` names and shapes them."""

    id: str
    category: str
    tokens: list[int]
    prompt_len: int
    greedy: bool
    rows: Mapping[str, Tensor]
    anchor: int = 0
    shift: int = 0


@dataclass
class Writer:
    """Collects sequences and writes them as shards of about ``shard_tokens`` tokens.

    Goes on in a folder that has an index, after removing shards that the index does not name. One
    writer at a time has a folder. Used with ``with``: what was collected is written at its end.

    Raises:
        ValueError: in one line, if the folder is in use, or was made of another target, with
            another number of top logits or other sizes.
    """

    folder: Path
    target: Source
    bytes_per_token: int
    top: int = 0
    shard_tokens: int = 32_768
    collected: list[Features] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._lock = locked(self.folder / "writer.lock")
        self.index = self._opened()
        self._remove_strays()

    def _opened(self) -> Index:
        wanted = Index(target=self.target, bytes_per_token=self.bytes_per_token, top=self.top)
        if not (self.folder / INDEX).exists():
            if any(self.folder.glob("shard-*")):
                raise ValueError(
                    f"{self.folder} holds shards of another format; name another folder"
                )
            wanted.save(self.folder)  # from now on, shards that it does not name are ours
            return wanted
        found = open_index(self.folder)
        for key in ("config_sha256", "top", "bytes_per_token"):
            here, asked = (getattr(i, key, getattr(i.target, key, None)) for i in (found, wanted))
            if here != asked:
                raise ValueError(
                    f"{self.folder} was made with {key}={here} ({found.target.name}), not {asked}"
                    f" ({self.target.name}); name another folder"
                )
        return found

    def _remove_strays(self) -> None:
        known = {shard.file for shard in self.index.shards}
        for path in self.folder.glob("shard-*.safetensors*"):
            if path.name not in known:
                path.unlink()

    def add(self, features: Features) -> None:
        self.collected.append(features)
        if sum(len(f.tokens) for f in self.collected) >= self.shard_tokens:
            self.flush()

    def flush(self) -> None:
        """Write what was collected as one shard."""
        if not self.collected:
            return
        try:
            self._replace([*self.index.shards, self._written()])
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self.folder}: a shard cannot be written: {error}") from None
        self.collected = []

    def _written(self) -> Shard:
        file = f"shard-{self._next():05d}.safetensors"
        temporary = self.folder / f"{file}.tmp"
        save_file(_tensors(self.collected), temporary)
        temporary.chmod(0o644)  # safetensors makes it readable by its owner alone
        shard = Shard(
            file=file,
            tokens=sum(len(f.tokens) for f in self.collected),
            sequences=len(self.collected),
            sha256=sha256(temporary),
            size=temporary.stat().st_size,
            categories=[f.category for f in self.collected],
            ids=[f.id for f in self.collected],
        )
        temporary.replace(self.folder / file)
        return shard

    def adopt(self, folder: Path, shard: Shard) -> None:
        """Take a whole shard of another folder, linked if it lies on the same disk."""
        file = f"shard-{self._next():05d}.safetensors"
        try:
            (self.folder / file).hardlink_to(folder / shard.file)
        except OSError:
            shutil.copyfile(folder / shard.file, self.folder / file)
        self._replace([*self.index.shards, shard.model_copy(update={"file": file})])

    def drop(self, broken: list[Shard]) -> None:
        """Take shards out of the index; their sequences count as not made."""
        self._replace([shard for shard in self.index.shards if shard not in broken])

    def _replace(self, shards: list[Shard]) -> None:
        self.index = self.index.model_copy(update={"shards": shards})
        self.index.save(self.folder)

    def _next(self) -> int:
        return 1 + max((int(s.file[6:-12]) for s in self.index.shards), default=-1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if kind is None or kind is KeyboardInterrupt:
                self.flush()
        finally:
            self._lock.close()


def _tensors(sequences: list[Features]) -> dict[str, Tensor]:
    lengths = torch.tensor([0, *(len(f.tokens) for f in sequences)])
    tokens = [token for f in sequences for token in f.tokens]
    tensors = {"tokens": _ints(tokens), "offsets": lengths.cumsum(0).int()}
    for name in ("prompt_len", "greedy", "anchor", "shift"):
        tensors[name] = _ints([int(getattr(f, name)) for f in sequences])
    tensors["held_out"] = _ints([int(held_out(f.id)) for f in sequences])
    for name in sequences[0].rows:
        rows = [f.rows[name] for f in sequences]
        tensors[name] = torch.cat(rows).to("cpu", DTYPES[name]).contiguous()
    return tensors


def _ints(values: list[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)
