"""Requests whose drafts keep failing."""

from __future__ import annotations

from proposers.load.rests import FAILS, FIRST, LONGEST, Rests


def rested(rests: Rests, request: str) -> int:
    """Steps until it is drafted again."""
    count = 0
    while not rests.wants(request):
        count += 1
    return count


def test_rests_become_longer_and_an_accepted_token_ends_them() -> None:
    rests = Rests()
    for _ in range(FAILS - 1):
        rests.note("a", 3, 0)
        assert rests.wants("a")
    found = []
    for _ in range(7):
        rests.note("a", 3, 0)
        found.append(rested(rests, "a"))
    assert found == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, *[LONGEST] * 3]
    rests.note("a", 3, 1)
    for _ in range(FAILS - 1):
        rests.note("a", 3, 0)
    assert rests.wants("a")
    rests.note("a", 3, 0)
    assert rested(rests, "a") == FIRST


def test_others_and_empty_trees_are_of_no_account() -> None:
    rests = Rests()
    for _ in range(10 * FAILS):
        rests.note("empty", 0, 0)
        rests.note("bad", 1, 0)
    assert rests.wants("empty")
    assert not rests.wants("bad")
    rests.forget(["bad", "unknown"])
    assert rests.wants("bad")
