"""Our numbers beside those of ``vllm bench serve``: the same server, prompts and settings.

Serves the default target with its draft, lets both measure in turn, twice, and prints what each
says: ``python -m recipes.eval.beside_vllm_bench``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from eval import speed_bench
from eval.cli.parsing import parse
from eval.datasets import load, spread
from eval.servers import server
from eval.servers.arms import parse_arms
from eval.servers.engines.vllm import executable

ROOT = Path(__file__).resolve().parents[2]
DRAFT = ROOT / "recipes" / "smollm2-135m-instruct" / "draft"

# What is compared: our field of an arm, theirs of the result file.
ROWS = {
    "completion tokens": ("completion_tokens", "total_output_tokens"),
    "seconds": ("seconds", "duration"),
    "throughput, tok/s": ("throughput_tok_s", "output_throughput"),
    "TTFT, mean, ms": ("ttft_ms.mean", "mean_ttft_ms"),
    "TTFT, p50, ms": ("ttft_ms.p50", "median_ttft_ms"),
    "TPOT, mean, ms": ("tpot_ms.mean", "mean_tpot_ms"),
    "TPOT, p50, ms": ("tpot_ms.p50", "median_tpot_ms"),
    "acceptance length": ("acceptance_length.pooled", "spec_decode_acceptance_length"),
    "acceptance rate": ("acceptance_rate", "spec_decode_acceptance_rate"),
}


def main() -> None:
    """Measure and print; the table is written to the output folder as well."""
    args = _parser().parse_args()
    folder: Path = args.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    data = _prompts(folder / "prompts.jsonl", args.prompts)
    given = ["--model", str(args.model), "--draft", str(args.draft), "--arms", "longspec"]
    options = parse(given)
    arm, port = parse_arms(options)[0], server.choose_port(None)
    line, env = server.command(options, arm, port), server.environment(options, arm)
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    with server.running(line, env, folder / "server.log", port, 600, print) as running:
        for round_ in range(args.rounds):
            mine = _ours(running.url, data, folder / f"ours{round_}", args.output_len)
            found.append((mine, _theirs(running.url, data, folder, args, round_)))
    rows = table(found)
    (folder / "table.json").write_text(json.dumps(rows, indent=2) + "\n")
    _print(rows)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--model", type=Path, required=True, help="folder of the target")
    made.add_argument("--draft", type=Path, default=DRAFT, help="folder of its draft")
    made.add_argument("--prompts", type=int, default=22, help="built-in prompts (default: 22)")
    made.add_argument("--output-len", type=int, default=128, help="tokens at most (default: 128)")
    made.add_argument("--rounds", type=int, default=2, help="times each measures (default: 2)")
    text = "default: results/beside_vllm_bench"
    made.add_argument("--output-dir", type=Path, default=ROOT / text.split()[-1], help=text)
    return made


def _prompts(path: Path, count: int) -> Path:
    """Single-turn prompts, as ``vllm bench`` knows no others."""
    single = [prompt for prompt in load("builtin") if len(prompt.turns) == 1]
    rows = [{"id": p.prompt_id, "prompt": p.turns[0]} for p in spread(single, count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _ours(url: str, data: Path, folder: Path, tokens: int) -> dict[str, Any]:
    line = ["--base-url", url, "--dataset", str(data), "--output-len", str(tokens)]
    code = speed_bench.main([*line, "--output-dir", str(folder), "--overwrite"])
    if code:
        sys.exit(code)
    arm: dict[str, Any] = json.loads((folder / "results.json").read_text())["arms"][0]
    return arm


def _theirs(
    url: str, data: Path, folder: Path, args: argparse.Namespace, round_: int
) -> dict[str, Any]:
    name = f"theirs{round_}.json"
    line = [executable(), "bench", "serve", "--backend", "openai-chat", "--base-url", url]
    line += ["--endpoint", "/v1/chat/completions", "--model", str(args.model)]
    line += ["--dataset-name", "custom", "--dataset-path", str(data), "--disable-shuffle"]
    line += ["--skip-chat-template", "--custom-output-len", str(args.output_len)]
    line += ["--num-prompts", str(args.prompts), "--max-concurrency", "1", "--num-warmups", "2"]
    line += ["--temperature", "0", "--save-result", "--result-dir", str(folder)]
    subprocess.run([*line, "--result-filename", name], check=True, stdout=sys.stderr)
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def table(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, list[float | None]]:
    """Rows of ours and theirs in turn; theirs tells the acceptance rate in percent."""
    rows: dict[str, list[float | None]] = {}
    for name, (ours, theirs) in ROWS.items():
        rows[name] = []
        for mine, other in found:
            told: float | None = other.get(theirs)
            percent = 100 if name == "acceptance rate" else 1
            rows[name] += [_field(mine, ours), told if told is None else told / percent]
    return rows


def _field(arm: dict[str, Any], path: str) -> float | None:
    value: Any = arm
    for part in path.split("."):
        value = value[part]
    return None if value is None else float(value)


def _print(rows: dict[str, list[float | None]]) -> None:
    count = len(next(iter(rows.values()))) // 2
    heads = [f"{who} {i + 1}" for i in range(count) for who in ("ours", "vllm bench serve")]
    shown = Table("", *heads)
    for name, values in rows.items():
        shown.add_row(name, *("-" if value is None else f"{value:.3f}" for value in values))
    Console().print(shown)


if __name__ == "__main__":
    main()
