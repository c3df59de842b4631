"""What the measurements share: the default model and draft, prompts, tables and files."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor
from transformers import AutoTokenizer

from proposers import GlideModel, load_glide_model

ROOT = Path(__file__).resolve().parents[2]
DRAFT = ROOT / "recipes" / "smollm2-135m-instruct" / "draft"
BUILTIN = ROOT / "eval" / "data" / "builtin.jsonl"
VARIANTS = ("{}", "Answer in one sentence. {}", "{} Give three reasons.", "{} Write it as a list.")


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults and leaves the description as it is."""


def parser(description: str | None, output: str) -> argparse.ArgumentParser:
    """Options that every measurement has."""
    made = argparse.ArgumentParser(description=description, formatter_class=Help)
    made.add_argument("--model", type=Path, help="folder of the target; none: the default target")
    made.add_argument("--draft", type=Path, default=DRAFT, help="folder of the draft")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help=" ")
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    made.add_argument("--output-dir", type=Path, default=ROOT / "results" / output, help=" ")
    return made


def default_target() -> Path:
    """The embedded default, prepared when it is not there yet."""
    sys.path.insert(0, str(ROOT))
    from recipes.setup.target import prepare

    return prepare()


def load(args: argparse.Namespace, dtype: torch.dtype, draft: Path | None = None) -> GlideModel:
    torch.set_num_threads(args.threads)
    target = args.model or default_target()
    return load_glide_model(target, draft or args.draft, device=args.device, dtype=dtype)


def chat_prompts(target: Path, count: int) -> list[list[int]]:
    """Token ids of ``count`` different prompts: built-in ones, then variants of them.

    Of the built-in ones the first six of each category, which the published figures are of.
    """
    rows = [json.loads(line) for line in BUILTIN.read_text().splitlines()]
    questions = [r["turns"][0] for r in rows if int(r["question_id"].rpartition("-")[2]) <= 6]
    texts = [variant.format(question) for variant in VARIANTS for question in questions]
    tokenizer = AutoTokenizer.from_pretrained(target)
    return [_encode(tokenizer, text) for text in texts[:count]]


def _encode(tokenizer: Any, text: str) -> list[int]:
    message = [{"role": "user", "content": text}]
    encoded = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
    ids: list[int] = encoded["input_ids"]
    return ids


def padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, list[int]]:
    """Right-padded ids ``[B, L]`` and the lengths."""
    lengths = [len(prompt) for prompt in prompts]
    rows = [list(prompt) + [0] * (max(lengths) - len(prompt)) for prompt in prompts]
    return torch.tensor(rows), lengths


def batches(prompts: Sequence[list[int]], size: int) -> list[list[list[int]]]:
    return [list(prompts[i : i + size]) for i in range(0, len(prompts), size)]


def progress() -> Progress:
    """A bar with an estimate of what is left, on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(f"{x:.2f}" if isinstance(x, float) else str(x) for x in row))
    Console().print(table)


def save(folder: Path, name: str, result: dict[str, Any]) -> Path:
    """``name.json`` with where it was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    cuda = torch.cuda.is_available()
    where = {
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if cuda else platform.processor(),
        "threads": torch.get_num_threads(),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"where": where, **result}, indent=2) + "\n")
    print(f"saved {path}", file=sys.stderr)
    return path
