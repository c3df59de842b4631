"""LongBench's tasks: their files, and prompts in words of our own around its documents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from .reading import DATA, SAMPLE, Data, Line, Sample, read

MISSING = (
    "LongBench is THUDM/LongBench on the Hugging Face hub: unpack its data.zip and give that"
    " folder as --data-path, or --data-path sample for the small built-in set"
)


@dataclass(frozen=True)
class Template:
    """A task's prompt; ``{context}`` and ``{input}`` are the fields of a line.

    Code is continued as it stands, without a chat template: its end is the cue to go on.
    """

    text: str
    chat: bool = True

    def fill(self, context: str, question: str) -> str:
        """One pass, so that braces within the document stay what they are."""
        return self.text.format(context=context, input=question)


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
TASKS = tuple(TEMPLATES)


def load(task: str, data_path: str, count: int | None) -> list[Data]:
    """The first ``count`` samples of a task, or of each for ``all``."""
    names = TASKS if task == "all" else (task,)
    return [_first(_load(name, data_path, task == "all"), count) for name in names]


def _first(data: Data, count: int | None) -> Data:
    there = len(data.samples)
    if count is not None and count > there:
        raise UserError(
            f"--test-length {count}: {data.task} has {there} samples; give 1 to {there}"
        )
    return replace(data, samples=data.samples[:count])


def _load(task: str, data_path: str, several: bool) -> Data:
    template = TEMPLATES[task]

    def sample(line: Line) -> Sample:
        prompt = template.fill(line.text("context"), line.text("input"))
        if not isinstance(line.get("answers"), list):
            raise line.bad("answers is not a list of texts")
        return Sample(str(line.get("_id")), prompt, template.chat)

    return read(_file(task, data_path, several), task, sample, MISSING)


def _file(task: str, data_path: str, several: bool) -> Path:
    """``sample``, a folder of ``<task>.jsonl``, or for a single task the file itself."""
    if data_path == SAMPLE:
        return DATA / "longbench" / f"{task}.jsonl"
    path = Path(data_path)
    if path.suffix != ".jsonl" or path.is_dir():
        return path / f"{task}.jsonl"
    if several:
        raise UserError(f"--data-path {path}: --task all needs a folder of <task>.jsonl files")
    return path
