"""Model Runner V2 with trees: three of its parts are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import LongSpecError
from ...options import LongSpecOptions
from ..runners import grammars_heed_trees
from ..target import last_attention_layer, shard, target_model
from ..tree_attention import check_layers
from .acceptance import TreeRejectionSampler
from .attention import Kind
from .draft_tokens import TreeTokensHandler
from .model_state import TreeModelState
from .replay_check import check_replays
from .rules import TreeRules
from .speculator import TreeSpeculator
from .timing import Timing

if TYPE_CHECKING:
    from vllm.v1.worker.gpu.model_runner import GPUModelRunner as _Runner
else:
    _Runner = object


class TreeRunner(_Runner):
    """Mixed in before vLLM's runner class."""

    def __init__(self, vllm_config: Any, device: Any) -> None:
        super().__init__(vllm_config, device)
        options = LongSpecOptions.from_json(vllm_config.additional_config["longspec"])
        self.timing = Timing.from_environment(self.device)
        limited, grammars = options.schedule is not None, grammars_heed_trees(vllm_config)
        self.speculator = TreeSpeculator(options.build(), self, limited, grammars)
        self.draft_tokens_handler = TreeTokensHandler(self.device, self.speculator.topology)

    def kind(self, impl: Any) -> Kind:
        """How trees are attended to beside the backend that ``impl`` is of."""
        raise NotImplementedError

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        super().load_model(*args, **kwargs)
        stock: Any = self.model_state  # type: ignore[has-type]
        if type(stock) is not TreeModelState.__base__:
            raise LongSpecError(
                f"the target {type(self.model).__name__} prepares its inputs in a way of its own"
                f" ({type(stock).__name__}); allowed: Llama-like decoder models"
            )
        check_layers(self.vllm_config)
        layers = self.compilation_config.static_forward_context
        layer = layers[last_attention_layer(self.vllm_config)]
        kind, topology = self.kind(layer.impl), self.speculator.topology
        state = TreeModelState(self.vllm_config, self.model, self.encoder_cache, self.device)
        state.attach(self.speculator, kind)
        self.model_state = state
        self.rejection_sampler = TreeRejectionSampler(
            self.sampler, self.speculative_config, self.device
        )
        self.rejection_sampler.attach(self, topology, kind.views)
        TreeRules(topology).attach(self.sampler)
        self.speculator.bind(
            lambda: target_model(self.model, self.vllm_config), layer, kind, shard()
        )

    def initialize_kv_cache(self, *args: Any, **kwargs: Any) -> None:
        super().initialize_kv_cache(*args, **kwargs)
        self.rejection_sampler.take_caches(self.kv_caches)

    def capture_model(self, *args: Any, **kwargs: Any) -> Any:
        taken = super().capture_model(*args, **kwargs)
        if not kwargs.get("profile_only"):  # there the cache is not the one that will serve
            check_replays(self)
        return taken

    def execute_model(self, *args: Any, **kwargs: Any) -> Any:
        self.timing.begin()
        with self.timing.section("forward"):
            return super().execute_model(*args, **kwargs)

    def shutdown(self) -> None:
        self.timing.close()
        super().shutdown()
