"""Many requests at changing load: is memory flat, does nothing fail, do answers stay the same?

    python -m recipes.eval.soak --model TARGET --draft DRAFT [--requests 10000] [--arm vanilla]

The plain server answers some prompts first, in float32. Then one server with trees takes windows of
requests, each window with another number at a time and another length of answers, and in each
window those prompts again. After each window the memory that server and client have to themselves
is read, by process. Windows are on disk at once. With ``--arm vanilla`` a plain server takes the
windows too: what it grows by is none of the trees'.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel
from rich.console import Console
from rich.progress import track
from rich.table import Table

from eval.cli.errors import UserError
from eval.cli.options import Options
from eval.cli.sweep import Condition, Place
from eval.datasets import Prompt, load
from eval.records.jsonlog import JsonLog
from eval.records.requests import RequestRecord
from eval.servers import server
from eval.servers.arms import Arm
from eval.servers.http import Address
from eval.servers.readers import reader_of
from eval.speed_bench import stopping
from eval.speed_bench.client import Driver

CONCURRENCY = (2, 16, 64, 4, 32, 8, 48, 6)
LENGTHS = (1, 24, 8, 16)
SAMPLE_TOKENS = 32
CACHE_GIB = "1"  # of KV: its pages count once they are written, and so all should be soon
WARM = 0.2  # of all windows, before memory has to be flat


class Window(BaseModel):
    """One window: memory in MiB after it; ``changed`` of ``sampled`` answers were not vanilla's;
    ``errors``, of the failed ones, each once."""

    window: int
    concurrency: int
    requests: int
    tokens: int
    failed: int
    sampled: int
    changed: int
    server_mib: float
    client_mib: float
    errors: list[str] = []
    processes: dict[str, float] = {}
    """MiB of the server's, by their names."""


class Soak:
    """The windows of one output folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.prompts = [prompt for prompt in load(args.dataset) if len(prompt.turns) == 1]
        self.samples = self.prompts[:: max(len(self.prompts) // args.samples, 1)][: args.samples]
        self.random = random.Random(0)
        args.output_dir.mkdir(parents=True, exist_ok=True)
        path = args.output_dir / "windows.jsonl"
        path.unlink(missing_ok=True)
        self.log = JsonLog(path, Window, "another --output-dir")
        self.windows: list[Window] = []

    @contextmanager
    def serving(self, name: str) -> Iterator[server.Server]:
        """The plain server, or one with trees."""
        trees = {"method": "longspec", "model": str(self.args.draft)}
        config = trees if name != "vanilla" else None
        options = Options(model=str(self.args.model), dtype=self.args.dtype, max_model_len=4096)
        arm, port = Arm(name, config), server.choose_port(None)
        log = self.args.output_dir / "logs" / f"{name}.log"
        line, env = server.command(options, arm, port), server.environment(options, arm)
        env["VLLM_CPU_KVCACHE_SPACE"] = CACHE_GIB
        with server.running(line, env, log, port, 900, lambda text: None) as found:
            yield found

    def ask(
        self, url: str, prompts: list[Prompt], concurrency: int, length: int
    ) -> list[RequestRecord]:
        """Answers to all, so many at a time, each of at most ``length`` tokens."""
        options = Options(base_url=url, output_len=length)
        driver = Driver([Address(url)], str(self.args.model), options, reader_of("vllm"))
        records: list[RequestRecord] = []
        place = Place("soak", 0, Condition(concurrency))
        stopping.run(driver.drive(prompts, place, records.append))
        return records

    def run(self) -> None:
        """Serve both, and measure window by window."""
        with self.serving("vanilla") as plain:
            told = self._texts(self.ask(plain.url, self.samples, 4, SAMPLE_TOKENS))
        count = -(-self.args.requests // self.args.window)
        with self.serving(self.args.arm) as trees:
            for number in track(range(count), "windows", console=Console(stderr=True)):
                self.windows.append(self._window(number, trees, told))
                self.log.append(self.windows[-1])

    def report(self) -> None:
        """Of the windows so far."""
        if not self.windows:
            return
        of = {n: [getattr(w, f"{n}_mib") for w in self.windows] for n in ("server", "client")}
        growth = {name: grown(values) for name, values in of.items()}
        show(self.windows, growth)
        summary = {"grown": growth}
        (self.args.output_dir / "summary.json").write_text(json.dumps(summary) + "\n", "utf-8")

    def _window(self, number: int, trees: server.Server, told: dict[str, str]) -> Window:
        concurrency = CONCURRENCY[number % len(CONCURRENCY)]
        length = LENGTHS[(number // 2) % len(LENGTHS)]
        chosen = self.random.choices(self.prompts, k=self.args.window - len(self.samples))
        named = [p.model_copy(update={"prompt_id": f"{number}-{i}"}) for i, p in enumerate(chosen)]
        records = self.ask(trees.url, named, concurrency, length)
        again = self.ask(trees.url, self.samples, min(concurrency, 8), SAMPLE_TOKENS)
        found = self._texts(again)
        assert trees.process is not None
        try:
            processes = _own_memory(psutil.Process(trees.process.pid))
        except psutil.NoSuchProcess as error:
            logs = self.args.output_dir / "logs"
            raise UserError(f"window {number}: the server died ({error}); read {logs}") from None
        return Window(
            window=number,
            concurrency=concurrency,
            requests=len(records) + len(again),
            tokens=sum(record.completion_tokens for record in [*records, *again]),
            failed=sum(bool(record.error) for record in [*records, *again]),
            errors=sorted({record.error for record in [*records, *again] if record.error}),
            sampled=len(found),
            changed=sum(found[name] != told[name] for name in found),
            server_mib=sum(processes.values()),
            client_mib=psutil.Process().memory_full_info().uss / 2**20,
            processes=processes,
        )

    def _texts(self, records: list[RequestRecord]) -> dict[str, str]:
        return {record.prompt_id: record.text for record in records if not record.error}


def _own_memory(process: psutil.Process) -> dict[str, float]:
    """What each of a process's tree has to itself, in MiB."""
    tree = [process, *process.children(recursive=True)]
    return {f"{p.name()} {p.pid}": float(p.memory_full_info().uss / 2**20) for p in tree}


