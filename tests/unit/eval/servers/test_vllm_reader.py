"""vLLM's counters, as a server with two data-parallel engines told them."""

from __future__ import annotations

from pathlib import Path

from eval.numbers.runs import acceptance_length
from eval.records.counters import Counters
from eval.servers.readers.vllm import VllmReader

TWO_ENGINES = Path(__file__).with_name("two_engines.txt")


def test_counters_are_summed_over_engines() -> None:
    found = VllmReader().counters(TWO_ENGINES.read_text())
    assert found == Counters(179, 1969, 179, [111, 41, 17, 10, 0], 357)
    assert acceptance_length(found) == 2.0


def test_an_engine_that_has_not_begun_counts_nothing() -> None:
    lines = TWO_ENGINES.read_text().splitlines()
    one = "\n".join(line for line in lines if 'engine="1"' not in line) + "\n"
    assert VllmReader().counters(one) == Counters(87, 957, 103, [56, 27, 12, 8, 0], 192)
