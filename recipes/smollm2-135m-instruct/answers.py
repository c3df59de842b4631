"""Let the target answer prompts and store what a GLIDE draft learns from, in one pass.

    python recipes/smollm2-135m-instruct/answers.py --target DIR --out DIR --tokens 2500000

Does the work of the commands `answers` and `features` together, which is by far the cheapest way
on a CPU. One vLLM engine in this process works through a stream of requests without pauses:
composed prompts (`proposers.train.prompts`), prompts that the target writes itself when it is given
the chat template up to the user's turn (Magpie, arXiv 2406.08464), and the answers to both. The
features come from the same forward passes (`capture.py`); no top logits are kept. The folder is
that of `python -m proposers.train features`; start again to go on.
A sequence's last token was never fed to the target: its feature rows are zero.
"""

import argparse
import os
import random
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "6")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from capture import FeatureRecorder, give_states
from vllm import LLM, SamplingParams

from proposers.train.answers.chat import Chat
from proposers.train.answers.filters import Gate
from proposers.train.answers.loops import loop_start
from proposers.train.answers.store import Source as Origin
from proposers.train.features.forward import read_config
from proposers.train.features.shards import Source, bytes_per_token, load_shard
from proposers.train.features.writer import Features, Writer
from proposers.train.prompts import compose
from proposers.train.prompts.files import FilePrompt, read_prompts
from proposers.train.prompts.overlap import evaluation_prompts, held_out_ngrams, words


def draw(logits: torch.Tensor, sampling: Any, _mode: Any = None) -> tuple[torch.Tensor, None]:
    """Temperature sampling by inverse CDF, in the rows that ask for it only; argmax elsewhere.

    The stock sampler draws a variate per vocabulary entry in every row, greedy rows included. With
    this, and without top-p, a step of 160 streams took 0.3 s on one core in place of 0.9 s.
    """
    tokens = logits.max(-1).indices  # argmax takes six times as long on a CPU
    if sampling.temperature is not None and not sampling.all_greedy:
        rows = (sampling.temperature > 1e-5).nonzero()[:, 0]
        heat = sampling.temperature[rows, None]
        cdf = (logits[rows] / heat).softmax(-1).cumsum(-1)
        points = torch.rand(len(rows), 1) * cdf[:, -1:]
        tokens[rows] = torch.searchsorted(cdf, points)[:, 0].clamp_max(logits.shape[-1] - 1)
    return tokens, None


