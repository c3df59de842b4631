"""Tiny Hydras in float64, and an enumeration of all that decoding can do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import product as pairs
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from proposers.hydra import HydraConfig, HydraTransformer
from proposers.hydra.rule import Chance, product

PROMPT = torch.tensor([[1, 0, 1, 1]])
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}


def tiny_target(kind: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A random target whose norms are no ones, which would hide a mistake."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": 12, "initializer_range": 0.4, **SIZES, **changes}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def tiny_hydra(
    n_heads: int = 3, depth: int = 1, heads: Any = "random", **changes: Any
) -> HydraTransformer:
    model = tiny_target(**changes)
    return HydraTransformer.from_target(model, HydraConfig(n_heads, depth), heads)


class Script(Chance):
    """Random choices that follow one path through all there are; see :func:`enumerate_all`."""

    def __init__(self, path: list[int]) -> None:
        self.path, self.taken, self.open = path, 0, [1] * len(path)
        self.probability = 1.0

    def choose(self, probabilities: list[float]) -> int:
        possible = [i for i, p in enumerate(probabilities) if p > 0]
        if self.taken == len(self.path):
            self.path.append(0)
            self.open.append(len(possible))
        self.open[self.taken] = len(possible)
        choice = possible[self.path[self.taken]]
        self.taken += 1
        self.probability *= probabilities[choice]
        return choice

    def token(self, probabilities: Tensor) -> Tensor:
        return torch.tensor([self.choose(probabilities.tolist())])

    def accepted(self, ratios: Tensor) -> int:
        before, outcomes = 1.0, []
        for ratio in ratios.clamp(max=1).tolist():
            outcomes.append(before * (1 - ratio))
            before *= ratio
        return self.choose([*outcomes, before])

    def head(self, heads: int) -> int:
        return self.choose([1 / heads] * heads)


def enumerate_all(run: Callable[[Script], tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    """Each result of ``run`` with its probability, summed over every way of choosing."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    path: list[int] = []
    while True:
        script = Script(path)
        found[run(script)] += script.probability
        path = script.path[: script.taken]
        while path and path[-1] + 1 == script.open[len(path) - 1]:
            path.pop()
        if not path:
            return dict(found)
        path[-1] += 1


def joint(
    hydra: HydraTransformer, verifiers: list[int], beta: float, temperature: float, tokens: int
) -> dict[tuple[int, ...], float]:
    """The product's probability of every continuation of the prompt, without any cache."""
    hydra.drop_kv_cache()
    result = {}
    for answer in pairs(range(hydra.lm_head.out_features), repeat=tokens):
        ids = torch.cat([PROMPT, torch.tensor([answer], dtype=torch.long)], 1)
        p = product(hydra.residual_forward(ids, verifiers)[:, 0], beta, temperature)
        rows = p[PROMPT.shape[1] - 1 : -1]
        result[answer] = float(rows.gather(1, torch.tensor(answer)[:, None]).prod())
    return result


def distance(a: dict[tuple[int, ...], float], b: dict[tuple[int, ...], float]) -> float:
    """Total variation."""
    return sum(abs(a.get(key, 0.0) - b.get(key, 0.0)) for key in {*a, *b}) / 2
