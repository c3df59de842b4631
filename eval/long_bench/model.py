"""The target, its draft and its tokenizer as one object: a prompt in, tokens and counts out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.utils.logging import disable_progress_bar

from proposers.growth import chain_of, check_shape
from proposers.pretrained import read_config, read_tokenizer
from proposers.rotary import positions_of

from ..cli.errors import UserError, one_line
from ..cli.hub import located
from .options import Options
from .reading import Sample


@dataclass(frozen=True)
class Answer:
    """What one prompt got.

    Attributes:
        tokens: generated, up to and including the first EOS.
        accepted, steps: drafted tokens accepted, target forwards after prefill.
        seconds: of decoding, prefill apart.
        step_accepted: accepted tokens of each step, where the method drafts.
    """

    tokens: list[int]
    accepted: int
    steps: int
    seconds: float
    step_accepted: list[int] | None = None


class Setting:
    """What is known of a run before weights are loaded: the device and the room for prompts."""

    def __init__(self, options: Options) -> None:
        self.model = located("--model", options.model)
        if not (self.model / "config.json").is_file():
            raise UserError(
                f"--model {options.model}: no config.json there; give the folder of a"
                " transformers model"
            )
        self.draft = self._draft(options)
        self.device = device_of(options.device)
        self.max_prompt_len = prompt_room(options, self._positions(self.model))

    def _draft(self, options: Options) -> Path | None:
        if options.method == "vanilla" or options.draft is None:
            return None
        draft = located("--draft", options.draft)
        if not draft.exists():
            raise UserError(f"--draft {options.draft}: no such path; give the folder of a draft")
        if options.method == "tree":
            with told("--tree-shape"):
                check_shape(options.tree_shape)
        else:
            with told("--gamma"):
                chain_of(options.gamma)
        return draft

    def _positions(self, folder: Path) -> int | None:
        with told("--model"):
            config = read_config(folder).get_text_config()
            return positions_of(config.to_dict())

    def settings(self) -> dict[str, Any]:
        """The part of the settings that options leave open."""
        return {"max_prompt_len": self.max_prompt_len, "device": self.device.type}


@contextmanager
def told(flag: str) -> Iterator[None]:
    """Tell what ``proposers`` refuses as a mistake in a flag."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{flag}: {one_line(str(error))[:400]}") from None


