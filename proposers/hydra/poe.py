"""Product-of-experts decoding: one head drafts a block, the product of the others verifies it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from .config import (
    RULES,
    TRUNKS,
    check_beta,
    check_choice,
    check_draft_head,
    check_prompt,
    check_temperature,
    check_whole,
)
from .draft import DRAFTERS, Tail, mean_logits
from .model import HydraTransformer
from .rule import Chance, Verdict, distribution, product_of_mean, verify


@dataclass
class PoEOutput:
    """What one call generated.

    Attributes:
        tokens: the answer, its EOS included.
        accepted, resampled, bonus: where they came from; they add up to ``len(tokens)``.
        drafted: tokens that the draft head proposed.
        steps: verified blocks after prefill.
        trunk_forwards: runs of the trunk after prefill.
        resampled_mask: for each token whether it replaced a refused one.
        text: of the tokens, where there is a tokenizer.
    """

    tokens: list[int] = field(default_factory=list)
    accepted: int = 0
    resampled: int = 0
    bonus: int = 0
    drafted: int = 0
    steps: int = 0
    trunk_forwards: int = 0
    resampled_mask: list[bool] = field(default_factory=list)
    text: str | None = None

    @property
    def acceptance(self) -> float:
        """Accepted drafted tokens of those that were judged; nan where none was."""
        judged = self.accepted + self.resampled
        return self.accepted / judged if judged else float("nan")

    def add(self, verdict: Verdict, eos: Collection[int]) -> bool:
        """Take a block's tokens up to an EOS; whether there was one."""
        tokens = verdict.tokens
        end = next((i + 1 for i, token in enumerate(tokens) if token in eos), None)
        kept, whole = tokens[:end], end is None or end == len(tokens)
        self.tokens += kept
        self.accepted += min(verdict.accepted, len(kept))
        self.resampled += verdict.resampled and whole
        self.bonus += verdict.bonus and whole
        self.resampled_mask += [False] * len(kept)
        self.resampled_mask[-1] = verdict.resampled and whole
        return end is not None


