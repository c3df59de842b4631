"""The command line that both evaluations share; nothing here is slow to import."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..cli.errors import UserError
from ..cli.flags import Parser

METHODS = ("tree", "seq", "vanilla")
DTYPES = ("float32", "bfloat16", "float16")
WHERE = "a folder, or a name on the Hugging Face hub"
TREE_SHAPE = (4, 16, 16, 16, 16)
DEFINITIONS = """definitions:
  tokens   generated tokens, up to and including the end-of-sequence token
  s        seconds of decoding, prefill apart
  tok/s    tokens / s
  accept   acceptance length 1 + accepted / steps; a step is a target forward after prefill,
           accepted are drafted tokens that the target took
  rate     acceptance rate accepted / drafted; drafted counts every node of the tree, or the
           chain; beside it accepted / (steps x depth), the rate along the path
The first sample warms up and counts in no speed or acceptance number. The same command goes on
where an earlier one stopped."""


@dataclass(frozen=True)
class Options:
    """What both commands take, checked one by one; ``check`` looks at them together."""

    method: str
    model: Path
    draft: Path | None
    data_path: str
    max_gen_len: int
    temperature: float
    seed: int
    tree_shape: tuple[int, ...]
    gamma: int
    max_prompt_len: int | None
    device: str | None
    dtype: str | None
    output_dir: Path
    log: Path | None
    overwrite: bool

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """From a parser's values, those of one command left out."""
        options = cls(**{field.name: given[field.name] for field in fields(cls)})
        if options.method == "vanilla" and options.temperature:
            raise UserError(
                f"--temperature {options.temperature:g}: vanilla is greedy; give 0, or --method seq"
            )
        if options.method != "vanilla" and options.draft is None:
            raise UserError(
                f"--draft: missing, but --method {options.method} needs one; give it, or"
                " --method vanilla"
            )
        return options

    @property
    def nodes(self) -> int | None:
        """Drafted tokens of a step; None for vanilla."""
        return {"tree": sum(self.tree_shape), "seq": self.gamma}.get(self.method)

    @property
    def depth(self) -> int | None:
        """Drafted tokens along the longest path; None for vanilla."""
        return {"tree": len(self.tree_shape), "seq": self.gamma}.get(self.method)

    def settings(self) -> dict[str, Any]:
        """What the generated tokens depend on; None where the method does not use it."""
        return {
            "method": self.method,
            "model": named(self.model),
            "draft": named(self.draft) if self.draft and self.method != "vanilla" else None,
            "max_gen_len": self.max_gen_len,
            "temperature": self.temperature,
            "seed": self.seed if self.temperature else None,
            "tree_shape": list(self.tree_shape) if self.method == "tree" else None,
            "gamma": self.gamma if self.method == "seq" else None,
            "dtype": self.dtype or "the target's own",
        }


def named(path: Path) -> str:
    """An absolute path, or a name on the hub as it is."""
    return str(path.resolve() if path.exists() else path)


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number of at least ``least``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least {least}")
        return value

    return read


def temperature(text: str) -> float:
    """Reads 0 or a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 (greedy) or a positive number")
    return value


def tree_shape(text: str) -> tuple[int, ...]:
    """Reads ``[4,16,16]``, also without the brackets; the engine knows the limits."""
    try:
        shape = json.loads(f"[{text.strip().removeprefix('[').removesuffix(']')}]")
    except ValueError:
        shape = []
    if not shape or not all(type(width) is int and width > 0 for width in shape):
        raise argparse.ArgumentTypeError(
            f'{text}: expected the nodes of each level, such as "[4,16,16,16,16]"'
        )
    return tuple(shape)


def parser(command: str, about: str, max_gen_len: int, output_dir: str) -> Parser:
    """The parser with the options of both commands, in the order of ``--help``."""
    made = Parser(
        prog=f"python -m eval.{command}",
        description=about,
        epilog=DEFINITIONS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _what(made)
    _how(made, max_gen_len)
    _where(made, output_dir)
    return made


def _shown(text: str) -> str:
    return f"{text} (default: %(default)s)"


def _what(made: Parser) -> None:
    add = made.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help=f"the target: {WHERE}")
    text = f"its GLIDE draft: {WHERE}; vanilla needs none"
    add("--draft", type=Path, metavar="DIR", help=text)
    add(
        "--data-path",
        default="sample",
        metavar="PATH",
        help=_shown("folder or JSONL file of the data; sample is the small built-in set"),
    )


def _how(made: Parser, max_gen_len: int) -> None:
    add, one = made.add_argument, whole(1)
    text = "draft trees, draft chains, or the target alone"
    add("--method", choices=METHODS, default="tree", help=_shown(text))
    text = "tree: nodes of each level"
    shape = "[" + ",".join(map(str, TREE_SHAPE)) + "]"
    add("--tree-shape", type=tree_shape, default=shape, metavar="SHAPE", help=_shown(text))
    add("--gamma", type=one, default=4, metavar="N", help=_shown("seq: tokens drafted a step"))
    text = "tokens to generate at most"
    add("--max-gen-len", type=one, default=max_gen_len, metavar="N", help=_shown(text))
    text = "longer prompts lose their middle (default: the target's positions - --max-gen-len)"
    add("--max-prompt-len", type=whole(2), metavar="N", help=text)
    text = "0 is greedy; vanilla takes 0 only"
    add("--temperature", type=temperature, default=0.0, metavar="X", help=_shown(text))
    text = "of sampling; each sample adds its index"
    add("--seed", type=whole(0), default=0, metavar="N", help=_shown(text))
    add("--device", metavar="NAME", help="such as cpu or cuda:1 (default: the GPU if there is one)")
    add("--dtype", choices=DTYPES, help="of target and draft (default: the target's own)")


def _where(made: Parser, output_dir: str) -> None:
    text = "where results are written"
    made.add_argument(
        "--output-dir", type=Path, default=output_dir, metavar="DIR", help=_shown(text)
    )
    text = "the log for people (default: output_TASK.txt in --output-dir; of aime with its default"
    text += " folder ./long-bench_results/output_aime.txt, as in LongSpec's script)"
    made.add_argument("--log", type=Path, metavar="FILE", help=text)
    again = made.add_mutually_exclusive_group()
    text = "go on where a run with the same settings stopped; this is the default"
    again.add_argument("--resume", action="store_true", help=text)
    text = "drop the records of an earlier run of this task and method"
    again.add_argument("--overwrite", action="store_true", help=text)


def guarded(command: str, work: Callable[[], int]) -> int:
    """Run a command: its exit status, 2 after a user's mistake, 130 after Ctrl-C."""
    try:
        return work()
    except UserError as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{command}: stopped by Ctrl-C; the same command goes on from here", file=sys.stderr)
        return 130


@contextmanager
def needed() -> Iterator[None]:
    """Say what is not installed, for the imports that only these commands need."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"needs {error.name}; install it with: pip install 'longspec-plugin[eval,offline]'"
        ) from None
