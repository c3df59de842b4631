"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]], texts: int = 1) -> Iterator[str]:
    """Lines of a Markdown table; numbers, which begin after ``texts`` columns, to the right."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join([" --- "] * texts + [" ---: "] * (len(head) - texts)) + "|"
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
