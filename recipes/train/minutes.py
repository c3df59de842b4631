"""A draft within some minutes: answers by our own engine, features, training, evaluation.

    python -m recipes.train.minutes --target DIR --minutes 15            # on a GPU
    python -m recipes.train.minutes --target DIR --minutes 3 --device cpu
    python -m recipes.train.minutes --target DIR --minutes 15 --pieces answers,features

One command from a target to a draft with its acceptance lengths, no server needed. The minutes are
dealt out to pieces: answers, held_out (greedy answers to the evaluation's prompts, which no other
prompt is like), features, train, evaluate (on those). Each is made of commands of `python -m
proposers.train` (docs/training.md) in processes of their own, in the folder DATA. What is done is
in DATA/minutes.json: after a stop, or a `--pieces` that left some out, the same command goes on,
and a piece that was cut off has what is left of its minutes. `--init DRAFT` goes on from a draft
and evaluates both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proposers.train.command import guarded
from proposers.train.features.forward import pick
from proposers.train.progress import say
from proposers.train.prompts.overlap import evaluation_prompts

ROOT = Path(__file__).resolve().parents[2]
NAME, FILE = "minutes", "minutes.json"
SHARES = {"answers": 0.36, "held_out": 0.08, "features": 0.1, "train": 0.36, "evaluate": 0.1}
"""Of the minutes. Features and evaluation take what they take; their shares are room for them, and
training has what the pieces before it have left."""
LEAST, LEAST_TRAINED = 0.05, 0.2
"""Minutes that a piece is given after all of its own have gone; training's least share."""
SHORT = "chat,qa,math,reasoning,stem,writing,humanities,roleplay"
"""Categories of short prompts: a CPU reads slowly."""
Options = Mapping[str, Mapping[str, Any]]
SIZES: dict[str, Options] = {
    "cuda": {
        "answers": {"streams": 1024},
        "features": {"batch-tokens": 65_536, "shard-tokens": 262_144},
        "train": {"batch-tokens": 16_384, "learning-rate": 0.006, "save-minutes": 2, "threads": 8},
        "held_out": {"streams": 256, "lengths": [128, 128]},
        "evaluate": {"sequences": 96, "tokens": 128, "batch": 32},
    },
    "cpu": {
        "answers": {"streams": 32, "lengths": [48, 96], "categories": SHORT},
        "held_out": {"streams": 16, "lengths": [48, 48]},
        "features": {},
        "train": {"batch-tokens": 1024, "learning-rate": 0.004, "save-minutes": 1},
        "evaluate": {"sequences": 8, "tokens": 48},
    },
}
"""Options of the pieces by device; a recipe file takes their place."""
TREES = [[1, 1, 1, 1], [4, 6, 4, 2]]


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    target: str
    data: Path
    minutes: float
    pieces: Sequence[str]
    device: str
    init: Path | None
    recipe: Path | None

    def commands(self, piece: str, room: float) -> list[list[str]]:
        """The piece as command lines that have so many minutes."""
        answering = {"server": "offline", "minutes": room}
        held = self.data / "held_out"
        place = {"answers": held / "answers" / "answers.jsonl", "out": held / "features"}
        only = {"prompts": evaluation_prompts(), "held-out": "", "greedy": 1.0}
        training: dict[str, Any] = {"minutes": room}
        of_held_out = {"features": held / "features", "all": True, "shapes": TREES}
        if self.init is not None:
            training["init"] = of_held_out["against"] = self.init
        made: dict[str, list[tuple[str, Mapping[str, Any]]]] = {
            "answers": [("answers", answering)],
            "held_out": [
                ("answers", {**answering, **only, "out": held / "answers"}),
                ("features", place),
            ],
            "features": [("features", {})],
            "train": [("train", training)],
            "evaluate": [("evaluate", of_held_out)],
        }
        return [self._line(name, piece, more) for name, more in made[piece]]

    def _line(self, name: str, piece: str, more: Mapping[str, Any]) -> list[str]:
        given: dict[str, Any] = {"target": self.target, "data": self.data}
        if self.recipe is not None:
            given["recipe"] = self.recipe
        elif name == piece or name == "answers":
            given |= SIZES[self.device.partition(":")[0]][piece]
        line = [sys.executable, "-m", "proposers.train", name]
        for option, value in {**given, "device": self.device, **more}.items():
            line += [f"--{option}", json.dumps(value) if isinstance(value, list) else str(value)]
        return line


