"""report.html: escaped, balanced, self-contained, and without sections that have no data."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from eval.records.requests import RequestRecord
from eval.records.results import ArmResult, Bin, Results, Warned
from eval.report import select
from eval.report.html import definitions, html

from ..report_samples import EMPTY, EVIL, record, records, results, spec, vanilla

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced; keeps what could be loaded, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(html(results(), records()))


def test_balanced_and_self_contained() -> None:
    text = html(results(), records())
    page = Page(text)
    assert all(each.startswith("#") for each in page.loads)
    assert "http" not in text.replace("http-equiv", "")
    assert not re.search(r"url\((?!#)", text)
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert len(page.ids) == len(set(page.ids))
    inner = {each[1:] for each in page.loads} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert inner <= set(page.ids)


def test_every_plot_is_there_with_its_text(page: Page) -> None:
    for title in (
        "Speedup",
        "Speedup by category",
        "Time of a cycle",
        "Break-even",
        "Acceptance length by category",
        "Acceptance by position",
        "Acceptance length by context length",
        "Acceptance length by generated position",
        "Time to first token",
        "Time per output token",
        "Latency of a request",
    ):
        assert f"\n{title}\n" in page.text
    assert "1.56 [1.31, 1.87]" in page.text
    assert "longspec 1.66×" in page.text
    assert "concurrency" not in page.text.split("Definitions")[0].replace("speed_bench", "")


def test_what_was_drafted_at_each_load_is_drawn_where_there_are_several() -> None:
    one = results()
    title = "What was drafted at each load"
    assert title not in Page(html(one, records())).text
    more = [
        arm.model_copy(update={"concurrency": 8, "label": f"{arm.label} c8"}) for arm in one.arms
    ]
    both = one.model_copy(update={"arms": [*one.arms, *more]})
    text = Page(html(both, records())).text
    assert f"\n{title}\n" in text
    assert "50%" in text


@pytest.mark.parametrize(
    "cell", ["1.56×", "[1.31, 1.87]", "31.2 tok/s", "2.58", "2/4", "3/4 (control)", "0.017", "3.14"]
)
def test_numbers(cell: str, page: Page) -> None:
    assert cell in page.text


def test_hostile_text_is_escaped_everywhere() -> None:
    arm = spec(EVIL).model_copy(update={"categories": {EVIL: spec().categories["coding"]}})
    told = [record("vanilla", EVIL, EVIL), record(EVIL, EVIL, "other" + EVIL)]
    told.append(record(EVIL, "x-2").model_copy(update={"error": EVIL}))
    shown = results(vanilla(), arm)
    shown.warnings.append(Warned(name=EVIL, arm=EVIL, message=EVIL))
    for part in (shown.provenance, shown.provenance["versions"]):
        part[EVIL] = EVIL
    shown.provenance["server_commands"] = {EVIL: EVIL}
    shown.provenance["command"] = EVIL
    text = html(shown, told)
    assert "<script" not in text
    assert "script" not in Page(text).tags
    assert EVIL in Page(text).text


def test_dollars_are_no_formulas() -> None:
    assert "$x_1$" in Page(html(results(vanilla(), spec("$x_1$")), [])).text


@pytest.mark.parametrize("arms", [[], [EMPTY], [vanilla()], [spec()]])
def test_little_data(arms: list[ArmResult]) -> None:
    shown = Results(complete=False, arms=arms, warnings=[], provenance={})
    text = Page(html(shown, [])).text
    assert "stopped early" in text
    assert "Latency\n" not in text
    assert "\nAnswers\n" not in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_one_request_with_nothing_known() -> None:
    bare = RequestRecord(arm="vanilla", prompt_id="x", category="all")
    assert "0 tokens" in Page(html(results(vanilla()), [bare])).text


def test_bins_without_a_length_leave_a_gap() -> None:
    bins = [Bin(low=0, high=32, steps=0, acceptance_length=None)]
    arm = spec().model_copy(update={"by_context": bins, "by_generated": []})
    assert "context length" not in Page(html(results(arm), [])).text


def sweep() -> list[ArmResult]:
    made = []
    for c in (1, 4, 16):
        made += [vanilla(f"vanilla c={c}", c), spec("longspec", f"longspec c={c}", c)]
        made.append(spec("ngram", f"ngram c={c}", c))
    return made


def test_many_conditions() -> None:
    text = Page(html(results(*sweep()), records())).text
    assert "Throughput over concurrency" in text
    assert "TPOT over concurrency" in text
    assert "show vanilla c=1, longspec c=1, ngram c=1; the tables have all" in text
    assert [arm.concurrency for arm in select.plotted(results(*sweep()))] == [1, 1, 1]


def test_records_find_their_condition() -> None:
    told = [record("longspec", "a-1").model_copy(update={"concurrency": c}) for c in (1, 4, 4, 9)]
    found = select.by_label(sweep(), told)
    assert [len(found[f"longspec c={c}"]) for c in (1, 4, 16)] == [1, 2, 0]


def test_answers() -> None:
    arms = [vanilla(), spec()]
    told = [record("vanilla", f"a-{i}", "one two") for i in range(150)]
    told += [record("longspec", "a-0", "one two"), record("longspec", "a-5", "one three")]
    prompts, total = select.prompts(arms, select.by_label(arms, told))
    assert (len(prompts), total) == (select.MOST_PROMPTS, 150)
    assert prompts[0].answers[1].identical
    other = next(each for each in prompts if each.prompt_id == "a-5")
    assert (other.differing, other.answers[1].same, other.answers[1].rest) == (1, "one t", "hree")


def test_long_answers_are_cut() -> None:
    arms, long = [vanilla()], "x" * 50_000
    prompts, _ = select.prompts(arms, {"vanilla": [record("vanilla", "a-1", long)]})
    assert prompts[0].answers[0].cut
    assert len(prompts[0].answers[0].same) == select.MOST_OF_ONE


def test_size() -> None:
    told = [
        record(arm, f"a-{i}", "word " * 400) for i in range(88) for arm in ("vanilla", "longspec")
    ]
    assert len(html(results(), told).encode()) < 1_500_000


def test_definitions_are_those_of_the_help() -> None:
    found = dict(definitions())
    assert found["joint p_i"] == "P(at least i accepted) = per_pos[i] / steps"
    assert found["acceptance length AL"].endswith("/ all decode steps")
