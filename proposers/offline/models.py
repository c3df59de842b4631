"""``LlamaGlide``, ``Qwen2Glide`` and their kin: a target and its GLIDE draft as one object."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..base import Proposer
from ..glide.config import GlideConfig
from ..glide.proposer import GlideProposer
from ..growth import chain_of, check_positive, check_shape
from ..hub import model_folder
from ..pretrained import read_config
from ..registry import load_proposer
from .checks import check_prompts, check_temperature, eos_ids
from .decode import Decoded, Decoding
from .loading import check_config, device_of, load_target, target_shape
from .target import OfflineTarget

TREE_SHAPE = (4, 16, 16, 16, 16)
"""LongSpec's own (section 4.1): 68 nodes."""
EOS_ID = 151645
"""Qwen2's end of turn, the default of the public reference."""

Lengths = int | Sequence[int] | Tensor
Eos = int | Collection[int]
Generated = tuple[Tensor, int, int, float, Tensor]


class GlideModel:
    """A transformers target and a GLIDE draft that reads its last layer's KV.

    Args:
        config: the target's transformers configuration, or None to read it from its folder.
        target_path: folder of the target, or its name on the Hugging Face hub.
        glide_path: draft: a folder in our format or a published checkpoint's, its name on the hub,
            or a ``draft_model_weights.pth`` of LongSpec's training code; None for a target alone.
        device: default: the GPU if there is one.
        dtype: of target and draft; default: the target's own.

    Raises:
        ValueError: in one line, for a path, draft or architecture that does not fit.
    """

    model_types: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        config: Any,
        target_path: str | Path,
        glide_path: str | Path | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        folder = model_folder(target_path)
        config = read_config(folder) if config is None else config
        check_config(config, self.model_types, type(self).__name__)
        device = device_of(device)
        self._drafts = None if glide_path is None else _Drafts(model_folder(glide_path), config)
        self.target = OfflineTarget(load_target(folder, config, device, dtype))
        if self._drafts is not None:
            self._drafts.bind(self.target)

    @property
    def device(self) -> torch.device:
        return self.target.device

    @property
    def drafts(self) -> _Drafts:
        if self._drafts is None:
            raise ValueError("there is no draft; give its folder as glide_path, or decode vanilla")
        return self._drafts

    def vanilla_generate(
        self,
        input_ids: Tensor,
        prompt_length: Lengths,
        max_gen_len: int = 64,
        eos_id: Eos = EOS_ID,
    ) -> tuple[Tensor, int, float]:
        """Greedy decoding, a token a forward.

        Args:
            input_ids: ``[B, L]`` prompts, padded on the right.
            prompt_length: tokens of every prompt, or one length per row.
            max_gen_len: most new tokens of a row.
            eos_id: the token, or tokens, that end a row.

        Returns:
            ``(output_ids, num, elapsed_time)``: ``[B, max_gen_len]`` new tokens, behind a row's EOS
            padded with the (first) EOS; target forwards after prefill, summed over rows;
            seconds of decoding, prefill apart.

        Raises:
            ValueError: in one line, for arguments that make no sense or a context that would pass
                the target's positions.
        """
        decoded = self.decode(None, input_ids, prompt_length, max_gen_len, eos_id)
        return decoded.output_ids, int(decoded.steps.sum()), decoded.seconds

    def spec_generate(
        self,
        input_ids: Tensor,
        prompt_length: Lengths,
        gamma: int = 4,
        max_gen_len: int = 64,
        eos_id: Eos = EOS_ID,
        temperature: float = 0.0,
    ) -> Generated:
        """Speculative decoding with chains of ``gamma`` drafted tokens (Leviathan et al., 2023).

        Arguments, result and errors as :meth:`tree_spec_generate`.
        """
        chain = self.tree_proposer(chain_of(gamma))
        args = (input_ids, prompt_length, max_gen_len, eos_id, temperature)
        return _reference_tuple(self.decode(chain, *args))

    def tree_spec_generate(
        self,
        input_ids: Tensor,
        prompt_length: Lengths,
        tree_shape: Sequence[int] | None = None,
        max_gen_len: int = 64,
        eos_id: Eos = EOS_ID,
        temperature: float = 0.0,
    ) -> Generated:
        """Speculative decoding with draft trees (LongSpec, section 3.3); lossless.

        Args:
            input_ids, prompt_length, max_gen_len, eos_id: as :meth:`vanilla_generate`.
            tree_shape: nodes of each level; default ``[4, 16, 16, 16, 16]``.
            temperature: 0 is greedy; above, tokens are drawn with PyTorch's generator and
                distributed as the target's own.

        Returns:
            ``(output_ids, count, num, elapsed_time, spec_mask)``: ``count`` drafted tokens were
            accepted in ``num`` target forwards after prefill, both summed over rows, so that
            ``AL = 1 + count / num``; ``spec_mask [B, max_gen_len]`` is 1 where a token came from
            an accepted draft. The others as :meth:`vanilla_generate`.
        """
        shape = TREE_SHAPE if tree_shape is None else check_shape(tree_shape)
        tree = self.tree_proposer(shape)
        args = (input_ids, prompt_length, max_gen_len, eos_id, temperature)
        return _reference_tuple(self.decode(tree, *args))

    def decode(
        self,
        proposer: Proposer | None,
        input_ids: Tensor,
        prompt_length: Lengths,
        max_gen_len: int = 64,
        eos_id: Eos = EOS_ID,
        temperature: float = 0.0,
    ) -> Decoded:
        """Generate with any bound proposer, or with none; tells more than the three methods."""
        max_gen_len = check_positive("max_gen_len", max_gen_len)
        lengths = check_prompts(input_ids, prompt_length, max_gen_len, self.target.shape)
        check_temperature(temperature)
        eos = eos_ids(eos_id)
        ids = input_ids.to(self.device)
        decoding = Decoding(self.target, ids, lengths, max_gen_len, eos, temperature, proposer)
        return decoding.run()

    def tree_proposer(self, tree_shape: Sequence[int]) -> GlideProposer:
        """GLIDE with full trees of this shape, for :meth:`decode`."""
        return self.drafts.proposer(tree_shape)

    def served_proposer(self) -> Proposer:
        """The proposer and options that the draft's ``config.json`` names, as servers use them."""
        options = dict(self.drafts.first.config.longspec_config)
        name = options.pop("proposer", "glide")
        if name == "glide" and not options:
            return self.drafts.first
        return self.bind(load_proposer(name)(self.drafts.first.draft_dir, options))

    def bind(self, proposer: Proposer) -> Proposer:
        """Give a proposer of one's own the target's weights, for :meth:`decode`."""
        proposer.check_target(self.target.shape)
        proposer.bind(self.target.borrowed())
        return proposer


