"""How a request may be drafted, by its sampling parameters: a tree, a chain, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.sampling_params import SamplingParams

RULES = ("bad_words", "min_tokens", "structured_outputs", "allowed_token_ids")
"""Parameters that change the logits, beside penalties and budgets of thinking."""


@dataclass(frozen=True)
class Way:
    """What a request's parameters allow.

    Attributes:
        refused: why it is not drafted, in a word or two; None where it is. (Min-p and logit bias:
            vLLM itself refuses such requests, with a message, beside any speculative method.)
        chained: its drafts are a chain: the engine's grammars advance along one.
        timed: its thinking has a budget: a chain where all rows are drawn at once, as the engine
            looks for the marks of thinking in the rows before a row.
        bare: its next token depends on the logits alone, by temperature, top-k and top-p.
    """

    refused: str | None = None
    chained: bool = False
    timed: bool = False
    bare: bool = True

    @property
    def drafted(self) -> bool:
        return self.refused is None

    @classmethod
    def of(cls, params: SamplingParams | None) -> Way:
        """From vLLM's sampling parameters; None: a request that samples nothing."""
        if params is None:
            return cls("no sampling parameters", bare=False)
        refused = "logprob_token_ids" if params.logprob_token_ids else None
        timed = getattr(params, "thinking_token_budget", None) is not None  # 0 is one
        ruled = timed or penalised(params) or any(getattr(params, name, None) for name in RULES)
        return cls(refused, bool(params.structured_outputs), timed, not ruled)


def penalised(params: SamplingParams) -> bool:
    """Whether tokens of the text so far are penalised."""
    penalties = (params.frequency_penalty, params.presence_penalty, params.repetition_penalty - 1)
    return any(penalties)
