"""LongBench and LongBench-v2: long documents, in prompts of our own wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cli.errors import UserError
from . import fetched as places
from .prompt import Prompt
from .rows import Row, filled, prompts

NAME = "longbench"
V2 = "v2"
V2_FILES = ("v2.json", "data.json")


@dataclass(frozen=True)
class Template:
    """A task's prompt; ``{context}`` and ``{input}`` are the fields of a line.

    Code is continued as it stands, without a chat template: its end is the cue to go on. A chat
    endpoint knows no such thing, so there it gets one all the same.
    """

    text: str
    chat: bool = True

    def fill(self, context: str, question: str) -> str:
        """One pass, so that braces within the document stay what they are."""
        return self.text.format(context=context, input=question)


_QUESTION = Template(
    "Below is a text, or several, followed by a question. Answer it from what is written there,"
    " in as few words as will do.\n\n=== Text ===\n{context}\n=== End of the text ===\n\n"
    "Question: {input}\nAnswer:"
)
TEMPLATES = {
    "gov_report": Template(
        "Below is a report by a public body. Sum it up on one page: its subject, its findings and"
        " its recommendations.\n\n=== Report ===\n{context}\n=== End of the report ===\n\n"
        "A one-page summary of this report:"
    ),
    "qmsum": Template(
        "Below is what was said in a meeting, followed by a question about it. Answer in a few"
        " sentences, from the meeting alone.\n\n=== Transcript ===\n{context}\n=== End of the"
        " transcript ===\n\nQuestion: {input}\nAnswer:"
    ),
    "multi_news": Template(
        "Below are several articles on one event. Write a single summary that covers all of"
        " them.\n\n=== Articles ===\n{context}\n=== End of the articles ===\n\n"
        "A summary of all articles:"
    ),
    "lcc": Template("Go on with this code where it breaks off.\n\n{context}", chat=False),
    "repobench-p": Template(
        "Go on with the last file of this code where it breaks off; pieces of other files come"
        " first.\n\n{context}\n{input}",
        chat=False,
    ),
}
QA = ("narrativeqa", "qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "musique")
ALL = TEMPLATES | dict.fromkeys(QA, _QUESTION)
CHOICE = (
    "Below is a text, followed by a question with four answers, of which one is right.\n\n"
    "=== Text ===\n{context}\n=== End of the text ===\n\nQuestion: {question}\n{choices}\n\n"
    "Say which answer is right, and why in a sentence or two."
)


def load(path: Path, config: str | None) -> list[Prompt]:
    """Read a file, or of a folder the task ``config``, ``v2``, or every task that is there."""
    if path.is_file():
        if config:
            raise UserError(f"--config {config}: {path} is a single file; leave it out")
        return of_rows(filled(path))
    names = [f"{task}.jsonl" for task in ALL]
    if config == V2:
        names = list(V2_FILES)
    elif config not in (None, "all"):
        names = [f"{config}.jsonl"]
    if found := [path / name for name in names if (path / name).is_file()]:
        return of_rows([row for file in found for row in filled(file)])
    raise UserError(
        f"--dataset {NAME}: no {config or 'task'} in {path}; run {places.command(NAME, config)},"
        f" or give --dataset {NAME}:PATH"
    )


def of_rows(rows: Sequence[Row]) -> list[Prompt]:
    """A prompt of each row, of either version."""
    return prompts(rows, lambda row: (_choice if "choice_A" in row.fields else _task)(row))


def _task(row: Row) -> Prompt:
    """The task is told by the row, else by the file's name; ``_e`` marks LongBench-E."""
    task = (row.maybe("dataset") or row.path.name.partition(".")[0]).removesuffix("_e")
    if task not in ALL:
        raise row.bad(f"no prompt for task {task}; there are prompts for {', '.join(ALL)}")
    context = row.turns([row.text("context")])[0]
    turn = ALL[task].fill(context, row.text("input"))
    name = row.maybe("_id") or str(row.number)
    return Prompt(prompt_id=f"{task}/{name}", category=task, turns=[turn])


def _choice(row: Row) -> Prompt:
    context = row.turns([row.text("context")])[0]
    choices = "\n".join(f"{letter}. {row.text(f'choice_{letter}')}" for letter in "ABCD")
    turn = CHOICE.format(context=context, question=row.text("question"), choices=choices)
    return Prompt(
        prompt_id=row.maybe("_id") or str(row.number),
        category=row.maybe("domain") or "longbench-v2",
        turns=[turn],
        sub_category=row.maybe("sub_domain"),
    )
