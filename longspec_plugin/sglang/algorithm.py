"""``--speculative-algorithm LONGSPEC``, registered through SGLang's own door for algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from sglang.srt.speculative.spec_info import SpeculativeAlgorithm
from sglang.srt.speculative.spec_registry import CustomSpecAlgo

from . import NAME, config

if TYPE_CHECKING:
    from sglang.srt.managers.overlap_utils import FutureMap


class LongSpecAlgorithm(CustomSpecAlgo):
    """What SGLang's scheduler asks of an algorithm.

    ``is_ngram`` is how SGLang says "a tree from outside, no KV of the draft's own": it chooses the
    relay of accepted tokens, the dummy inputs of CUDA graphs, and how much KV a step may allocate.
    """

    def is_ngram(self) -> bool:
        return True

    def has_draft_kv(self) -> bool:
        return False

    def need_topk(self) -> bool:
        """Whether draft distributions travel between steps (missing in 0.5.23's base class)."""
        return False

    def carries_draft_hidden_states(self) -> bool:
        """Whether a prefill server sends draft states (missing in 0.5.23's base class)."""
        return False

    def create_future_map(
        self,
        device: torch.device,
        req_to_token_pool: Any,
        needs_cpu_seq_lens: bool = True,
        needs_confidence_relay: bool = False,
    ) -> FutureMap:
        """The relay between overlapped steps (missing in 0.5.23's base class)."""
        from sglang.srt.managers.overlap_utils import FutureMap

        return FutureMap(
            device, self, req_to_token_pool, needs_cpu_seq_lens, needs_confidence_relay
        )

    def handle_server_args(self, server_args: Any) -> None:
        config.complete(server_args)


def install() -> None:
    """Register the algorithm in this process."""

    def worker_class(server_args: Any) -> type:
        from .worker import prepare

        return prepare(server_args)

    register = SpeculativeAlgorithm.register(
        NAME,
        supports_overlap=True,
        validate_server_args=config.check,
        spec_class=LongSpecAlgorithm,
    )
    register(worker_class)
    config.let_drafts_be_read()
