"""Does a simulation accept what a server accepted? The same answers, walked once more.

    python -m recipes.train.agreement --run results/wide \
        --prompts eval/datasets/data/builtin.jsonl --target DIR --draft DIR --out DIR

`--run` is a folder of `eval.speed_bench` of one LongSpec arm, greedy. The answers to its first
turns are read by the target (`features`), and the arm's own proposer drafts along them as
`proposers.train evaluate` does. Prints acceptance lengths by category, served and simulated, over
the very same tokens, and writes `agreement.csv` with a line for each answer.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from eval.cli.errors import UserError, one_line
from eval.cli.options import Options
from eval.servers.arms import parse_arms
from proposers.load.schedule import KEY
from proposers.train.answers.chat import Chat
from proposers.train.answers.source import Prompt, given
from proposers.train.command import guarded
from proposers.train.evaluate.journal import Journal
from proposers.train.evaluate.sequences import read_answers
from proposers.train.evaluate.walk import Walker
from proposers.train.evaluate.ways import Way, served
from proposers.train.features.run import main as features
from proposers.train.jsonl import records
from proposers.train.progress import shown
from proposers.train.target import TargetWeights

HEAD = ("id", "category", "steps", "accepted", "simulated steps", "simulated accepted")


@dataclass(frozen=True)
class Pair:
    """One answer: verify steps and accepted tokens, served and simulated."""

    id: str
    category: str
    steps: int
    accepted: int
    simulated_steps: int
    simulated_accepted: int


def first_turns(run: Path) -> list[dict[str, Any]]:
    """The greedy first turns of a run, one record each.

    Raises:
        ValueError: one line; there are none, or they come from several arms or rounds.
    """
    path = run / "requests.jsonl"
    if not path.is_file():
        raise ValueError(f"{run} has no requests.jsonl; name the folder of a finished run")
    asked = [r for _, r in records(path) if not r["turn"] and not r["temperature"]]
    if any(r["steps"] is None for r in asked):
        raise ValueError(f"{path}: the server did not tell how many steps each answer took")
    if not asked or len({r["prompt_id"] for r in asked}) < len(asked):
        raise ValueError(f"{path}: expected one greedy answer a prompt; run one arm, one round")
    return asked


def answer(record: dict[str, Any], prompt: Prompt | None, chat: Chat) -> dict[str, Any]:
    """A record of ``requests.jsonl`` as the `features` command reads answers.

    Raises:
        ValueError: one line; the prompt is another than the one that was served.
    """
    name = record["prompt_id"]
    ids = chat.prompt_ids(prompt.text) if prompt else []
    if len(ids) != record["prompt_tokens"]:
        raise ValueError(
            f"prompt {name!r} has {len(ids)} tokens, {record['prompt_tokens']} were served;"
            " give the run's own --prompts and --target"
        )
    return {
        "id": name,
        "category": record["category"],
        "prompt_ids": ids,
        "answer_ids": record["token_ids"],
        "temperature": 0,
    }


def arm(run: Path, name: str, draft: Path) -> Way:
    """How the arm ``name`` of a run drafted: what its server was told, over the draft's own.

    Raises:
        ValueError: one line; the run's options cannot be read.
    """
    path = run / "run.json"
    try:
        arms = parse_arms(Options.model_validate_json(path.read_text("utf-8")))
    except (OSError, UserError, ValueError) as error:
        raise ValueError(f"{path}: {one_line(str(error))}") from None
    said = next((one.config for one in arms if one.name == name), None) or {}
    others = ("method", "model", "proposer", "follow_load", KEY)
    options = {k: v for k, v in said.items() if k not in others}
    return served(draft, said.get("proposer", ""), options)


def compare(args: argparse.Namespace) -> list[Pair]:
    torch.set_num_threads(args.threads)
    asked = first_turns(args.run)
    chat = Chat(args.target)
    prompts = {p.id.partition(":")[2]: p for p in given([args.prompts])}
    args.out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(answer(r, prompts.get(r["prompt_id"]), chat)) for r in asked]
    path, text = args.out / "answers.jsonl", "\n".join(lines) + "\n"
    if path.exists() and path.read_text() != text:
        raise ValueError(f"{args.out} holds the answers of another run; name another --out")
    path.write_text(text)
    folder = args.out / "features"
    told = {"target": args.target, "answers": path, "out": folder, "top": 0}
    if features([text for key, value in told.items() for text in (f"--{key}", str(value))]):
        raise ValueError("the features could not be made, see above")
    return _walk(args, folder, {r["prompt_id"]: r for r in asked})


def _walk(args: argparse.Namespace, folder: Path, asked: dict[str, dict[str, Any]]) -> list[Pair]:
    way = arm(args.run, next(iter(asked.values()))["arm"], args.draft)
    answers = read_answers(folder, True, 0)
    journal = Journal(args.out / "journal.jsonl")
    walker = Walker(answers, TargetWeights(args.target).model(), journal, 0, 8, "cpu")
    with shown("agreement", walker.size()) as show:
        done = 0

        def advance(tokens: int) -> None:
            nonlocal done
            done += tokens
            show(done, "")

        tallies, _ = walker.run(way, advance)
    journal.close()
    pairs = []
    for one, tally in zip(answers, tallies, strict=True):
        it = asked[one.id]
        walked = (it["steps"], it["accepted"], tally.steps, tally.accepted)
        pairs.append(Pair(one.id, one.category, *walked))
    return pairs


def lengths(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Pooled acceptance length, served and simulated."""

    def total(name: str) -> int:
        return sum(getattr(pair, name) for pair in pairs)

    served = 1 + total("accepted") / max(total("steps"), 1)
    return served, 1 + total("simulated_accepted") / max(total("simulated_steps"), 1)


def show_table(pairs: Sequence[Pair]) -> None:
    table = Table("category", "answers", "served AL", "simulated AL", "apart")
    names = sorted({pair.category for pair in pairs})
    groups = {name: [p for p in pairs if p.category == name] for name in names}
    for name, group in [*groups.items(), ("all", list(pairs))]:
        one, other = lengths(group)
        figures = (f"{one:.3f}", f"{other:.3f}", f"{abs(other / one - 1):.1%}")
        table.add_row(name, str(len(group)), *figures)
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, text in (
        ("run", "folder of the served run"),
        ("prompts", "JSONL file of its prompts"),
        ("target", "folder of the target"),
        ("draft", "folder of the draft that was served"),
        ("out", "folder of answers, features and the table"),
    ):
        options.add_argument(f"--{name}", type=Path, required=True, help=text)
    options.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    args = options.parse_args(argv)
    return guarded("agreement", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    pairs = compare(args)
    with open(args.out / "agreement.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEAD, *map(astuple, pairs)])
    show_table(pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
