"""What users reported against speculation in other engines, asked of SGLang with trees."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..battery import CASES, Seen, Server, same
from .serving import Client

pytestmark = pytest.mark.engine
OTHER = {
    "many_answers": "seeds have no effect there without deterministic inference",
    "prompt_logprobs": "OpenAI's API has no such parameter there",
    "beams": "OpenAI's API has no such parameter there",
}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.__name__ not in OTHER], ids=lambda case: case.__name__
)
def test_answers_as_without_trees(
    plain: Client, trees: Client, case: Callable[[Server], Seen]
) -> None:
    same(*[case(Server(client.http, "default")) for client in (plain, trees)])
