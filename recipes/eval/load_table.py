"""How many nodes pay at each batch size, measured on this machine: a table, and the line to serve.

    python -m recipes.eval.load_table --model TARGET --draft DRAFT --max-num-seqs 32

Serves the target with trees of so many nodes, one server after the other, and without speculation;
each answers the same prompts 1, 2, 4, ... at a time. Prints tokens per second, and the best number
of nodes by batch size as `num_speculative_tokens_per_batch_size`, for the speculative config. What
was measured is on disk at once: after Ctrl-C the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from eval.cli.errors import UserError
from eval.cli.options import Options
from eval.cli.sweep import Condition, Place
from eval.datasets import Prompt, load, spread
from eval.records.jsonlog import JsonLog, replace_text
from eval.records.requests import RequestRecord
from eval.servers import server
from eval.servers.arms import Arm
from eval.servers.http import Address
from eval.servers.readers import reader_of
from eval.speed_bench import stopping
from eval.speed_bench.client import Driver
from longspec_plugin.errors import LongSpecError
from longspec_plugin.options import FOLLOW, LongSpecOptions
from proposers.load.schedule import KEY

from .load_cells import VANILLA, Cell, Rates, doubled, schedule


class Measuring:
    """The cells of one output folder, and how missing ones are measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.config = {"method": "longspec", **args.speculative_config}
        if args.draft is not None:
            self.config["model"] = str(args.draft)
        read = {k: v for k, v in self.config.items() if k not in (KEY, FOLLOW)}
        all_nodes = LongSpecOptions.from_config(read).build().max_nodes
        self.nodes = sorted({n for n in args.nodes if n < all_nodes} | {all_nodes})
        self.sizes = list(doubled(args.max_num_seqs))
        self.names = [VANILLA, *map(str, self.nodes)]
        self.prompts = [p for p in load(args.dataset) if len(p.turns) == 1]
        args.output_dir.mkdir(parents=True, exist_ok=True)
        self.log = JsonLog(args.output_dir / "cells.jsonl", Cell, "another --output-dir")
        self._agree(args.output_dir / "settings.json")
        self.cells = self.log.read()

    def _agree(self, path: Path) -> None:
        """Refuse a folder whose cells were measured with other settings."""
        names = ("model", "dataset", "output_len", "max_num_seqs", "server_args")
        mine = {name: str(getattr(self.args, name)) for name in names}
        mine["speculative_config"] = json.dumps(self.config)
        before = json.loads(path.read_text()) if path.is_file() else mine
        for name, value in mine.items():
            if before.get(name) != value:
                raise UserError(
                    f"--output-dir {path.parent}: was measured with --{name.replace('_', '-')}"
                    f" {before.get(name)}, not {value}; give another folder"
                )
        replace_text(path, json.dumps(mine, indent=2) + "\n")

    def missing(self, name: str, round_: int) -> list[int]:
        """Batch sizes that a server has not answered yet."""
        known = {(c.nodes, c.requests, c.round) for c in self.cells}
        return [size for size in self.sizes if (name, size, round_) not in known]

    def run(self) -> None:
        """Measure what is missing, one server after the other."""
        todo = [(r, n) for r in range(self.args.rounds) for n in self.names if self.missing(n, r)]
        with _bar(sum(len(self.missing(n, r)) for r, n in todo)) as (tell, step):
            for round_, name in todo:
                with self._serving(name, tell) as url:
                    for size in self.missing(name, round_):
                        tell(f"{name}, {size} at a time")
                        cell = self._measured(url, name, size, round_)
                        self.log.append(cell)
                        self.cells.append(cell)
                        step()

    @contextmanager
    def _serving(self, name: str, tell: server.Show) -> Iterator[str]:
        """A server of so many nodes; prompts are computed anew in every cell."""
        config = None if name == VANILLA else {**self.config, KEY: [[1, 1, int(name)]]}
        if config is not None:
            config.pop(FOLLOW, None)
        more = ["--max-num-seqs", str(self.args.max_num_seqs), "--no-enable-prefix-caching"]
        line = shlex.join([*more, *shlex.split(self.args.server_args)])
        options = Options(model=str(self.args.model), server_args=line)
        arm, port = Arm(name, config), server.choose_port(None)
        log = self.args.output_dir / "logs" / f"{name}.log"
        command, env = server.command(options, arm, port), server.environment(options, arm)
        show = lambda text: tell(f"{name}: {text[:60]}")  # noqa: E731
        with server.running(command, env, log, port, self.args.startup_timeout, show) as running:
            yield running.url

    def _measured(self, url: str, name: str, size: int, round_: int) -> Cell:
        """``size`` requests in flight, until ``--waves`` times as many have ended."""
        options = Options(base_url=url, output_len=self.args.output_len)
        driver = Driver([Address(url)], str(self.args.model), options, reader_of("vllm"))
        place = Place(name, round_, Condition(size))
        records: list[RequestRecord] = []
        stopping.run(driver.warm_up(place.condition))
        started = time.perf_counter()
        prompts = self._prompts(max(self.args.least, self.args.waves * size))
        stopping.run(driver.drive(prompts, place, records.append))
        seconds = time.perf_counter() - started
        for record in records:
            if record.error:
                raise UserError(f"nodes {name}, {size} at a time: {record.error}")
        tokens = sum(record.completion_tokens for record in records)
        return Cell(nodes=name, requests=size, round=round_, tokens=tokens, seconds=seconds)

    def _prompts(self, count: int) -> list[Prompt]:
        """So many of the data set's, its categories in turn, again from the first if need be."""
        found = islice(cycle(spread(self.prompts, None)), count)
        return [p.model_copy(update={"prompt_id": str(i)}) for i, p in enumerate(found)]

    def show(self) -> None:
        """The table and, once all is measured, the line to serve with."""
        if not self.cells:
            return
        rates, whole = Rates(self.cells), []
        table = Table("at a time", *self.names, "best", title="tokens/s by nodes of each tree")
        for size in self.sizes:
            found = [rates.of(name, size) for name in self.names]
            texts = ["-" if rate is None else f"{rate:.1f}" for rate in found]
            whole += [size] * ("-" not in texts)
            table.add_row(str(size), *texts, str(rates.best(size)) if size in whole else "-")
        Console().print(table)
        if len(whole) == len(self.sizes):
            self._tell(rates)

    def _tell(self, rates: Rates) -> None:
        told = {KEY: schedule(rates, self.sizes, self.args.max_num_seqs)}
        print(f"for the speculative config: {json.dumps(told)[1:-1]}")
        if slower := [str(size) for size in self.sizes if rates.lost(size)]:
            print(f"without speculation is faster at {', '.join(slower)} at a time")
        replace_text(self.args.output_dir / "schedule.json", json.dumps(told) + "\n")


