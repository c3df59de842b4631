"""Model Runner V2 with trees: three of its parts are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import LongSpecError
from ...options import LongSpecOptions
from ..target import last_attention_layer, target_model
from ..tree_attention import check_layers
from .acceptance import TreeRejectionSampler
from .attention import Views
from .model_state import TreeModelState
from .speculator import TreeSpeculator

if TYPE_CHECKING:
    from vllm.v1.worker.gpu.model_runner import GPUModelRunner as _Runner
else:
    _Runner = object


class TreeRunner(_Runner):
    """Mixed in before vLLM's runner class.

    Attributes:
        views: where a layer's cache holds K and V.
    """

    views: Views

    def __init__(self, vllm_config: Any, device: Any) -> None:
        super().__init__(vllm_config, device)
        options = LongSpecOptions.from_json(vllm_config.additional_config["longspec"])
        self.speculator = TreeSpeculator(options.build(), self, type(self).views)

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        super().load_model(*args, **kwargs)
        stock: Any = self.model_state  # type: ignore[has-type]
        if type(stock) is not TreeModelState.__base__:
            raise LongSpecError(
                f"the target {type(self.model).__name__} prepares its inputs in a way of its own"
                f" ({type(stock).__name__}); allowed: Llama-like decoder models"
            )
        check_layers(self.vllm_config)
        views, topology = type(self).views, self.speculator.topology
        state = TreeModelState(self.vllm_config, self.model, self.encoder_cache, self.device)
        state.attach(self.speculator, views)
        self.model_state = state
        self.rejection_sampler = TreeRejectionSampler(
            self.sampler, self.speculative_config, self.device
        )
        self.rejection_sampler.attach(self, topology, views)
        layers = self.compilation_config.static_forward_context
        layer = layers[last_attention_layer(self.vllm_config)]
        self.speculator.bind(target_model(self.model, self.vllm_config), layer)
