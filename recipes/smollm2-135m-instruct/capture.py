"""Record what a vLLM engine computes anyway: last-layer keys and values, and final hidden states.

The features a GLIDE draft is trained on are by-products of the target's own forward pass, so they
are taken in the pass that writes the answers: no second forward is needed. Works with vLLM's
in-process engine on one worker, with prefix caching off (a cached token has no forward pass).
"""

from typing import Any

import numpy as np
import torch


def give_states() -> None:
    """Let the engines that are made from now on compute what EAGLE-3 heads read.

    Their forward then also returns the hidden states before three of the target's layers, which
    vLLM chooses, as it does where it serves such a head.
    """
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    inner = CPUModelRunner.load_model

    def load_model(self: Any, *args: Any, **kwargs: Any) -> None:
        self.use_aux_hidden_state_outputs = True
        inner(self, *args, **kwargs)

    CPUModelRunner.load_model = load_model


class FeatureRecorder:
    """Per-request buffers of token ids, rotated keys, values and final hidden states.

    After `give_states` also of the three states before others of the target's layers.

    Buffers are `[slots, max_len, width]`; a request holds one slot from its first forward until
    `take`. Rows are addressed by position, so a chunked prefill or a request that is computed
    again after preemption simply writes its rows again.
    """

    def __init__(self, runner: Any, slots: int, max_len: int) -> None:
        config = runner.model_config.hf_config
        head_dim = config.head_dim or config.hidden_size // config.num_attention_heads
        shape = (config.num_key_value_heads, head_dim)
        self.runner = runner
        self.tokens = torch.zeros(slots, max_len, dtype=torch.int32)
        self.keys = torch.zeros(slots, max_len, *shape, dtype=torch.bfloat16)
        self.values = torch.zeros(slots, max_len, *shape, dtype=torch.bfloat16)
        self.hidden = torch.zeros(slots, max_len, config.hidden_size, dtype=torch.bfloat16)
        states = 3 * config.hidden_size if runner.use_aux_hidden_state_outputs else 0
        self.states = torch.zeros(slots, max_len, states, dtype=torch.bfloat16)
        self.slot_of: dict[str, int] = {}
        self.length: dict[str, int] = {}
        self._free = list(range(slots))
        self._kv: tuple[torch.Tensor, torch.Tensor] | None = None
        self._wrap_attention()
        self._wrap_execute()

    def _wrap_attention(self) -> None:
        layers = self.runner.compilation_config.static_forward_context
        impl = layers[
            max(layers, key=lambda name: int(name.split(".layers.")[1].split(".")[0]))
        ].impl
        inner = impl.forward

        def forward(layer: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            self._kv = (key.clone(), value.clone())
            return inner(layer, query, key, value, *args, **kwargs)

        impl.forward = forward

    def _wrap_execute(self) -> None:
        inner = self.runner.execute_model

        def execute_model(*args: Any, **kwargs: Any) -> Any:
            result = inner(*args, **kwargs)
            state = self.runner.execute_model_state
            if state is not None and self._kv is not None:
                self._record(
                    state.scheduler_output.num_scheduled_tokens,
                    state.hidden_states,
                    state.aux_hidden_states or [],
                )
            return result

        self.runner.execute_model = execute_model

    def _record(
        self, scheduled: dict[str, int], hidden: torch.Tensor, states: list[torch.Tensor]
    ) -> None:
        names = self.runner.input_batch.req_ids
        counts = np.array([scheduled[name] for name in names])
        total = int(counts.sum())
        slots = np.repeat([self._slot(name) for name in names], counts)
        positions = self.runner.positions[:total].long()
        where = (torch.from_numpy(slots), positions)
        assert self._kv is not None
        self.tokens[where] = self.runner.input_ids.cpu[:total]
        self.keys[where] = self._kv[0][:total].view(total, *self.keys.shape[2:])
        self.values[where] = self._kv[1][:total].view(total, *self.values.shape[2:])
        self.hidden[where] = hidden[:total]
        if states:
            self.states[where] = torch.cat([state[:total] for state in states], -1)
        ends = positions[torch.from_numpy(np.cumsum(counts) - 1)]
        for name, end in zip(names, ends.tolist(), strict=True):
            self.length[name] = end + 1

    def _slot(self, name: str) -> int:
        if name not in self.slot_of:
            self.slot_of[name] = self._free.pop()
        return self.slot_of[name]

    def take(self, name: str) -> dict[str, torch.Tensor]:
        """Copy a finished request's rows out and free its slot.

        Returns `tokens [n]`, `keys` and `values` `[n, kv_heads, head_dim]`, `hidden [n, hidden]`
        and, if there are any, `states [n, 3 * hidden]`, where n is the number of tokens that went
        through the target.
        """
        slot, length = self.slot_of.pop(name), self.length.pop(name)
        self._free.append(slot)
        rows = {"tokens": self.tokens, "keys": self.keys}
        rows |= {"values": self.values, "hidden": self.hidden}
        if self.states.shape[-1]:
            rows["states"] = self.states
        return {key: tensor[slot, :length].clone() for key, tensor in rows.items()}
