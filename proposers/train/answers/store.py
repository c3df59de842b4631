"""The journal of answers: one JSON object a line, on disk as soon as the answer is there.

`answers.jsonl` is only ever appended to. What a killed run left of a last line is cut off when the
next one opens it. `answers.json` beside it names the target and the model that answered.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..jsonl import cut_torn, records
from ..lock import locked

FORMAT = 1
Source = Literal["composed", "self", "file"]
Finish = Literal["stop", "length", "loop"]


@dataclass(frozen=True)
class Answer:
    """One line of the journal.

    Attributes:
        id: stable: the same prompt has it in the next run.
        prompt_ids: tokens that the target was given, chat template included.
        answer_ids: tokens that it answered; ends with EOS if ``finish`` is "stop".
        temperature: 0 is greedy.
        finish: "loop": the answer repeated itself and was cut after two rounds.
        ids: "server", or "retokenised": made here from the server's text.
        prompt: the user's turn, as text.
    """

    id: str
    category: str
    source: Source
    prompt_ids: list[int]
    answer_ids: list[int]
    temperature: float
    finish: Finish
    ids: Literal["server", "retokenised"] = "server"
    prompt: str = ""

    @property
    def tokens(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


class Journal:
    """All answers of a folder: what was stored before, counted, and a place for more.

    Args:
        folder: made if it is missing.
        seen: called for each answer that is there already.
        identity: who answers (target, model); a folder holds the answers of one.

    Raises:
        ValueError: one line: another run writes here, another model's answers, a broken line.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, str],
        seen: Callable[[Answer], None] = lambda answer: None,
    ) -> None:
        self.path = folder / "answers.jsonl"
        self.ids: set[str] = set()
        self.tokens: Counter[str] = Counter()  # by source
        self.sequences: Counter[str] = Counter()  # by category
        self._file = locked(self.path)
        _check_identity(folder / "answers.json", identity, bool(self.path.stat().st_size))
        cut_torn(self.path)
        for answer in read_answers(self.path):
            self._count(answer)
            seen(answer)

    def add(self, answer: Answer) -> None:
        """Store one answer; it is with the operating system when this returns."""
        self._file.write(json.dumps(asdict(answer), ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self._count(answer)

    def close(self) -> None:
        self._file.close()

    def _count(self, answer: Answer) -> None:
        self.ids.add(answer.id)
        self.tokens[answer.source] += answer.tokens
        self.sequences[answer.category] += 1


def read_answers(path: Path) -> Iterator[Answer]:
    """Answers of a journal.

    Raises:
        ValueError: one line that names the place of a line that is no answer.
    """
    for number, record in records(path):
        try:
            answer = Answer(**record)
        except TypeError:
            raise ValueError(f"{path}:{number} is not an answer; remove the line") from None
        yield answer


def _check_identity(path: Path, identity: dict[str, str], answered: bool) -> None:
    """Refuse to mix answers of two models; remember whose they are."""
    if path.exists() and answered:
        known = json.loads(path.read_text())
        for key, value in {"format": FORMAT, **identity}.items():
            if key != "name" and known.get(key) != value:
                raise ValueError(
                    f"{path.parent} holds answers of {key} {known.get(key)!r}, not {value!r};"
                    " go on with the same, or choose another --out"
                )
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"format": FORMAT, **identity}, indent=1) + "\n")
    temporary.replace(path)
