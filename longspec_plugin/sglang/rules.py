"""Rules that run along a request's text, kept true while its tree is walked.

SGLang applies penalties and minimum lengths, grammars and custom logit processors to the next token
after the text so far. On a walk the text grows from row to row: each level's draw must see what the
levels before it accepted. SGLang's own running penalties are not used, as they are told one token a
step only ("a relaxed version", ``eagle_prepare_for_decode``): all are made from the text itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .history import TokenHistory


class Rule(Protocol):
    """One kind of rule, for the requests of a batch that have it."""

    def lengthen(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """The texts of these batch rows have grown by a token each."""

    def apply(self, info: Any) -> None:
        """Tell SGLang's ``SamplingBatchInfo`` what holds for the next draw."""

    def restore(self) -> None:
        """The walk is over: bring SGLang's own objects back to where they were."""


def refused(request: Any) -> str | None:
    """Why a request gets no tree; None where it gets one.

    Left undrafted, and so exactly as in stock SGLang, are beams, whose members share a text, and
    grammars that cannot be taken back along a path.
    """
    if getattr(request, "beam_group", None):
        return "beam search"
    grammar = request.grammar
    if grammar is None:
        return None
    from sglang.srt.constrained.base_grammar_backend import BaseGrammarObject

    if type(grammar).rollback is BaseGrammarObject.rollback:
        return f"a grammar of {type(grammar).__name__}, which cannot roll back"
    return None


def rules_of(batch: Any, history: TokenHistory) -> list[Rule]:
    """What the requests of a batch need; empty for requests without such parameters."""
    kinds: tuple[tuple[Callable[[Any], Any], Callable[[Any, list[int], TokenHistory], Rule]], ...]
    kinds = ((penalised, Penalties), (lambda r: r.grammar, Grammars), (scripted, Scripts))
    found = [
        (kind, [row for row, request in enumerate(batch.reqs) if holds(request)])
        for holds, kind in kinds
    ]
    return [kind(batch, rows, history) for kind, rows in found if rows]


def penalised(request: Any) -> bool:
    """Whether penalties or a minimum length hold for this request."""
    params = request.sampling_params
    penalties = (params.frequency_penalty, params.presence_penalty, params.repetition_penalty - 1)
    return any(penalties) or params.min_new_tokens > 0


def scripted(request: Any) -> bool:
    """Whether it brings a custom logit processor, which may read its text."""
    return bool(request.custom_logit_processor)


class Penalties:
    """Frequency, presence and repetition penalties over a request's answer, and its minimum length.

    As in SGLang the prompt does not count, and penalties come before repetition's factor.
    """

    def __init__(self, batch: Any, rows: list[int], history: TokenHistory) -> None:
        device, params = batch.seq_lens.device, [batch.reqs[row].sampling_params for row in rows]
        column = lambda name: torch.tensor(  # noqa: E731
            [float(getattr(p, name)) for p in params], device=device
        )[:, None]
        self.rows = torch.tensor(rows, device=device)
        self.at = {row: place for place, row in enumerate(rows)}
        self.frequency, self.presence = column("frequency_penalty"), column("presence_penalty")
        self.repetition, self.least = column("repetition_penalty"), column("min_new_tokens")
        self.scaled = any(p.repetition_penalty != 1 for p in params)
        vocab = batch.sampling_info.vocab_size
        texts = answers(batch, rows, history)
        self.lengths = torch.tensor([[float(len(text))] for text in texts], device=device)
        self.counts = torch.zeros(len(rows), vocab, device=device)
        self.ends = torch.zeros(len(rows), vocab, dtype=torch.bool, device=device)
        for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
            self.counts[place] = torch.bincount(text, minlength=vocab)[:vocab]
            self.ends[place, end_tokens(batch.reqs[row], vocab)] = True

    def lengthen(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        for row, token in zip(rows, tokens, strict=True):
            if (place := self.at.get(row)) is not None:
                self.counts[place, token] += 1
                self.lengths[place] += 1

    def apply(self, info: Any) -> None:
        seen = self.counts > 0
        added = -self.frequency * self.counts - self.presence * seen
        added.masked_fill_(self.ends & (self.lengths < self.least), float("-inf"))
        size = (len(info.temperatures), self.counts.shape[1])
        info.acc_additive_penalties = added.new_zeros(size).index_copy_(0, self.rows, added)
        info.acc_scaling_penalties = None
        if self.scaled:
            factors = torch.where(seen, self.repetition, 1.0)
            info.acc_scaling_penalties = added.new_ones(size).index_copy_(0, self.rows, factors)

    def restore(self) -> None:
        """Nothing of SGLang's is touched but the step's own ``info``."""


class Grammars:
    """Matchers advance along the path, and roll back after it: SGLang advances them itself."""

    def __init__(self, batch: Any, rows: list[int], history: TokenHistory) -> None:
        self.matchers = {row: batch.reqs[row].grammar for row in rows}
        self.advanced = dict.fromkeys(rows, 0)

    def lengthen(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        for row, token in zip(rows, tokens, strict=True):
            matcher = self.matchers.get(row)
            if matcher is not None and not matcher.is_terminated():
                matcher.accept_token(token)
                self.advanced[row] += 1

    def apply(self, info: Any) -> None:
        """Masks are made of the matchers for every draw."""

    def restore(self) -> None:
        for row, count in self.advanced.items():
            if count:
                self.matchers[row].rollback(count)


class Scripts:
    """Custom logit processors read the request's ``output_ids``."""

    def __init__(self, batch: Any, rows: list[int], history: TokenHistory) -> None:
        self.requests = {row: batch.reqs[row] for row in rows}
        self.before = {row: request.output_ids for row, request in self.requests.items()}
        for row, text in zip(rows, answers(batch, rows, history), strict=True):
            self.requests[row].output_ids = array("q", text.tolist())

    def lengthen(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        for row, token in zip(rows, tokens, strict=True):
            if row in self.requests:
                self.requests[row].output_ids.append(token)

    def apply(self, info: Any) -> None:
        """The processors are called by SGLang's sampler."""

    def restore(self) -> None:
        for row, request in self.requests.items():
            request.output_ids = self.before[row]


def answers(batch: Any, rows: Sequence[int], history: TokenHistory) -> list[Tensor]:
    """Each request's tokens behind its prompt, the root last, however late SGLang's record is."""
    found = []
    for row in rows:
        slot = int(batch.req_pool_indices_cpu[row])
        prompt = len(batch.reqs[row].origin_input_ids)
        found.append(history.tokens[slot, prompt : int(history.known[slot])].long())
    return found


def end_tokens(request: Any, vocab: int) -> list[int]:
    """What ends this request's answer, and may not before its minimum length."""
    params, tokenizer = request.sampling_params, request.tokenizer
    told = [params.stop_token_ids, request.eos_token_ids, tokenizer.additional_stop_token_ids]
    ends = {tokenizer.eos_token_id}.union(*(ids or () for ids in told))
    return [token for token in ends if token is not None and token < vocab]