class Answers:
    """The request stream: composed and self-written prompts, their answers, the features."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        if args.states:
            give_states()
        self.llm = LLM(
            args.target,
            dtype="bfloat16",
            max_model_len=args.max_len,
            max_num_seqs=args.streams,
            max_num_batched_tokens=2048,
            enable_prefix_caching=False,
            async_scheduling=False,
            seed=args.seed,
        )
        self.engine = self.llm.llm_engine
        self.chat = Chat(Path(args.target))
        worker = self.engine.model_executor.driver_worker.worker
        worker.model_runner.sampler.sample = draw
        self.recorder = FeatureRecorder(worker.model_runner, args.streams + 8, args.max_len)
        self.writer = _writer(args)
        held_out = [] if args.prompts else args.held_out
        self.gate = Gate(held_out_ngrams(held_out))
        self.index = self._remember()
        self.random = random.Random(f"{args.seed}/{self.index}")
        self.queue = self._given() if args.prompts else None
        self.count = 0
        self.active: dict[str, dict[str, Any]] = {}

    def _given(self) -> list[FilePrompt]:
        done = self.writer.index.ids
        return [p for p in read_prompts(Path(self.args.prompts)) if p.id not in done]

    def _remember(self) -> int:
        """Admit no prompt again that is stored; return the last index in use."""
        index = self.writer.index
        for shard in index.shards:
            data = load_shard(self.writer.folder, shard)
            starts = data["offsets"][:-1].tolist()
            ends = (data["offsets"][:-1] + data["prompt_len"]).tolist()
            for category, start, end in zip(shard.categories, starts, ends, strict=True):
                source: Origin = "self" if category == "magpie" else "composed"
                self.gate.remember(source, self.chat.asked(data["tokens"][start:end].tolist()))
        own = [name.partition("-") for name in index.ids]
        return max((int(n) for seed, _, n in own if seed == str(self.args.seed)), default=0)

    def submit(self) -> None:
        """Start one new prompt: self-written with probability `--magpie`, else composed."""
        self.index += 1
        name = f"{self.args.seed}-{self.index}"
        if self.queue is not None:
            prompt = self.queue.pop(0)
            self.answer(prompt.id, prompt.category, prompt.turns[0])
        elif self.random.random() < self.args.magpie:
            params = SamplingParams(
                temperature=0.9,
                max_tokens=160,
                stop_token_ids=self.chat.stop,
                detokenize=False,
                skip_clone=True,
            )
            self._start(self.chat.user_turn or [], params, kind="user", id=name, category="magpie")
        else:
            category, text = compose(self.index, self.args.seed)
            if self.gate.admit("composed", text):
                self.answer(name, category, text)

    def answer(self, name: str, category: str, text: str) -> None:
        """Start the answer to a prompt."""
        ids = self.chat.prompt_ids(text)
        greedy = self.queue is not None or self.random.random() < self.args.greedy
        temperature = 0.0 if greedy else self.random.uniform(0.7, 1.0)
        room = min(self.random.randint(256, 448), self.args.max_len - len(ids) - 1)
        if room > 32:
            params = SamplingParams(
                temperature=temperature,
                max_tokens=room,
                stop_token_ids=self.chat.stop,
                detokenize=False,
            )
            self._start(ids, params, kind="answer", id=name, category=category, greedy=greedy)

    def _start(self, ids: list[int], params: SamplingParams, **about: Any) -> None:
        self.count += 1
        name = self.engine.add_request(f"r{self.count}", {"prompt_token_ids": ids}, params)
        self.active[name] = {"prompt": ids, **about}

    def step(self) -> None:
        """One engine step; hand finished requests on."""
        finished = {out.request_id: out for out in self.engine.step() if out.finished}
        for name in [n for n in self.active if n.rsplit("-", 1)[0] in finished or n in finished]:
            out = finished.get(name) or finished[name.rsplit("-", 1)[0]]
            self._finish(name, list(out.outputs[0].token_ids))

    def _finish(self, name: str, output: list[int]) -> None:
        about = self.active.pop(name)
        rows = self.recorder.take(name)
        if about["kind"] == "user":
            self._ask(about["id"], output)
            return
        output = output[: loop_start(output)]
        tokens = about["prompt"] + output
        if len(output) < 8:
            return
        fed = len(tokens) - 1
        if rows.pop("tokens")[:fed].tolist() != tokens[:-1]:
            raise RuntimeError(f"features of request {name} belong to other tokens")
        rows = {k: torch.cat([t[:fed], torch.zeros_like(t[:1])]) for k, t in rows.items()}
        self.writer.add(
            Features(
                about["id"], about["category"], tokens, len(about["prompt"]), about["greedy"], rows
            )
        )

    def _ask(self, name: str, output: list[int]) -> None:
        """Answer a user's turn that the target wrote, if it is a whole and a new one."""
        whole = output[-1:] == self.chat.stop[:1] and loop_start(output) is None
        text = self.chat.text(output).strip()
        if whole and len(words(text)) >= 4 and self.gate.admit("self", text):
            self.answer(name, "magpie", text)

    def abort_loops(self) -> None:
        """End requests that repeat themselves; what they wrote so far is kept."""
        for name in list(self.active):
            output = self._so_far(name)
            if len(output) > 60 and loop_start(output[-300:]) is not None:
                self._end(name, output)

    def end_all(self) -> None:
        """End all requests; beginnings of answers that are worth it are kept."""
        for name in list(self.active):
            output = self._so_far(name)
            if self.active[name]["kind"] == "answer" and len(output) > 60:
                self._end(name, output)

    def _so_far(self, name: str) -> list[int]:
        length = self.recorder.length.get(name, 0)
        if not length:
            return []
        tokens = self.recorder.tokens[self.recorder.slot_of[name], :length].tolist()
        return tokens[len(self.active[name]["prompt"]) :]

    def _end(self, name: str, output: list[int]) -> None:
        self.engine.abort_request([name], internal=True)
        self._finish(name, output)

    def run(self) -> None:
        """Work until `--tokens` tokens are stored or `--minutes` have passed."""
        start, steps, began = time.time(), 0, self.stored
        while self.stored < self.args.tokens and time.time() - start < self.args.minutes * 60:
            while len(self.active) < self.args.streams and self.queue != []:
                self.submit()
            if not self.active:
                break
            self.step()
            steps += 1
            if steps % 40 == 0 and self.queue is None:
                self.abort_loops()
            if steps % 100 == 0:
                rate = (self.stored - began) / (time.time() - start)
                left = (self.args.tokens - self.stored) / max(rate, 1e-9) / 3600
                print(
                    f"{self.stored:,} tokens, {rate:.0f} tokens/s, {left:.1f} h left;"
                    f" refused: {dict(self.gate.refused)}",
                    flush=True,
                )
        if self.queue is None:
            self.end_all()

    @property
    def stored(self) -> int:
        """Tokens in shards and of those collected for the next one."""
        return self.writer.index.tokens + sum(len(f.tokens) for f in self.writer.collected)


def _writer(args: argparse.Namespace) -> Writer:
    target = Path(args.target)
    config = read_config(target, target.name)
    states = 4 if args.states else 1
    width = states * config.hidden_size
    size = bytes_per_token(config.num_key_value_heads, config.head_dim, width, 0)
    source = Source.of(target, target.name)
    return Writer(Path(args.out), source, size, shard_tokens=args.shard_tokens)


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--target", required=True, help="directory of the target model")
    parser.add_argument("--out", required=True, help="folder for the shards")
    parser.add_argument(
        "--tokens", type=int, default=2_500_000, help="stop at this many stored tokens"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="or after this many minutes")
    parser.add_argument("--streams", type=int, default=128, help="requests at a time")
    parser.add_argument("--max-len", type=int, default=3072, help="tokens of prompt and answer")
    parser.add_argument("--magpie", type=float, default=0.35, help="share of self-written prompts")
    parser.add_argument(
        "--greedy", type=float, default=0.6, help="share of answers at temperature 0"
    )
    parser.add_argument("--shard-tokens", type=int, default=40_000, help="tokens in a shard")
    parser.add_argument(
        "--prompts", help="answer the first turns of this JSONL file instead, greedily"
    )
    parser.add_argument(
        "--states", action="store_true", help="keep what an EAGLE-3 head reads, too"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--held-out",
        nargs="*",
        type=Path,
        default=[evaluation_prompts()],
        help="files of evaluation prompts to avoid",
    )
    answers = Answers(parser.parse_args())
    with answers.writer:  # writes what was collected, at Ctrl-C too
        answers.run()


if __name__ == "__main__":
    main()