class LlamaGlide(GlideModel):
    """A Llama target (Vicuna, LongChat, Llama 3, SmolLM2, ...)."""

    model_types = ("llama",)


class Qwen2Glide(GlideModel):
    """A Qwen2 target (Qwen2.5, QwQ, ...)."""

    model_types = ("qwen2",)


class Qwen3Glide(GlideModel):
    """A Qwen3 target."""

    model_types = ("qwen3",)


class MistralGlide(GlideModel):
    """A Mistral target without sliding-window attention."""

    model_types = ("mistral",)


class Olmo2Glide(GlideModel):
    """An OLMo 2 target."""

    model_types = ("olmo2",)


CLASSES = (LlamaGlide, Qwen2Glide, Qwen3Glide, MistralGlide, Olmo2Glide)


def load_glide_model(
    target_path: str | Path,
    glide_path: str | Path | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> GlideModel:
    """The class that fits the target, loaded. Arguments and errors as :class:`GlideModel`."""
    config = read_config(target_path)
    by_type = {kind: cls for cls in CLASSES for kind in cls.model_types}
    if config.model_type not in by_type:
        raise ValueError(
            f"target {target_path} has model_type={config.model_type!r};"
            f" allowed: {', '.join(by_type)}"
        )
    return by_type[config.model_type](config, target_path, glide_path, device=device, dtype=dtype)


class _Drafts:
    """One loaded draft, as proposers of any tree shape."""

    def __init__(self, path: Path, config: Any) -> None:
        bare = not (path if path.is_dir() else path.parent).joinpath("config.json").exists()
        assumed = GlideConfig.published(config.to_dict(), path) if bare else None
        self.first = GlideProposer(path, {}, assumed)
        self.first.check_target(target_shape(config))
        self.shapes: dict[tuple[int, ...], GlideProposer] = {}

    def bind(self, target: OfflineTarget) -> None:
        self.first.bind(target.borrowed())

    def proposer(self, shape: Sequence[int]) -> GlideProposer:
        key = check_shape(shape)
        if key not in self.shapes:
            self.shapes[key] = self.first.reshaped(key)
        return self.shapes[key]


def _reference_tuple(decoded: Decoded) -> Generated:
    count, num = int(decoded.accepted.sum()), int(decoded.steps.sum())
    return decoded.output_ids, count, num, decoded.seconds, decoded.spec_mask
