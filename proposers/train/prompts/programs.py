"""Prompts about programs: write, explain, test, document."""

from __future__ import annotations

import random

from . import topics as t
from .documents import library_source


def code(r: random.Random) -> str:
    """Write, explain or test a small program."""
    task, language = r.choice(t.CODE_TASKS), r.choice(t.CODE_LANGUAGES)
    return r.choice(
        [
            "Write a {l} program that {t}.",
            "Write a {l} function that {t}, with comments.",
            "Show me how one {t} in {l}. I mean code that {t}.",
            "Write {l} code that {t} and test it.",
            "Explain step by step how a {l} function that {t} works, then write it.",
            "I need {l} code. It {t}. Handle errors too.",
            "Write a class in {l} that {t}.",
            "What is the time complexity of code that {t}? Show it in {l}.",
            "Write unit tests in {l} for a function that {t}.",
            "Write short {l} code that {t}.",
        ]
    ).format(t=task, l=language)


def explain_code(r: random.Random) -> str:
    """Explain or document a function of the standard library, source included."""
    source = library_source(r)
    ask = r.choice(
        [
            "What does this code do?",
            "Explain this code line by line.",
            "Add comments to this code.",
            "Write a docstring for this function.",
            "Are there bugs in this code?",
            "Rewrite this code so that it is easier to read.",
            "Write tests for this code.",
            "Complete this code and explain what you added.",
        ]
    )
    if ask.startswith("Complete"):
        source = source[: int(len(source) * r.uniform(0.3, 0.7))]
    return (
        f"{ask}\n\n```python\n{source}\n```"
        if r.random() < 0.7
        else f"```python\n{source}\n```\n\n{ask}"
    )
