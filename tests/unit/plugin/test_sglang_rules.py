"""Rules along the text in SGLang: which requests are drafted, and what a walk's draws are told."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from longspec_plugin.sglang.history import TokenHistory
from longspec_plugin.sglang.rules import Grammars, Penalties, Scripts, refused, rules_of

from .test_sglang_history import batch, request

VOCAB = 8
TOKENIZER = SimpleNamespace(eos_token_id=7, additional_stop_token_ids=None)


def given(*requests: SimpleNamespace) -> tuple[SimpleNamespace, TokenHistory]:
    """A batch whose requests were prefilled and have drawn token 5."""
    for one in requests:
        one.tokenizer, one.eos_token_ids = TOKENIZER, {6}
    rows = [(one, slot, len(one.origin_input_ids)) for slot, one in enumerate(requests, 1)]
    found = batch(*rows)
    count = len(requests)
    found.sampling_info = SimpleNamespace(vocab_size=VOCAB, temperatures=torch.ones(count, 1))
    history = TokenHistory(torch.zeros(count + 1, 20, dtype=torch.int32))
    history.begin(found, torch.full((count,), 5))
    return found, history


def test_requests_without_rules_cost_nothing() -> None:
    assert rules_of(*given(request("a", [1, 2], []), request("b", [3], []))) == []


def test_penalties_count_the_answer_and_what_the_walk_has_accepted() -> None:
    params = {"frequency_penalty": 0.5, "presence_penalty": 1.0, "repetition_penalty": 2.0}
    one, other = request("a", [1, 1], []), request("b", [2], [], **params)
    found, history = given(one, other)
    (rule,) = rules_of(found, history)
    assert isinstance(rule, Penalties)
    rule.lengthen([0, 1], [3, 5])
    rule.apply(found.sampling_info)
    added, factors = (
        getattr(found.sampling_info, f"acc_{name}_penalties").tolist()
        for name in ("additive", "scaling")
    )
    assert added == [[0] * VOCAB, [0, 0, 0, 0, 0, -2, 0, 0]]
    assert factors == [[1] * VOCAB, [1, 1, 1, 1, 1, 2, 1, 1]]


def test_no_end_before_the_minimum_length() -> None:
    one = request("a", [1], [], min_new_tokens=2, stop_token_ids=[4])
    found, history = given(one)
    (rule,) = rules_of(found, history)
    rule.apply(found.sampling_info)
    ends = found.sampling_info.acc_additive_penalties.isinf().tolist()[0]
    assert [token for token, end in enumerate(ends) if end] == [4, 6, 7]
    rule.lengthen([0], [3])
    rule.apply(found.sampling_info)
    assert not found.sampling_info.acc_additive_penalties.any()
    assert found.sampling_info.acc_scaling_penalties is None


class Matcher:
    """Accepts all; ends with token 9."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def is_terminated(self) -> bool:
        return self.tokens[-1:] == [9]

    def accept_token(self, token: int) -> None:
        assert not self.is_terminated()
        self.tokens.append(token)

    def rollback(self, count: int) -> None:
        del self.tokens[-count:]


def test_matchers_follow_the_walk_to_their_end_and_come_back() -> None:
    one = request("a", [1], [])
    one.grammar = Matcher()
    (rule,) = rules_of(*given(one, request("b", [1], [])))
    assert isinstance(rule, Grammars)
    for token in (3, 9, 4):
        rule.lengthen([0, 1], [token, 1])
    assert one.grammar.tokens == [3, 9]
    rule.restore()
    assert one.grammar.tokens == []


def test_scripts_see_the_answer_as_it_is_on_the_walk() -> None:
    one = request("a", [1], [])
    one.custom_logit_processor = "{}"
    (rule,) = rules_of(*given(one))
    assert isinstance(rule, Scripts)
    rule.lengthen([0], [3])
    assert one.output_ids == array("q", [5, 3])
    rule.restore()
    assert one.output_ids == array("q", [])  # as far as SGLang's own record is


def test_who_gets_no_tree() -> None:
    pytest.importorskip("sglang", reason="needs the engine: make setup-sglang")
    from sglang.srt.constrained.base_grammar_backend import BaseGrammarObject

    one = request("a", [1], [], presence_penalty=1.0)
    assert refused(one) is None
    one.grammar = Matcher()
    assert refused(one) is None
    one.grammar = BaseGrammarObject()
    assert "roll back" in str(refused(one))
    one.beam_group = object()
    assert refused(one) == "beam search"


def test_no_device_is_read_while_requests_decode(tmp_path: Any) -> None:
    """All of a step that is ours, as on a GPU, with the lint of device reads."""
    pytest.importorskip("sglang", reason="needs the engine: make setup-sglang")
    from longspec_plugin.sglang.drafter import TreeDrafter
    from longspec_plugin.sglang.verify_input import TreeVerifyInput
    from proposers.acceptance import greedy_walk
    from proposers.glide.proposer import GlideProposer
    from tests.engine.v2.reads import forbidden
    from tests.unit.glide.test_proposer import context
    from tests.unit.glide.tiny import tiny_draft, tiny_target

    tiny_draft(tmp_path)
    proposer, target = GlideProposer(tmp_path, {"tree_shape": [3, 2]}), tiny_target()
    pool = SimpleNamespace(req_to_token=torch.zeros(3, 64, dtype=torch.int32))
    runner = SimpleNamespace(
        req_to_token_pool=pool,
        model=None,
        model_config=SimpleNamespace(context_len=60),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("longspec_plugin.sglang.drafter.target_model", lambda *_: target)
        drafter = TreeDrafter(proposer, runner, 2, static=True)
    proposer.model.quick = proposer.window.filler = None
    drawn = context([4, 6], 0)
    step = batch((request("a", [1, 2, 3], []), 1, 3), (request("b", [4, 5, 6, 7, 8], []), 2, 5))
    drafter.history.begin(step, torch.tensor([9, 9]))
    drafter.remember_hidden(step.req_pool_indices, drawn.hidden_states)
    drafter.draft(step, lambda _: drawn.target_kv)  # the first time: windows are filled

    on_host = [step.req_pool_indices_cpu.tolist(), step.seq_lens_cpu.tolist()]
    step.req_pool_indices_cpu, step.seq_lens_cpu = (
        SimpleNamespace(tolist=lambda found=found: found) for found in on_host
    )
    with forbidden():
        trees = drafter.draft(step, lambda _: drawn.target_kv)
        lengths = step.seq_lens.long()
        rows = TreeVerifyInput(trees, drafter.history.roots(step), lengths, 10, 8)
        walk = greedy_walk(trees, rows.draft_token.view(2, 10), static=True)
        drafter.history.extend(step, walk.tokens, walk.accepted + 1)
    assert drafter.history.known.tolist()[1:] == [5, 7]
