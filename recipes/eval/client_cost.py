"""What the evaluation's client costs: its own CPU time per request and per streamed chunk.

``python -m recipes.eval.client_cost`` drives the scripted engine, in a process of its own, once
with many requests in flight at the same moment, once with answers of a single chunk, and once one
after another at the pace of a real engine, where the share of a core is what an evaluation costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from eval.cli.options import Options
from eval.cli.sweep import Condition, Place
from eval.datasets import Prompt
from eval.records.requests import RequestRecord
from eval.servers.http import Address
from eval.servers.readers import reader_of
from eval.speed_bench.client import Driver

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "results" / "client_cost.json"
AIM = 0.01  # of a core, at the pace of a real engine
WORDS_PER_CHUNK = 2


@dataclass(frozen=True)
class Load:
    """Requests and their answers; ``pace`` is seconds between two chunks."""

    requests: int
    concurrency: int
    chunks: int
    pace: float = 0.0

    @property
    def name(self) -> str:
        pace = ", paced" if self.pace else ""
        return f"{self.requests}, {self.concurrency} at once{pace}"

    @property
    def script(self) -> dict[str, Any]:
        """Verify steps that accept a token each; no answer begins before all are asked for."""
        words = [" word"] * (self.chunks * WORDS_PER_CHUNK)
        told = {"words": words, "words_per_chunk": WORDS_PER_CHUNK, "steps": [1] * self.chunks}
        return {**told, "chunk_delay": self.pace, "gate": self.concurrency}


@dataclass(frozen=True)
class Cost:
    """What a load cost the client's process; ``share`` is CPU seconds over wall seconds."""

    load: Load
    errors: int
    wall_s: float
    cpu_s: float

    @property
    def request_ms(self) -> float:
        return 1e3 * self.cpu_s / self.load.requests

    @property
    def share(self) -> float:
        return self.cpu_s / self.wall_s


@contextmanager
def engine(script: dict[str, Any]) -> Iterator[str]:
    """The address of a scripted engine whose CPU time is not ours."""
    line = [sys.executable, "-m", "recipes.eval.fake", "--script", json.dumps(script)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def drive(url: str, prompts: Sequence[Prompt], concurrency: int) -> list[RequestRecord]:
    """The one place that knows how ``eval.speed_bench.client`` is called."""
    options = Options(base_url=url, concurrency=[concurrency])
    driver = Driver([Address(url)], "fake", options, reader_of("vllm"))
    records: list[RequestRecord] = []
    place = Place("fake", 0, Condition(concurrency))
    asyncio.run(driver.drive(prompts, place, records.append))
    return records


def measure(load: Load) -> Cost:
    """Drive the load; what comes before the first request, such as imports, is not in it."""
    texts = ["Say something long."]
    ids = map(str, range(load.requests))
    prompts = [Prompt(prompt_id=name, category="all", turns=texts) for name in ids]
    with engine(load.script) as url:
        wall, cpu = time.perf_counter(), time.process_time()
        records = drive(url, prompts, load.concurrency)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    whole = load.chunks * WORDS_PER_CHUNK
    errors = sum(bool(r.error) or r.completion_tokens != whole for r in records)
    return Cost(load, errors + load.requests - len(records), wall, cpu)


def per_chunk_us(long: Cost, short: Cost) -> float:
    """Microseconds that each further chunk costs: the slope between two lengths of answers."""
    return 1e3 * (long.request_ms - short.request_ms) / (long.load.chunks - short.load.chunks)


def show(costs: Sequence[Cost], chunk_us: float) -> None:
    """A row for each load."""
    table = Table(title="client: its own CPU time", box=SIMPLE_HEAD)
    table.add_column("requests", no_wrap=True)
    for name in ("chunks", "errors", "wall s", "CPU s", "ms each", "core"):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in costs:
        load = cost.load
        counts = f"{load.chunks}", f"{cost.errors}", f"{cost.wall_s:.1f}", f"{cost.cpu_s:.2f}"
        table.add_row(load.name, *counts, f"{cost.request_ms:.2f}", f"{cost.share:.1%}")
    console = Console()
    console.print(table)
    paced = costs[-1].share
    aim = "within" if paced <= AIM else "above"
    told = f"the last load takes {paced:.1%} of a core, {aim} the {AIM:.0%} aimed at"
    console.print(f"a further chunk costs {chunk_us:.0f} us; {told}")


def save(costs: Sequence[Cost], chunk_us: float, path: Path) -> None:
    """All numbers, with where they were measured."""
    rows = [{**asdict(c), "request_ms": c.request_ms, "share": c.share} for c in costs]
    where = {"python": platform.python_version(), "machine": platform.processor()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"where": where, "chunk_us": chunk_us, "loads": rows}, indent=2))
    print(f"saved {path}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and show; 1 if a request failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1000, help="requests in all")
    parser.add_argument("--concurrency", type=int, default=1000, help="requests in flight")
    parser.add_argument("--chunks", type=int, default=80, help="chunks of text in an answer")
    parser.add_argument("--pace", type=float, default=0.03, help="seconds between chunks, paced")
    parser.add_argument("--paced-requests", type=int, default=8, help="requests of the paced load")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where numbers are written")
    told = parser.parse_args(argv)
    loads = [
        Load(told.requests, told.concurrency, told.chunks),
        Load(told.requests, told.concurrency, 1),
        Load(told.paced_requests, 1, told.chunks, told.pace),
    ]
    measure(Load(3, 1, 1))
    costs = [measure(load) for load in loads]
    chunk_us = per_chunk_us(costs[0], costs[1])
    show(costs, chunk_us)
    save(costs, chunk_us, told.output)
    return 1 if any(cost.errors for cost in costs) else 0


if __name__ == "__main__":
    sys.exit(main())