class PoE:
    """Speculative decoding for the product of a Hydra's heads.

    The target distribution is ``P ~ exp(beta * sum_i log_softmax(l_i / T))`` over all heads but the
    one that drafts; every combination of the options below emits tokens distributed as P.

    Args:
        tokenizer: of transformers, for :meth:`generate_with_cache`.
        gamma: drafted tokens a block, 1 or more.
        beta: 1 / (n_heads - 1) takes the verifying heads as one model; more sharpens P.
        temperature: 0 is greedy for the product.
        max_new_tokens: most tokens of an answer.
        draft_head: its index, or "random": drawn anew for each block, which then also changes
            whose product P is.
        rule: "original", or "bonus": a block that is accepted whole is followed by one more token
            of P, from the trunk's state of the last drafted token.
        trunk: "drafted": the trunk runs for every drafted token. "verified": once a block, over
            all its tokens; the draft head is fed states guessed from its own.
        seed: of the one generator that all calls of this object draw from.
        eos_ids: tokens that end an answer; None: the model's; empty: none.

    ``gamma``, ``beta``, ``temperature`` and ``max_new_tokens`` may be changed between calls.

    Raises:
        ValueError: in one line, here and in :meth:`generate`.
    """

    def __init__(
        self,
        model: HydraTransformer,
        tokenizer: Any = None,
        gamma: int = 4,
        beta: float = 0.25,
        temperature: float = 1.0,
        max_new_tokens: int = 64,
        draft_head: int | Literal["random"] = 0,
        rule: Literal["original", "bonus"] = "original",
        trunk: Literal["drafted", "verified"] = "drafted",
        seed: int = 0,
        eos_ids: Collection[int] | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.gamma, self.beta, self.temperature = gamma, beta, temperature
        self.max_new_tokens, self.draft_head = max_new_tokens, draft_head
        self.rule, self.trunk = rule, trunk
        self.eos_ids = model.eos_ids if eos_ids is None else tuple(eos_ids)
        self.chance = Chance(seed, model.device)
        self._check()

    def _check(self) -> None:
        check_whole("gamma", self.gamma, 1)
        check_beta(self.beta)
        check_temperature(self.temperature)
        check_whole("max_new_tokens", self.max_new_tokens, 1)
        check_draft_head(self.draft_head, self.model.n_heads)
        check_choice("rule", self.rule, RULES)
        check_choice("trunk", self.trunk, TRUNKS)

    def generate_with_cache(self, text: str) -> PoEOutput:
        """Answer one user turn, through the tokenizer's chat template."""
        if self.tokenizer is None:
            raise ValueError("generate_with_cache needs a tokenizer; give PoE one, or use generate")
        turn = [{"role": "user", "content": text}]
        ids = self.tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )["input_ids"]
        output = self.generate(ids)
        output.text = self.tokenizer.decode(output.tokens, skip_special_tokens=True)
        return output

    @torch.inference_mode()
    def generate(self, input_ids: Tensor) -> PoEOutput:
        """Answer a prompt ``[1, P]``, with KV caches of its own (kept for the next call)."""
        self._check()
        check_prompt(input_ids)
        self._make_room(input_ids.shape[1] + self.max_new_tokens)
        output = PoEOutput()
        tail, verdict = self._prefill(input_ids.to(self.model.device))
        output.drafted += 1
        ended = output.add(verdict, self.eos_ids)
        while not ended and len(output.tokens) < self.max_new_tokens:
            verdict = self._block(tail, output)
            ended = output.add(verdict, self.eos_ids)
            tail.roll_back(input_ids.shape[1] + len(output.tokens) - 1)
        return output

    def _make_room(self, length: int) -> None:
        if self.model.fits(1, length):
            self.model.reset_kv_cache()
        else:
            self.model.init_kv_cache(1, length)

    def _prefill(self, input_ids: Tensor) -> tuple[Tail, Verdict]:
        """All heads read the prompt; their logits at its end judge a block of one token."""
        model, (drafter, verifiers) = self.model, self._cast()
        hidden = model.trunk_forward(input_ids)
        states = [model.head_states(i, hidden)[0, -1:] for i in range(model.n_heads)]
        q = distribution(model.logits(states[drafter]), self.temperature)
        p = self._p(model.mean_logits([states[i] for i in verifiers]))
        verdict = verify(self.chance.token(q[0]), q, p, self.chance)
        return Tail(model, hidden[:, -1:]), verdict

    def _block(self, tail: Tail, output: PoEOutput) -> Verdict:
        """Draft and verify; never more tokens than there is room for."""
        drafter, verifiers = self._cast()
        extra = self.rule == "bonus"
        gamma = min(self.gamma, self.max_new_tokens - len(output.tokens) - extra)
        root = torch.tensor(output.tokens[-1:], device=self.model.device)
        before = self.model.trunk_length
        drafted, q = root[:0], root[:0]
        if gamma:
            draft = DRAFTERS[self.trunk]
            drafted, q = draft(tail, drafter, root, gamma, self.temperature, self.chance)
        block = torch.cat([root, drafted])[: gamma + extra]
        read = self.model.trunk_length - before
        if read < len(block):
            tail.read(block[None, read:])
        output.drafted += gamma
        output.steps += 1
        output.trunk_forwards += read + (read < len(block))
        p = self._p(mean_logits(tail, verifiers, len(block)))
        return verify(drafted, q, p, self.chance)

    def _cast(self) -> tuple[int, list[int]]:
        """Who drafts, and who verifies."""
        heads = self.model.n_heads
        random = self.draft_head == "random"
        drafter = self.chance.head(heads) if random else int(self.draft_head)
        return drafter, [i for i in range(heads) if i != drafter]

    def _p(self, mean: Tensor) -> Tensor:
        return product_of_mean(mean, self.model.n_heads - 1, self.beta, self.temperature)
