"""What is left undrafted is said, and not at every request."""

from __future__ import annotations

import pytest

from longspec_plugin.undrafted import AGAIN, Undrafted


def test_a_reason_is_told_at_first_and_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    undrafted = Undrafted("longspec.tests")
    for _ in range(AGAIN):
        undrafted.note("logprob_token_ids")
    undrafted.note("a grammar")
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "longspec: 1 request so far served without drafts: logprob_token_ids",
        f"longspec: {AGAIN} requests so far served without drafts: logprob_token_ids",
        "longspec: 1 request so far served without drafts: a grammar",
    ]
