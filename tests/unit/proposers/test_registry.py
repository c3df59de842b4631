"""Finding proposers: by name, by dotted path, by entry point."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from proposers import registry
from proposers.base import Proposer

from .contexts import first_trees, of_texts

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_built_in_names() -> None:
    assert {"glide", "prompt_lookup", "glide_lookup"} <= set(registry.available())
    for name in registry.BUILTIN:
        assert issubclass(registry.load_proposer(name), object)


def test_the_example_by_dotted_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    found = registry.load_proposer("bigram_proposer:BigramProposer")
    proposer = found(None, {"branches": 2})
    assert isinstance(proposer, Proposer)
    trees = first_trees(proposer, of_texts([[1, 2, 1, 2, 1, 3, 2, 4, 1]]))
    assert trees.token_lists() == [[2, 3, 1, 2]]
    assert trees.parents[0].tolist() == [-1, -1, 0, 1]


def test_an_installed_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    entry = EntryPoint("bigram", "bigram_proposer:BigramProposer", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    assert registry.load_proposer("bigram").__name__ == "BigramProposer"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("eagle", "proposer='eagle' is unknown; allowed: .*glide.*package.module:Class"),
        ("nowhere.at:All", "cannot be imported"),
        ("json:JSONDecoder", "lacks propose, bind"),
    ],
)
def test_unknown_names_are_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        registry.load_proposer(name)
    assert "\n" not in str(caught.value)