def grown(values: list[float]) -> float:
    """By what share the mean of the last quarter is above that of the first, after warming up."""
    warm = values[int(WARM * len(values)) :]
    part = max(len(warm) // 4, 1)
    return (sum(warm[-part:]) / sum(warm[:part])) - 1


def show(windows: list[Window], growth: dict[str, float]) -> None:
    """The sums, and how memory grew."""
    table = Table("windows", "requests", "tokens", "failed", "samples changed", *growth)
    sums = [sum(getattr(w, name) for w in windows) for name in ("requests", "tokens", "failed")]
    changed, sampled = (sum(getattr(w, name) for w in windows) for name in ("changed", "sampled"))
    last = {name: getattr(windows[-1], f"{name}_mib") for name in growth}
    memory = [f"{last[name]:.0f} MiB, {by:+.1%}" for name, by in growth.items()]
    table.add_row(str(len(windows)), *map(str, sums), f"{changed} of {sampled}", *memory)
    Console().print(table)


def main() -> None:
    options = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = options.add_argument
    add("--model", type=Path, required=True, help="folder of the target")
    add("--draft", type=Path, required=True, help="folder of its draft")
    add("--arm", choices=("longspec", "vanilla"), default="longspec", help="served for long")
    add("--dtype", default="float32", help="others draw apart at near ties, and so change answers")
    add("--requests", type=int, default=10_000, help="to send in all")
    add("--window", type=int, default=250, help="requests of a window")
    add("--samples", type=int, default=8, help="of a window, prompts whose answers are compared")
    add("--dataset", default="builtin", help="as eval.speed_bench takes it; single turns are asked")
    add("--output-dir", type=Path, default=Path("results/soak"), help="where all is kept")
    args = options.parse_args()
    soak = Soak(args)
    try:
        soak.run()
    except UserError as error:
        options.error(str(error))
    except KeyboardInterrupt:
        print(f"soak: stopped after {len(soak.windows)} windows", file=sys.stderr)
        sys.exit(130)
    finally:
        soak.report()


if __name__ == "__main__":
    main()
