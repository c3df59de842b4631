"""What users reported against speculation in other engines, asked of vLLM with trees."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .battery import CASES, Seen, Server, same
from .serving import Client, Plain, accepted

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_answers_as_without_trees(
    plain: Plain, trees: Client, case: Callable[[Server], Seen]
) -> None:
    before = accepted(trees)
    seen = [case(Server(client.http, client.model)) for client in (plain[0], trees)]
    same(*seen)
    print(f"{case.__name__}: {accepted(trees) - before:.0f} draft tokens accepted")
