"""The default target's speedup beside what people name first, on several sets, in one table.

    .venv/bin/python -m recipes.eval.rivals            # an hour or more on two CPU cores
    .venv/bin/python -m recipes.eval.rivals --quick    # four prompts of each set: does it work?
    .venv/bin/python -m recipes.eval.rivals --arms longspec --concurrency 16   # another load

Requests name one salt, as one user's would, by which longspec drafts from earlier answers, as
suffix decoding does from anybody's. ``own_text`` is longspec that looks in each request's own text
alone, ``vllm_products`` longspec with vLLM's own matrix products, as the rivals have them, and
``undrafted`` longspec's products without a draft.

Vanilla and a few rivals are served at once and asked in turns, a few prompts each, so that a
machine whose speed drifts slows all alike; then vanilla and the next few. Each speedup is over the
vanilla of its own group. Servers stay up over all sets, as those that remember answers should. What
has been measured is not measured again when the command is given again.

``suffix`` is there when ``recipes/setup/suffix.py`` has been run, ``eagle3`` when there is a head
(``recipes/train/eagle3.py``); without them the table goes without.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from eval import compare, datasets, speed_bench
from eval.cli.errors import UserError
from eval.cli.options import Options
from eval.report import markdown, terminal
from eval.servers import server
from eval.servers.arms import Arm
from eval.servers.engines import Config
from eval.servers.engines.vllm import KNOWN
from longspec_plugin.options import FEW_ROWS
from proposers.load.schedule import KEY
from recipes.setup.dtype import chosen
from recipes.setup.suffix import complete, suffix_folder
from recipes.setup.target import cache_folder, target_folder

from . import sets
from .rivals_table import TIMES, VANILLA, Cells, found, tables

DRAFT = Path(__file__).parents[1] / "smollm2-135m-instruct" / "draft"
HEAD = "SmolLM2-135M-Instruct-eagle3"
CHAIN = {"proposer": "glide", "tree_shape": [1, 1, 1, 1], "follow_load": False}
SIZES = {
    "builtin": (44, 128),
    "humaneval": (24, 128),
    "edits": (24, 256),
    "json": (24, 128),
    "documents": (12, 128),
}
"""Prompts of each set (as many as are at work at a time, if that is more), and tokens of an
answer at most."""
QUICK = (4, 32)
SERVER_ARGS = "--gpu-memory-utilization 0.15"
"""On a CPU vLLM asks for so much of the memory to be free, whatever the cache's own size."""
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; in float32 it holds 46,000 tokens of the default target
    "VLLM_USE_AOT_COMPILE": "0",  # else vLLM 0.32 compiles at every start, see the Makefile
    "VLLM_NO_USAGE_STATS": "1",
}


def rivals(draft: Path, head: Path) -> dict[str, Config]:
    """The arms that can be served here, by name; those that cannot are told of."""
    ours: Config = {"method": "longspec", "model": str(draft)}
    arms: dict[str, Config] = {
        "longspec": ours,
        "own_text": {**ours, "remembered_answers": 0},
        "chain": {**ours, **CHAIN},
        "vllm_products": {**ours, FEW_ROWS: False},
        "undrafted": {**ours, KEY: [[1, 1024, 0]]},
        "prompt_lookup": {"method": "longspec", "proposer": "prompt_lookup"},
        "ngram": KNOWN["ngram"],
    }
    if complete(suffix_folder()):
        arms["suffix"] = KNOWN["suffix"]
    else:
        _tell("no suffix decoding; run recipes/setup/suffix.py first to have it in the table")
    if (head / "config.json").is_file():
        arms["eagle3"] = {**KNOWN["eagle3"], "model": str(head)}
    else:
        _tell(f"no EAGLE-3 head in {head}; give --eagle3 DIR to have one in the table")
    return arms


