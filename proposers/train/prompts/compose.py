"""Compose training prompts from word lists: many categories, topics, styles and formats.

`compose(index)` is deterministic, so a run that died goes on where it stopped, and cycles through
the categories, so that any run of consecutive indices is a mix of all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from . import topics as t
from .knowledge import arithmetic, explain, question, reasoning
from .languages import multilingual, translation
from .programs import code, explain_code
from .reading import long_context, long_document, passages
from .talk import chat, roleplay, writing
from .tasks import complete_code

BUILDERS: dict[str, Callable[[random.Random], str]] = {
    "chat": chat,
    "stem": explain(t.SCIENCE),
    "code": code,
    "math": arithmetic,
    "writing": writing,
    "humanities": explain(t.HUMANITIES),
    "context": long_context,
    "roleplay": roleplay,
    "reasoning": reasoning,
    "explain_code": explain_code,
    "translation": translation,
    "complete_code": complete_code,
    "multilingual": multilingual,
    "rag": passages,
    "qa": question,
    "long": long_document,
}
ON_REQUEST = ("long",)
CATEGORIES = tuple(name for name in BUILDERS if name not in ON_REQUEST)
# Sums and functions to complete come twice in a cycle.
MIX = (*CATEGORIES[:11], "math", *CATEGORIES[11:], "complete_code")


def category_of(index: int, categories: Sequence[str] = MIX) -> str:
    """The category of prompt number ``index``."""
    return categories[index % len(categories)]


def compose(index: int, seed: int = 1, categories: Sequence[str] = MIX) -> tuple[str, str]:
    """Return (category, prompt) number ``index``; the same arguments give the same prompt."""
    name = category_of(index, categories)
    return name, BUILDERS[name](random.Random(f"{seed}/{index}"))
