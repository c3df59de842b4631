"""One feature folder out of several, which processes or machines made side by side.

    python -m recipes.train.merge --target DIR --out DIR FOLDER...

Each of them took care that no prompt came twice; here a sequence is left out if a folder before its
own has the same prompt, or for the target's own prompts one like it, or if its prompt is too like
one of `--held-out`. Whole shards are linked, or copied to another disk; the others are written
anew. Stopped on the way, it starts over.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from torch import Tensor

from proposers.train.answers.chat import Chat
from proposers.train.answers.filters import Gate
from proposers.train.answers.store import Source
from proposers.train.command import guarded
from proposers.train.features.shards import Index, Shard, load_shard, open_index
from proposers.train.features.writer import DTYPES, Features, Writer
from proposers.train.prompts.overlap import evaluation_prompts, held_out_ngrams

OWN = ("self", "magpie")
"""Categories of prompts that the target wrote: the `answers` command's, and the recipe's."""
Spans = list[tuple[int, int, int]]


class Merger:
    """Writes the folder; counts what was left out."""

    def __init__(self, target: Path, writer: Writer, held_out: Sequence[Path]) -> None:
        self.chat, self.writer = Chat(target), writer
        self.gate = Gate(held_out_ngrams(held_out))

    def add(self, folder: Path, shard: Shard) -> None:
        """Take over what is new of a shard."""
        data = load_shard(folder, shard)
        new = [
            self.gate.admit(_source(category), self.chat.asked(data["tokens"][start:end].tolist()))
            for category, (start, end, _) in zip(shard.categories, _spans(data), strict=True)
        ]
        if all(new):
            self.writer.adopt(folder, shard)
            return
        for fresh, features in zip(new, _sequences(shard, data), strict=True):
            if fresh:
                self.writer.add(features)


def _source(category: str) -> Source:
    return "self" if category in OWN else "composed"


def _spans(data: dict[str, Tensor]) -> Spans:
    """Start of each sequence, end of its prompt, end."""
    offsets, lengths = data["offsets"].tolist(), data["prompt_len"].tolist()
    return [
        (start, start + length, end)
        for start, end, length in zip(offsets[:-1], offsets[1:], lengths, strict=True)
    ]


def _sequences(shard: Shard, data: dict[str, Tensor]) -> Iterator[Features]:
    for i, (start, _, end) in enumerate(_spans(data)):
        yield Features(
            shard.ids[i],
            shard.categories[i],
            data["tokens"][start:end].tolist(),
            int(data["prompt_len"][i]),
            bool(data["greedy"][i]),
            {name: data[name][start:end] for name in DTYPES if name in data},
            int(data["anchor"][i]),
            int(data["shift"][i]),
        )


def merge(target: Path, folders: list[Path], out: Path, held_out: Sequence[Path] = ()) -> Gate:
    """Make the folder ``out``; returns the gate, which counts what it refused.

    Raises:
        ValueError: one line; ``out`` exists, or folders are of different targets or kinds.
    """
    if out.exists():
        raise ValueError(f"{out} is there already; name another folder")
    indices = [open_index(folder) for folder in folders]
    first = indices[0]
    for folder, index in zip(folders, indices, strict=True):
        if _kind(index) != _kind(first):
            raise ValueError(
                f"{folder} was made of {index.target.name} with {index.top} logits,"
                f" {folders[0]} of {first.target.name} with {first.top}; merge folders of one kind"
            )
    pairs = [(f, s) for f, index in zip(folders, indices, strict=True) for s in index.shards]
    partial = out.with_name(f"{out.name}.partial")  # so that what has the name is whole
    shutil.rmtree(partial, ignore_errors=True)
    with Writer(partial, first.target, first.bytes_per_token, first.top) as writer:
        merger = Merger(target, writer, held_out)
        for folder, shard in track(pairs, "shards", console=Console(stderr=True)):
            merger.add(folder, shard)
    partial.rename(out)
    return merger.gate


def _kind(index: Index) -> tuple[str, int]:
    return index.target.config_sha256, index.top


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    options.add_argument("--target", type=Path, required=True, help="folder of the target")
    options.add_argument("--out", type=Path, required=True, help="folder to make")
    options.add_argument(
        "--held-out",
        nargs="*",
        type=Path,
        default=[evaluation_prompts()],
        help="files of evaluation prompts to avoid (the built-in ones)",
    )
    args = options.parse_args(argv)
    return guarded("merge", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    gate = merge(args.target, args.folders, args.out, args.held_out)
    index = open_index(args.out)
    sequences = sum(shard.sequences for shard in index.shards)
    print(f"{sequences:,} sequences, {index.tokens:,} tokens; left out: {dict(gate.refused)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