@contextmanager
def _bar(total: int) -> Iterator[tuple[server.Show, Any]]:
    """Progress over cells: how to tell what is done, and that one more is."""
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda text: bar.update(task, description=text), lambda: bar.advance(task)


class Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The text above as it stands, and defaults."""


def numbers(text: str) -> list[int]:
    """Whole numbers from 0 with commas between."""
    found = [int(part) for part in text.split(",")]
    if min(found) < 0:
        raise ValueError
    return found


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m recipes.eval.load_table", description=__doc__, formatter_class=Help
    )
    add = made.add_argument
    add("--model", type=Path, required=True, help="folder of the target")
    add("--draft", type=Path, help="folder of its draft")
    add("--speculative-config", type=json.loads, default={}, help="more options, as JSON")
    add("--max-num-seqs", type=int, default=32, help="the greatest batch, told the server")
    add("--nodes", type=numbers, default=[0, 1, 2, 4, 8], help="to try, with all of the tree")
    add("--dataset", default="builtin", help="as eval.speed_bench takes it; single turns are asked")
    add("--output-len", type=int, default=64, help="completion tokens at most")
    add("--least", type=int, default=12, help="requests of a cell at least")
    add("--waves", type=int, default=2, help="requests of a cell, as a multiple of the batch size")
    add("--rounds", type=int, default=1, help="times that all is measured, servers restarted")
    add("--server-args", default="", help="more arguments for the servers, in one quoted string")
    add("--startup-timeout", type=float, default=900.0, help="seconds a server may take to start")
    add("--output-dir", type=Path, default=Path("results/load_table"), help="where all is kept")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and show; 2 for a user's mistake, 130 for Ctrl-C, after which the table is shown."""
    try:
        measuring = Measuring(_parser().parse_args(argv))
        try:
            measuring.run()
        finally:
            measuring.show()
        return 0
    except (UserError, LongSpecError) as error:
        print(f"load_table: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("load_table: stopped; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