class Book:
    """``minutes.json``: the minutes that pieces have had, which are done, and training's own.

    Raises:
        ValueError: in one line, for a folder of another plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.path = plan.data / FILE
        self.plan, self.training = plan, 0.0
        about = {"target": plan.target, "minutes": plan.minutes, "device": plan.device}
        about["init"] = str(plan.init) if plan.init else None
        self.about, self.spent, self.done = about, dict.fromkeys(SHARES, 0.0), list[str]()
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            found = json.loads(self.path.read_text())
            self.spent, self.done = found["spent"], found["done"]
            self.training = found["training"]
        except (ValueError, LookupError, TypeError):
            raise ValueError(f"{self.path} cannot be read; delete it to begin anew") from None
        for name, value in self.about.items():
            if found.get(name) != value:
                raise ValueError(
                    f"{self.path.parent} was begun with {name}={found.get(name)}, not {value};"
                    " go on with the same, or choose another --data"
                )

    def room(self, piece: str) -> float:
        """Minutes that a piece has now. Training's are settled when it begins: its schedule hangs
        on them, and its own state knows how many have gone."""
        whole = self.plan.minutes
        if piece != "train":
            return round(max(whole * SHARES[piece] - self.spent[piece], LEAST), 3)
        if not self.training:
            left = whole * (1 - SHARES["evaluate"]) - sum(self.spent.values())
            self.training = round(max(left, whole * LEAST_TRAINED), 3)
            self.save()
        return self.training

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        told = {**self.about, "spent": self.spent, "done": self.done, "training": self.training}
        temporary.write_text(json.dumps(told, indent=1) + "\n")
        temporary.replace(self.path)


def run(plan: Plan) -> int:
    """All pieces that are asked for and not done; the status of the first that fails."""
    book = Book(plan)
    for piece in plan.pieces:
        if piece in book.done:
            say(NAME, f"{piece} is done ({book.spent[piece]:.1f} minutes)")
            continue
        began = time.monotonic()
        try:
            status = _first_failure(plan.commands(piece, book.room(piece)))
        finally:
            book.spent[piece] += (time.monotonic() - began) / 60
            book.save()
        if status:
            return status
        book.done.append(piece)
        book.save()
        say(NAME, f"{piece}: {book.spent[piece]:.1f} minutes")
    say(NAME, f"{sum(book.spent.values()):.1f} minutes in all; {plan.data}")
    return 0


def _first_failure(commands: Sequence[Sequence[str]]) -> int:
    runs = (call(command) for command in commands)
    return next((status for status in runs if status), 0)


def call(command: Sequence[str]) -> int:
    """Run it in a process of its own; returns its exit status."""
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m recipes.train.minutes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--target", required=True, help="folder of the target, or its name on the hub")
    add("--minutes", type=float, default=15, help="for all of it (15)")
    add("--data", type=Path, help="folder of all that is made (data/NAME-minutes)")
    add("--pieces", default=",".join(SHARES), help="some of them, with commas (all)")
    add("--device", default="auto", help="auto (cuda if there), cpu, cuda, cuda:1, ...")
    add("--init", type=Path, help="draft to go on from; it is evaluated, too")
    add("--recipe", type=Path, help="YAML file in place of the pieces' sizes for the device")
    return made


def read(argv: Sequence[str] | None) -> Plan:
    """The plan of a command line.

    Raises:
        ValueError: in one line.
    """
    given = parser().parse_args(argv)
    if not 0 < given.minutes < float("inf"):
        raise ValueError(f"minutes={given.minutes}: expected a number above 0")
    pieces = [piece for piece in given.pieces.split(",") if piece]
    if unknown := [piece for piece in pieces if piece not in SHARES]:
        raise ValueError(f"pieces: {unknown[0]!r} is unknown; allowed: {', '.join(SHARES)}")
    device = str(pick(given.device, "float32")[0])
    data = given.data or ROOT / "data" / f"{Path(given.target).name}-minutes"
    # the pieces run in the project's root
    target = str(Path(given.target).resolve()) if Path(given.target).exists() else given.target
    init = given.init.resolve() if given.init and given.init.exists() else given.init
    recipe = given.recipe.resolve() if given.recipe else None
    return Plan(target, data.resolve(), given.minutes, pieces, device, init, recipe)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 2 a mistake, 130 Ctrl-C."""
    return guarded(NAME, lambda: run(read(argv)))


if __name__ == "__main__":
    sys.exit(main())
