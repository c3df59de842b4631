"""Rules of the text along a tree: what lies behind a row is the request's text and its ancestors.

V2 samples at all rows at once. vLLM's kernels take the rows before a row for the tokens before it,
which is so along a chain alone; these two go up from each row to its root instead. (A minimum
length goes by the row's position, which is that of its depth, and allowed ids by nothing.)
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from vllm.v1.worker.gpu.sample.bad_words import BadWordsState
from vllm.v1.worker.gpu.sample.penalties import PenaltiesState

from proposers.kernels import jit, tl, triton

from ...errors import LongSpecError
from .topology import TreeTopology

BLOCK = 4096
"""Logits of a program."""


class TreeRules:
    """Penalties and bad words over the trees of a topology."""

    def __init__(self, topology: TreeTopology) -> None:
        self.topology = topology

    def attach(self, sampler: Any) -> None:
        """Put them in the place of vLLM's own, whose states stay.

        Why: rows before a row need not be its ancestors. How: the instances' ``apply``. Upstream:
        vllm/v1/worker/gpu/sample/{penalties,bad_words}.py. It can go when vLLM's kernels are told
        each row's parent.

        Raises:
            LongSpecError: the sampler has no such rules.
        """
        kinds = {PenaltiesState: self.penalise, BadWordsState: self.forbid}
        found = {type(rule): rule for rule in sampler.logits_processors}
        for kind, apply in kinds.items():
            if kind not in found:
                raise LongSpecError(
                    f"this vLLM's sampler has no {kind.__name__} of its own, only"
                    f" {', '.join(sorted(k.__name__ for k in found))}; install vllm >=0.32,<0.34"
                )
            found[kind].apply = partial(apply, found[kind])

    def penalise(self, state: Any, logits: Tensor, ctx: Any) -> Tensor:
        """Frequency, presence and repetition penalties, in place.

        Args:
            state: vLLM's, with each slot's penalties, packed bits of the prompt's tokens and counts
                of the answer's.
            logits: ``[rows, V]`` float32.
            ctx: vLLM's layout of the rows: slots, places behind the root, tokens.
        """
        if not state.use_penalty[ctx.idx_mapping_np].any():  # the host's own
            return logits
        rows, vocabulary = logits.shape
        penalties = (state.repetition_penalty, state.frequency_penalty, state.presence_penalty)
        _penalise[rows, triton.cdiv(vocabulary, BLOCK)](
            *self.laid_out(logits, ctx),
            *(penalty.gpu for penalty in penalties),
            *(state.prompt_bin_mask, state.prompt_bin_mask.stride(0)),
            *(state.output_bin_counts, state.output_bin_counts.stride(0)),
            *(vocabulary, self.topology.levels),
            block=BLOCK,
        )
        return logits

    def forbid(self, state: Any, logits: Tensor, ctx: Any) -> Tensor:
        """Bad words: the last token of a word whose others were said may not follow, in place.

        Args:
            state: vLLM's, with each slot's words one after the other and where each begins.
            logits, ctx: as for penalties.
        """
        most = int(state.num_bad_words.np[ctx.idx_mapping_np].max())  # the host's own
        if not most:
            return logits
        words, offsets = state.bad_word_token_ids.gpu, state.bad_word_offsets.gpu
        known = state.req_states
        texts = known.all_token_ids.gpu
        _forbid[len(logits), most](
            *self.laid_out(logits, ctx),
            *(words, words.stride(0), offsets, offsets.stride(0), state.num_bad_words.gpu),
            *(texts, texts.stride(0), known.prompt_len.gpu, known.total_len.gpu),
        )
        return logits

    def laid_out(self, logits: Tensor, ctx: Any) -> tuple[Any, ...]:
        """What both kernels begin with."""
        parents = self.topology.parents
        rows = (ctx.expanded_idx_mapping, ctx.expanded_local_pos, ctx.input_ids)
        return (logits, logits.stride(0), *rows, parents, parents.stride(0))


@jit()
def _above(parents, place):  # type: ignore[no-untyped-def]  # as all kernels
    """The place of the row above; the root has none, and stays."""
    return tl.load(parents + place - 1, mask=place > 0, other=-1) + 1


@jit("vocabulary", "levels")
def _penalise(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    logits, logits_r, slots, places, drafted, parents, parents_s, repetition, frequency, presence,
    prompts, prompts_s, counts, counts_s, vocabulary, levels, block: tl.constexpr,
):  # fmt: skip
    """Program ``(row, block of logits)``: counts of the answer, the row and its ancestors."""
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + row).to(tl.int64)
    factor, each = tl.load(repetition + slot), tl.load(frequency + slot)
    once = tl.load(presence + slot)
    if (factor != 1.0) | (each != 0.0) | (once != 0.0):
        token = tl.program_id(1) * block + tl.arange(0, block)
        real = token < vocabulary
        count = tl.load(counts + slot * counts_s + token, mask=real, other=0)
        place = tl.load(places + row).to(tl.int64)
        first = row - place
        for _ in range(levels):
            node = tl.load(drafted + first + place, mask=place > 0, other=-1)
            count += (token == node).to(tl.int32)
            place = _above(parents + slot * parents_s, place)
        said = count > 0
        bits = tl.load(prompts + slot * prompts_s + token // 32, mask=real, other=0)
        scale = tl.where(said | (((bits >> (token % 32)) & 1) > 0), factor, 1.0)
        at = logits + row * logits_r + token
        value = tl.load(at, mask=real, other=0.0)
        value *= tl.where(value > 0, 1.0 / scale, scale)
        value -= each * count
        value -= once * said
        tl.store(at, value, mask=real)


@jit()
def _forbid(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    logits, logits_r, slots, places, drafted, parents, parents_s, words, words_s,
    offsets, offsets_s, numbers, texts, texts_s, starts, lengths,
):  # fmt: skip
    """Program ``(row, word)``: back along the path, then the answer; do all of the word match?"""
    row, word = tl.program_id(0).to(tl.int64), tl.program_id(1)
    slot = tl.load(slots + row).to(tl.int64)
    if word < tl.load(numbers + slot):
        begin = tl.load(offsets + slot * offsets_s + word)
        last = tl.load(offsets + slot * offsets_s + word + 1) - 1
        words += slot * words_s
        place = tl.load(places + row).to(tl.int64)
        first, at = row - place, tl.load(lengths + slot).to(tl.int64) - 1
        start = tl.load(starts + slot)
        same = last >= begin
        for back in range(1, last - begin + 1):
            on_path = place > 0
            node = tl.load(drafted + first + place, mask=on_path, other=-1)
            held = (at >= start) & (place == 0)
            said = tl.load(texts + slot * texts_s + at, mask=held, other=-1)
            token = tl.where(on_path, node.to(tl.int32), said)
            same = same & (token == tl.load(words + last - back))
            at -= (place == 0).to(tl.int64)
            place = _above(parents + slot * parents_s, place)
        if same:
            tl.store(logits + row * logits_r + tl.load(words + last), -float("inf"))