def device_of(name: str | None) -> torch.device:
    """The device of that name; without one the GPU if there is one."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise UserError(f"--device {name}: unknown; give cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(f"--device {name}: {count} GPUs are there; give one of them, or cpu")
    return device


def prompt_room(options: Options, positions: int | None) -> int:
    """Most tokens of a prompt: ``--max-prompt-len``, else what the answer leaves of positions."""
    wanted, room = options.max_prompt_len, (positions or 0) - options.max_gen_len
    if positions is None and wanted is None:
        raise UserError(
            "--max-prompt-len: missing; the target's config does not tell its positions"
        )
    if positions is not None and room < (wanted or 2):
        raise UserError(
            f"--max-gen-len {options.max_gen_len}: {positions} positions leave {room} for the"
            f" prompt{f', --max-prompt-len is {wanted}' if wanted else ''}; give less"
        )
    return wanted or room


class Engine:
    """Answers prompts by the method that the options name.

    Args:
        model: what ``proposers.load_glide_model`` returns, or anything with its three methods.
        tokenizer: of transformers.
        eos: the ids that end an answer, at least one.
    """

    def __init__(
        self, options: Options, setting: Setting, model: Any, tokenizer: Any, eos: list[int]
    ) -> None:
        self.options, self.setting = options, setting
        self.model, self.tokenizer, self.eos = model, tokenizer, eos

    @classmethod
    def load(cls, options: Options, setting: Setting) -> Engine:
        """Load all three; raise ``UserError`` in one line where one of them does not fit."""
        if not sys.stderr.isatty():
            disable_progress_bar()
        try:
            from proposers import load_glide_model

            tokenizer = read_tokenizer(setting.model)
            eos = eos_ids(setting.model, tokenizer)
            dtype = getattr(torch, options.dtype) if options.dtype else None
            model = load_glide_model(setting.model, setting.draft, setting.device, dtype)
        except (ValueError, OSError, ImportError) as error:
            raise UserError(one_line(str(error))[:400]) from None
        except torch.OutOfMemoryError:
            raise UserError(f"--model {options.model}: does not fit the GPU's memory") from None
        return cls(options, setting, model, tokenizer, eos)

    def encode(self, sample: Sample) -> tuple[list[int], int]:
        """The prompt's tokens, without its middle where it is too long, and how many that cost."""
        text, chat = sample.prompt, sample.chat and bool(self.tokenizer.chat_template)
        if chat:  # the template brings the special tokens
            messages = [{"role": "user", "content": text}]
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        ids = self.tokenizer(text, add_special_tokens=not chat, verbose=False).input_ids
        kept = cut_middle(ids, self.setting.max_prompt_len)
        return kept, len(ids) - len(kept)

    def decode(self, tokens: list[int]) -> str:
        """The text of generated tokens, special ones left out."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def answer(self, ids: list[int], seed: int) -> Answer:
        """Generate; ``seed`` counts where tokens are drawn."""
        torch.manual_seed(seed)
        prompt = torch.tensor([ids], dtype=torch.int64, device=self.setting.device)
        try:
            output, accepted, steps, seconds, mask = self._generate(prompt)
        except ValueError as error:
            raise UserError(one_line(str(error))) from None
        except torch.OutOfMemoryError:
            raise UserError(
                f"the GPU's memory does not hold a prompt of {len(ids)} tokens; give a smaller"
                " --max-prompt-len"
            ) from None
        tokens = up_to_eos(output[0].tolist(), self._ends)
        taken = steps_of(mask[0].tolist()[: len(tokens)], int(steps)) if mask is not None else None
        seconds = float(seconds) if steps else 0.0  # over with its first token: nothing was decoded
        return Answer(tokens, int(accepted), int(steps), seconds, taken)

    @cached_property
    def _ends(self) -> frozenset[int]:
        return frozenset(self.eos)

    def _generate(self, prompt: Any) -> tuple[Any, int, int, float, Any]:
        given = self.options
        common: dict[str, Any] = {"max_gen_len": given.max_gen_len, "eos_id": self.eos}
        length = prompt.shape[1]
        if given.method == "vanilla":
            output, steps, seconds = self.model.vanilla_generate(prompt, length, **common)
            return output, 0, steps, seconds, None
        common["temperature"] = given.temperature
        found: tuple[Any, int, int, float, Any]
        if given.method == "seq":
            found = self.model.spec_generate(prompt, length, gamma=given.gamma, **common)
        else:
            shape = list(given.tree_shape)
            found = self.model.tree_spec_generate(prompt, length, tree_shape=shape, **common)
        return found


def steps_of(mask: Sequence[int], steps: int) -> list[int] | None:
    """Accepted tokens of each step, from the mask of tokens that were accepted drafts.

    The first token is the prefill's; each step's accepted tokens come before the one that it adds.
    None if that does not make ``steps``, as where nothing is drafted.
    """
    found, run = [], 0
    for accepted in mask[1:]:
        if accepted:
            run += 1
        else:
            found.append(run)
            run = 0
    if run:  # the answer ended within a path
        found.append(run)
    return found if len(found) == steps else None


def cut_middle(ids: list[int], limit: int) -> list[int]:
    """``limit`` tokens at most: the first and last halves, as LongBench shortens its prompts."""
    if len(ids) <= limit:
        return ids
    tail = limit // 2
    return ids[: limit - tail] + ids[len(ids) - tail :]


def up_to_eos(tokens: list[int], ends: frozenset[int]) -> list[int]:
    """The tokens up to and including the first that ends the answer."""
    at = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: at + 1]


def eos_ids(folder: Path, tokenizer: Any) -> list[int]:
    """The tokenizer's EOS first, then those of ``generation_config.json``."""
    found = [tokenizer.eos_token_id]
    if (folder / "generation_config.json").is_file():
        ids = GenerationConfig.from_pretrained(folder).eos_token_id
        found += ids if isinstance(ids, list) else [ids]
    known = list(dict.fromkeys(token for token in found if token is not None))
    if not known:
        raise ValueError(f"target {folder}: no EOS token in its tokenizer or generation config")
    return known
