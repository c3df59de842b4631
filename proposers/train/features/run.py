"""One pass of the frozen target over its answers: what a draft will read of it, kept on disk.

    python -m proposers.train features --target MODEL

Reads DATA/answers/answers.jsonl and writes DATA/features: keys and values of the target's last
layer, the hidden state after its final norm, and its greatest logits, for each token. Says how
much space that takes before it starts. Run it again to go on after a stop, or when there are more
answers; training may follow the folder while it grows.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from ...glide.config import TargetConfig
from ..command import run_command
from ..progress import say, shown
from .answers import Limits, Sequence, Work, batches, read_answers
from .forward import Target, pick, read_config
from .settings import FeaturesSettings
from .shards import Source, bytes_per_token, is_whole, open_index
from .writer import Features, Writer

NAME = "features"

POOL = 256
"""Sequences that are sorted by length for a batch."""
CHECKED = 16
"""Sequences whose loss at moved positions is compared with that at plain ones."""
GIB = 2**30


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(FeaturesSettings, work, argv, __doc__)


def work(options: FeaturesSettings) -> None:
    """Make the features that are missing, or check those that are there."""
    folder = options.place(options.out, "features")
    if options.verify:
        verify(folder)
        return
    config = read_config(options.target, options.target_name)
    device, dtype = pick(options.device, options.dtype)
    if options.threads:
        torch.set_num_threads(options.threads)
    limits = _limits(options, config)
    size = bytes_per_token(
        config.num_key_value_heads, config.head_dim, config.hidden_size, options.top
    )
    source = Source.of(options.target, options.target_name)
    with Writer(folder, source, size, options.top, options.shard_tokens) as writer:
        path = options.answers or options.place(None, "answers") / "answers.jsonl"
        todo = read_answers(path, writer.index.ids, limits)
        announce(todo, writer)
        if todo.sequences:
            target = Target.load(options.target, device, dtype, options.chunk)
            say(NAME, f"the target computes in {str(dtype).removeprefix('torch.')} on {device}")
            check_offsets(target, todo.sequences)
            make(target, todo, writer, options)
    say(NAME, f"{writer.index.tokens:,} tokens in {len(writer.index.shards)} shards in {folder}")


def _limits(options: FeaturesSettings, config: TargetConfig) -> Limits:
    """What the target allows, or less.

    Raises:
        ValueError: in one line, for an option above it.
    """
    longest = config.positions
    for name, most in (
        ("top", config.vocab_size),
        ("max_len", longest),
        ("anchor_limit", longest),
    ):
        if (getattr(options, name) or 0) > most:
            raise ValueError(f"{name}={getattr(options, name)}; the target allows at most {most}")
    return Limits(
        length=options.max_len or longest,
        vocabulary=config.vocab_size,
        offset=options.anchor_offset,
        position=options.anchor_limit or longest,
    )


def announce(todo: Work, writer: Writer) -> None:
    """Say what will be made and how much space it takes.

    Raises:
        ValueError: in one line, if the disk has no room for it.
    """
    need, free = todo.tokens * writer.bytes_per_token, shutil.disk_usage(writer.folder).free
    done = sum(shard.sequences for shard in writer.index.shards)
    say(
        NAME,
        f"{len(todo.sequences):,} sequences ({done:,} more are done), {todo.tokens:,} tokens of"
        f" {writer.bytes_per_token:,} bytes = {need / GIB:.2f} GiB; free: {free / GIB:.2f} GiB",
    )
    if todo.cut or todo.dropped:
        say(
            NAME, f"{todo.cut:,} too long ones are cut, {todo.dropped:,} without an answer left out"
        )
    if need > free:
        raise ValueError(
            f"out={writer.folder}: {need / GIB:.2f} GiB are needed, {free / GIB:.2f} GiB are free;"
            " make room, name another --out, or keep fewer logits (--top)"
        )


def check_offsets(target: Target, sequences: list[Sequence]) -> None:
    """Say how the target's own loss moves when its positions do: it should hardly."""
    moved = [s for s in sequences if s.shift][:CHECKED]
    if not moved:
        return
    plain, offset = (_mean_loss(target, moved, plain) for plain in (True, False))
    say(
        NAME,
        f"anchor offsets: the target's loss is {plain:.4f} nats per token at plain positions,"
        f" {offset:.4f} at moved ones ({len(moved)} sequences)",
    )
    if abs(offset - plain) > 0.05 * plain:
        say(
            NAME,
            f"warning: moving positions moves the loss by {offset / plain - 1:+.1%};"
            " lower --anchor-limit",
        )


def _mean_loss(target: Target, sequences: list[Sequence], plain: bool) -> float:
    parts = [target.loss(s, plain) for s in sequences]
    return sum(total for total, _ in parts) / sum(count for _, count in parts)


def make(target: Target, todo: Work, writer: Writer, options: FeaturesSettings) -> None:
    """Read all sequences and write their features."""
    done, start = 0, time.monotonic()
    with shown(NAME, todo.tokens) as advance:
        for batch in batches(todo.sequences, options.batch_tokens, POOL):
            rows = target.rows(batch)
            if options.top:
                first = [max(0, s.prompt_len - options.head_from) for s in batch]
                tops = target.top([r["hidden"] for r in rows], first, options.top)
                rows = [{**row, **top} for row, top in zip(rows, tops, strict=True)]
            for s, row in zip(batch, rows, strict=True):
                writer.add(_features(s, row))
                done += len(s.tokens)
                rate = done / max(time.monotonic() - start, 1e-9)
                advance(done, f"{done:,} / {todo.tokens:,} tokens, {rate:,.0f}/s")


def _features(s: Sequence, rows: dict[str, torch.Tensor]) -> Features:
    # a copy: a view would keep the whole padded batch alive
    kept = {name: row.to("cpu", copy=True) for name, row in rows.items()}
    about = (s.id, s.category, list(s.tokens), s.prompt_len, s.greedy)
    return Features(*about, rows=kept, anchor=s.anchor, shift=s.shift)


def verify(folder: Path) -> None:
    """Check all checksums; shards that are broken leave the index.

    Raises:
        ValueError: in one line, if any was broken.
    """
    index = open_index(folder)
    with Writer(folder, index.target, index.bytes_per_token, index.top) as writer:
        every = track(index.shards, "verify", console=Console(stderr=True))
        broken = [shard for shard in every if not is_whole(folder, shard)]
        for shard in broken:
            say(
                NAME,
                f"{folder / shard.file} is broken: {shard.tokens:,} tokens are to be made again",
            )
        writer.drop(broken)
    if broken:
        raise ValueError(
            f"{len(broken)} of {len(index.shards)} shards in {folder} were broken and left the"
            " index; run the command without --verify to make them again"
        )
    say(NAME, f"all {len(index.shards)} shards in {folder} are whole")