class Comparison:
    """The runs of one output folder: a group's run of a set lies in ``SET/GROUP``."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        there = rivals(args.draft, args.eagle3)
        chosen = args.arms.split(",") if args.arms else list(there)
        if unknown := [name for name in chosen if name not in there]:
            raise UserError(f"--arms {unknown[0]}: unknown; there are {', '.join(there)}")
        self.arms = {name: there[name] for name in chosen}
        self.sets = args.sets.split(",") if args.sets else list(SIZES)
        if unknown := [name for name in self.sets if name not in SIZES]:
            raise UserError(f"--sets {unknown[0]}: unknown; there are {', '.join(SIZES)}")
        names = list(self.arms)
        starts = range(0, len(names), args.at_once)
        self.groups = ["+".join(names[start : start + args.at_once]) for start in starts]
        self.folder: Path = args.output_dir / "quick" if args.quick else args.output_dir
        self.files = sets.write(self.folder / "sets")
        self.load = f"@{args.concurrency}" if args.concurrency > 1 else ""
        self._enough()

    def _enough(self) -> None:
        """Refuse more requests at a time than a set has prompts."""
        for name in self.sets:
            there, asked = len(datasets.load(self._dataset(name))), self.args.concurrency
            if asked > there:
                raise UserError(
                    f"--concurrency {asked}: {name} has {there} prompts;"
                    f" give 1 to {there}, or other --sets"
                )

    def _dataset(self, name: str) -> str:
        return str(self.files.get(name, name))

    def run(self) -> None:
        """Measure what is missing, group after group."""
        for group in self.groups:
            todo = [name for name in self.sets if not self._measured(name, group)]
            if not todo:
                continue
            with self._serving([VANILLA, *group.split("+")]) as arms:
                for name in todo:
                    self._measure(name, group, arms)

    def _place(self, name: str, group: str) -> Path:
        return self.folder / name / f"{group}{self.load}"

    def _measured(self, name: str, group: str) -> bool:
        try:
            return compare.load(self._place(name, group)).results.complete
        except UserError:
            return False

    def _measure(self, name: str, group: str, arms: str) -> None:
        count, tokens = QUICK if self.args.quick else SIZES[name]
        count = max(count, self.args.concurrency)  # else fewer are at work at a time than is told
        turns = ["--rounds", "2"] if self.load else ["--turn", str(self.args.turn)]
        line = ["--model", str(self.args.model), "--arms", arms, *turns]
        line += ["--concurrency", str(self.args.concurrency)]
        line += ["--dataset", self._dataset(name), "--num-prompts", str(count)]
        line += ["--output-len", str(tokens), "--no-control", "--overwrite"]
        line += ["--cache-salt", "rivals"]
        code = speed_bench.main([*line, "--output-dir", str(self._place(name, group))])
        if code in (130, 143):
            raise KeyboardInterrupt
        if code:
            raise UserError(f"set {name}, arms {group}: not measured; give the same command again")

    @contextmanager
    def _serving(self, names: Sequence[str]) -> Iterator[str]:
        """Servers of these arms; what ``--arms`` says of them."""
        with ExitStack() as stack:
            urls = [stack.enter_context(self._server(name)) for name in names]
            yield ",".join(f"{name}={url}" for name, url in zip(names, urls, strict=True))

    @contextmanager
    def _server(self, name: str) -> Iterator[str]:
        options = Options(
            model=str(self.args.model), dtype=self.args.dtype, server_args=SERVER_ARGS
        )
        arm, port = Arm(name, self.arms.get(name)), server.choose_port(None)
        env = {**server.environment(options, arm), **ENVIRONMENT}
        if name == "suffix":
            paths = (str(suffix_folder()), os.environ.get("PYTHONPATH", ""))
            env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        log = self.folder / "logs" / f"{name}.log"
        line, wait = server.command(options, arm, port), self.args.startup_timeout
        _tell(f"starting {name}")
        with server.running(line, env, log, port, wait, lambda _: None) as running:
            yield running.url

    def show(self) -> None:
        """Print the tables of what there is, and write them to ``table.md``."""
        parts = []
        for of, title in TIMES.items():
            title += f", {self.args.concurrency} at a time" if self.load else ""
            for table in tables(self._cells(of), list(self.arms), title):
                terminal.show(table, Console())
                parts.append(f"### {table.title}\n\n{markdown.table(table)}\n")
        (self.folder / f"table{self.load}.md").write_text("\n".join(parts), "utf-8")

    def _cells(self, of: str) -> Cells:
        return {
            name: found(
                [
                    compare.load(self._place(name, group))
                    for group in self.groups
                    if self._measured(name, group)
                ],
                of,
            )
            for name in self.sets
        }


def _tell(text: str) -> None:
    print(f"rivals: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m recipes.eval.rivals",
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = made.add_argument
    add("--model", type=Path, default=target_folder(), help="folder of the target")
    add("--draft", type=Path, default=DRAFT, help="folder of its draft")
    add("--eagle3", type=Path, default=cache_folder() / HEAD, help="folder of its EAGLE-3 head")
    add("--dtype", default=chosen(), help="of all servers")
    add("--arms", help="rivals to measure, commas between (default: all that are there)")
    add("--sets", help=f"of {', '.join(SIZES)}, commas between (default: all)")
    add("--at-once", type=int, default=3, help="rivals that are served beside vanilla at a time")
    add("--turn", type=int, default=4, help="prompts that an arm answers until the next one's turn")
    add(
        "--concurrency",
        type=int,
        default=1,
        help="requests at a time; above 1 arms take turns of all prompts, twice",
    )
    add("--quick", action="store_true", help="four prompts of each set, short answers")
    add("--startup-timeout", type=float, default=900.0, help="seconds a server may take to start")
    add("--output-dir", type=Path, default=Path("results/rivals"), help="where all is kept")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 0 done, 2 a mistake, 130 Ctrl-C."""
    try:
        comparison = Comparison(_parser().parse_args(argv))
        comparison.run()
        comparison.show()
        return 0
    except UserError as error:
        print(f"rivals: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rivals: stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
