"""How a request may be drafted, by its sampling parameters: a tree, a chain, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.sampling_params import SamplingParams

ALONG_THE_TEXT = ("bad_words", "min_tokens", "thinking_token_budget", "structured_outputs")
"""Parameters whose effect at a token depends on the tokens before it, beside penalties."""


@dataclass(frozen=True)
class Way:
    """What a request's parameters allow.

    Attributes:
        refused: why it is not drafted, in a word or two; None where it is. (Min-p and logit bias:
            vLLM itself refuses such requests, with a message, beside any speculative method.)
        chained: its drafts are a chain: the engine's grammars advance along one.
        bare: its next token depends on the logits alone, by temperature, top-k and top-p.
    """

    refused: str | None = None
    chained: bool = False
    bare: bool = True

    @property
    def drafted(self) -> bool:
        return self.refused is None

    @classmethod
    def of(cls, params: SamplingParams | None) -> Way:
        """From vLLM's sampling parameters; None: a request that samples nothing."""
        if params is None:
            return cls("no sampling parameters", bare=False)
        told = {name for name in ALONG_THE_TEXT if getattr(params, name, None)}
        refused = "logprob_token_ids" if params.logprob_token_ids else None
        rules = bool(told or params.allowed_token_ids or penalised(params))
        return cls(refused, "structured_outputs" in told, not rules)


def penalised(params: SamplingParams) -> bool:
    """Whether tokens of the text so far are penalised."""
    penalties = (params.frequency_penalty, params.presence_penalty, params.repetition_penalty - 1)
    return any(penalties)
