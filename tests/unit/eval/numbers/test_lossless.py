"""Answers against vanilla's: what may be compared, where they part, and how sure vanilla was."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eval.cli.sweep import Condition
from eval.numbers.guards import inspect
from eval.numbers.lossless import lossless
from eval.numbers.runs import ArmRun
from eval.records.requests import ControlRecord, RequestRecord
from eval.records.results import Divergence, Lossless
from eval.speed_bench.control import ends_of, margin_of


def record(arm: str, text: str, prompt: str = "a", **more: Any) -> RequestRecord:
    return RequestRecord(arm=arm, prompt_id=prompt, category="c", text=text, **more)


def run(name: str, *records: RequestRecord, **more: Any) -> ArmRun:
    return ArmRun(name, records=list(records), **more)


def test_a_divergence_and_its_margin() -> None:
    again = ControlRecord(prompt_id="a", text="one two", ends=[3, 7], margins=[9.0, 0.25])
    vanilla = run("vanilla", record("vanilla", "one two"), control=[again])
    found = lossless(run("x", record("x", "one ten")), vanilla)
    part = Divergence(prompt_id="a", turn=0, character=5, token=1, margin=0.25)
    assert found == Lossless(identical=0, compared=1, divergences=[part])


def test_a_character_of_several_tokens_parts_at_the_first() -> None:
    """Token 1 begins a character that token 2 makes whole; by ids as well as by ends."""
    ids = [5, 6, 7]
    margins = [9.0, 0.1, 8.0]
    for known in (None, ids):
        again = ControlRecord(
            prompt_id="a", text="onö", token_ids=known, ends=[2, 2, 3], margins=margins
        )
        vanilla = run("vanilla", record("vanilla", "onö", token_ids=known), control=[again])
        other = record("x", "one", token_ids=[5, 8] if known else None)
        found = lossless(run("x", other), vanilla)
        assert found is not None
        assert (found.divergences[0].token, found.divergences[0].margin) == (1, 0.1)


def test_an_answer_that_goes_on_where_vanilla_ended() -> None:
    again = ControlRecord(prompt_id="a", text="one", ends=[3, 3], margins=[9.0, 0.2])
    vanilla = run("vanilla", record("vanilla", "one"), control=[again])
    found = lossless(run("x", record("x", "one more")), vanilla)
    assert found is not None
    assert (found.divergences[0].character, found.divergences[0].margin) == (3, 0.2)


def test_no_margin_where_the_control_parted_before() -> None:
    again = ControlRecord(prompt_id="a", text="a new one", ends=[1, 5, 9], margins=[1.0] * 3)
    vanilla = run("vanilla", record("vanilla", "one two"), control=[again])
    found = lossless(run("x", record("x", "one ten")), vanilla)
    assert found is not None
    assert found.divergences[0].margin is None


def test_vanilla_is_held_against_its_control() -> None:
    records = [record("vanilla", "one"), record("vanilla", "two", "b")]
    again = [ControlRecord(prompt_id="a", text="one"), ControlRecord(prompt_id="b", text="ten")]
    vanilla = run("vanilla", *records, control=again)
    found = lossless(vanilla, vanilla)
    assert found is not None
    assert (found.identical, found.compared) == (1, 2)


def test_later_turns_count_only_after_equal_ones() -> None:
    vanilla = run(
        "vanilla", *(record("vanilla", f"{p}{t}", p, turn=t) for p in "ab" for t in (0, 1))
    )
    arm = run(
        "x",
        *(record("x", text, p, turn=t) for p, t, text in [("a", 0, "a0"), ("a", 1, "other")]),
        *(record("x", text, p, turn=t) for p, t, text in [("b", 0, "other"), ("b", 1, "b1")]),
    )
    found = lossless(arm, vanilla)
    assert found is not None
    assert (found.identical, found.compared) == (1, 3)
    assert [(d.prompt_id, d.turn) for d in found.divergences] == [("a", 1), ("b", 0)]


def test_rounds_are_compared_with_the_same_round() -> None:
    texts = ["one", "two"]
    vanilla = run("vanilla", *(record("vanilla", t, round=i) for i, t in enumerate(texts)))
    found = lossless(run("x", *(record("x", t, round=i) for i, t in enumerate(texts))), vanilla)
    assert found is not None
    assert (found.identical, found.compared) == (2, 2)


def test_failed_and_sampled_answers_are_not_compared() -> None:
    vanilla = run("vanilla", record("vanilla", "one"))
    assert lossless(run("x", record("x", "one", error="broken")), vanilla) is None
    hot = Condition(1, 0.7)
    sampled = run("vanilla", record("vanilla", "one"), condition=hot)
    assert lossless(run("x", record("x", "two"), condition=hot), sampled) is None
    assert lossless(run("x", record("x", "two")), None) is None


def test_what_vanilla_was_sure_of_is_warned_of() -> None:
    def names(margin: float | None) -> list[str]:
        part = Divergence(prompt_id="a", turn=0, character=5, margin=margin)
        same = Lossless(identical=0, compared=1, divergences=[part])
        return [warned.name for warned in inspect(run("x"), same)]

    assert names(0.1) == names(None) == []
    assert names(3.0) == ["diverges_beyond_noise"]


def token(text: str, logprob: float = -0.1, *others: tuple[str, float]) -> dict[str, Any]:
    tops = [{"token": name, "logprob": value} for name, value in others]
    return {"token": text, "logprob": logprob, "bytes": None, "top_logprobs": tops}


def test_margins() -> None:
    assert margin_of(token("a", -0.5, ("a", -0.5), ("b", -1.75))) == 1.25
    assert margin_of(token("a")) is None


@given(st.text(max_size=20), st.data())
def test_ends_of_tokens_that_split_characters(text: str, data: st.DataObject) -> None:
    """Tokens of any bytes: a character ends with the token that has its last byte."""
    raw = text.encode("utf-8", "replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    ends = ends_of([{"token": "", "bytes": list(piece)} for piece in pieces])
    assert ends[-1] == len(raw.decode())
    assert ends == sorted(ends)
    for i, end in enumerate(ends):
        whole = b"".join(pieces[: i + 1]).decode("utf-8", "ignore")
        assert end == len(whole)


def test_answers_are_compared_by_all_their_texts() -> None:
    """Two that think otherwise differ, also where the content is the same or empty."""
    base = run("vanilla", record("vanilla", "", reasoning="un deux"))
    other = run("x", record("x", "", reasoning="one two"))
    found = lossless(other, base)
    assert found is not None
    assert (found.identical, found.compared, found.divergences[0].character) == (0, 1, 0)
    moved = run("x", record("x", "un deux"))
    found = lossless(moved, base)
    assert found is not None
    assert found.identical == 0


def test_token_ids_lead_where_both_have_them_all() -> None:
    """Other ids of the same text differ; ids that are not all there do not count."""
    base = run("vanilla", record("vanilla", "a b", token_ids=[1, 2], completion_tokens=2))
    for ids, tokens, identical in (([1, 3], 2, 0), ([1, 2], 2, 1), ([1], 2, 1)):
        arm = run("x", record("x", "a b", token_ids=ids, completion_tokens=tokens))
        found = lossless(arm, base)
        assert found is not None
        assert (found.identical, found.compared) == (identical, 1)


def test_two_empty_texts_are_no_proof() -> None:
    base = run("vanilla", record("vanilla", ""))
    assert lossless(run("x", record("x", "")), base) is None
    found = lossless(run("x", record("x", "a")), base)
    assert found is not None
    assert (found.identical, found.compared) == (0, 1)
