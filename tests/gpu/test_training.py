"""Loss and gradient of a training step on a GPU against those on the CPU.

    python -m pytest tests/gpu/test_training.py

needs an NVIDIA GPU and a CUDA build of PyTorch, and is skipped without them. The GPU's attention is
compiled FlexAttention; its masks are compared with dense ones in ``tests/unit/train``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from proposers.base import TargetModel, TargetShape
from proposers.glide.config import GlideConfig, TargetConfig
from proposers.glide.layer import GlideLayer
from proposers.train.features.shards import Source
from proposers.train.features.writer import Features, Writer
from proposers.train.trainer import lags
from proposers.train.trainer.batches import cut, pack
from proposers.train.trainer.data import FeatureFolder
from proposers.train.trainer.step import Distiller

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

VOCABULARY, HIDDEN, HEADS, KV_HEADS, DIM = 500, 64, 4, 2, 16
WEIGHTS = [0.4, 0.3, 0.2, 0.1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FeatureFolder:
    """Sequences of 30 to 700 tokens with random features."""
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    with Writer(folder, Source(name="tiny", config_sha256=""), 1, top=5) as writer:
        for number, size in enumerate((30, 700, 129, 400)):
            logits, tokens = torch.randn(size, VOCABULARY).topk(5)
            rows = {
                "keys": torch.randn(size, KV_HEADS, DIM),
                "values": torch.randn(size, KV_HEADS, DIM),
                "hidden": torch.randn(size, HIDDEN),
                "top_logits": logits,
                "top_tokens": tokens,
                "log_norm": torch.full((size,), 8.0),
            }
            ids = torch.randint(0, VOCABULARY, (size,)).tolist()
            writer.add(Features(f"trained {number}", "chat", ids, 10, True, rows))
    return FeatureFolder(folder, prompt_tail=4)


def loss_and_gradient(
    data: FeatureFolder, layers: int, device: str, dtype: torch.dtype, options: dict[str, Any]
) -> tuple[float, Tensor]:
    torch.manual_seed(1)
    sizes = (VOCABULARY, HIDDEN, HEADS, KV_HEADS, DIM, 1024)
    shape = TargetShape(*sizes)
    target = TargetConfig(name="tiny", intermediate_size=96, **vars(shape))
    config = GlideConfig(target=target, window=100, num_layers=layers, max_lag=len(WEIGHTS))
    layer = GlideLayer(config)
    embedding, norm = torch.randn(VOCABULARY, HIDDEN), torch.ones(HIDDEN)
    on = {"device": device, "dtype": dtype}
    pieces = TargetModel(shape, embedding.to(**on), (embedding * 0.2).to(**on), norm.to(**on))
    model = Distiller(config, layer.to(**on), pieces, None)
    batch = pack(data, cut(data.train, 500), model.reach).to(torch.device(device))
    loss, weight = model.loss(batch, WEIGHTS, lags.generator(1, 2, 3), hard=0.2, **options)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in layer.parameters() if p.grad is not None])
    return float(loss.detach() / weight), gradient.cpu().float() / float(weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"weighting": "reach"}, {"top_k": 5}], ids=str)
@pytest.mark.parametrize("layers", [1, 2])
def test_loss_and_gradient_are_the_cpus(
    data: FeatureFolder, layers: int, options: dict[str, Any], dtype: torch.dtype
) -> None:
    expected, gradient = loss_and_gradient(data, layers, "cpu", torch.float32, options)
    loss, ours = loss_and_gradient(data, layers, "cuda", dtype, options)
    tolerance = 2e-3 if dtype == torch.float32 else 0.05  # the goal's argmax is rounded too
    assert loss == pytest.approx(expected, rel=tolerance)
    assert (ours - gradient).norm() < 3 * tolerance * gradient.norm()
