"""Let the target answer prompts and store what a GLIDE draft learns from.

    python answers.py --target DIR --out DIR --tokens 2500000

One vLLM engine in this process works through a stream of requests without pauses: composed prompts
(`prompts.py`), prompts that the target writes itself when it is given the chat template up to the
user's turn (Magpie, arXiv 2406.08464), and the answers to both. The features come from the same
forward passes (`capture.py`). Shards are written whole or not at all; start again to go on.

A shard (safetensors) holds S sequences laid end to end, T tokens in all:
`tokens [T]`, `offsets [S + 1]`, `prompt_len [S]`, `greedy [S]` (1 = temperature 0),
`magpie [S]` (1 = the target wrote the user's turn too), `keys` and `values`
`[T, kv_heads, head_dim]` (keys rotated), `hidden [T, hidden]` (after the final norm).
A sequence's last token was never fed to the target: its feature rows are zero.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "6")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import prompts
import torch
from capture import FeatureRecorder
from shards import Writer
from texts import given_prompts, held_out_ngrams, loop_start, ngrams, words
from vllm import LLM, SamplingParams

MAX_LEN = 3072


def draw(logits: torch.Tensor, sampling: Any, _mode: Any = None) -> tuple[torch.Tensor, None]:
    """Temperature sampling by inverse CDF, in the rows that ask for it only; argmax elsewhere.

    The stock sampler draws a variate per vocabulary entry in every row, greedy rows included. With
    this, and without top-p, a step of 160 streams took 0.3 s on one core in place of 0.9 s.
    """
    tokens = logits.argmax(-1)
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
        self.llm = LLM(
            args.target,
            dtype="bfloat16",
            max_model_len=MAX_LEN,
            max_num_seqs=args.streams,
            max_num_batched_tokens=2048,
            enable_prefix_caching=False,
            async_scheduling=False,
            seed=args.seed,
        )
        self.engine = self.llm.llm_engine
        self.tokenizer = self.llm.get_tokenizer()
        worker = self.engine.model_executor.driver_worker.worker
        worker.model_runner.sampler.sample = draw
        self.recorder = FeatureRecorder(worker.model_runner, args.streams + 8, MAX_LEN)
        self.writer = Writer(Path(args.out), args.shard_tokens)
        done = sorted(Path(args.out).glob("shard-*.json"))
        self.index = max((json.loads(p.read_text())["next_index"] for p in done), default=0)
        self.random = random.Random(f"{args.seed}/{self.index}")
        self.held_out = set() if args.prompts else held_out_ngrams(Path(args.held_out))
        self.queue = given_prompts(Path(args.prompts)) if args.prompts else None
        self.seen: set[str] = set()
        self.count = 0
        self.active: dict[str, dict[str, Any]] = {}
        self.user_turn = self._render([])

    def _render(self, messages: list[dict[str, str]]) -> list[int]:
        if messages:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        else:
            probe = self._text("\0")
            text = probe[: probe.index("\0")]
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _text(self, content: str) -> str:
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False
        )

    def submit(self) -> None:
        """Start one new prompt: self-written with probability `--magpie`, else composed."""
        self.index += 1
        if self.queue is not None:
            self.answer(*self.queue.pop(0))
            return
        if self.random.random() < self.args.magpie:
            params = SamplingParams(
                temperature=0.9,
                max_tokens=160,
                stop_token_ids=[2],
                detokenize=False,
                skip_clone=True,
            )
            self._start(self.user_turn, params, kind="user", category="magpie")
            return
        category, text = prompts.compose(self.index, self.args.seed)
        self.answer(category, text)

    def answer(self, category: str, text: str) -> None:
        """Start the answer to a prompt unless it was seen before or overlaps the held-out ones."""
        key = " ".join(words(text))
        if not key or key in self.seen or (self.held_out and self.held_out & ngrams(text)):
            return
        self.seen.add(key)
        ids = self._render([{"role": "user", "content": text}])
        greedy = self.queue is not None or self.random.random() < self.args.greedy
        temperature = 0.0 if greedy else self.random.uniform(0.7, 1.0)
        room = min(self.random.randint(256, 448), MAX_LEN - len(ids) - 1)
        if room > 32:
            params = SamplingParams(
                temperature=temperature, max_tokens=room, stop_token_ids=[2], detokenize=False
            )
            self._start(ids, params, kind="answer", category=category, greedy=greedy)

    def _start(self, ids: list[int], params: SamplingParams, **about: Any) -> None:
        self.count += 1
        name = self.engine.add_request(f"r{self.count}", {"prompt_token_ids": ids}, params)
        self.active[name] = {"prompt": ids, "index": self.index, **about}

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
            text = self.tokenizer.decode(output, skip_special_tokens=True).strip()
            if output and output[-1] == 2 and len(words(text)) >= 4 and loop_start(output) is None:
                self.answer("magpie", text)
            return
        keep = loop_start(output)
        output = output if keep is None else output[:keep]
        tokens = about["prompt"] + output
        if len(output) < 8:
            return
        size = len(tokens)
        for key in ("keys", "values", "hidden"):
            rows[key] = torch.cat([rows[key][: size - 1], torch.zeros_like(rows[key][:1])])
        if rows["tokens"][: size - 1].tolist() != tokens[:-1]:
            raise RuntimeError(f"features of request {name} belong to other tokens")
        self.writer.add(
            {
                **about,
                **rows,
                "tokens": tokens,
                "prompt_len": len(about["prompt"]),
                "magpie": about["category"] == "magpie",
            }
        )

    def abort_loops(self) -> None:
        """End requests that repeat themselves; what they wrote so far is kept."""
        for name in list(self.active):
            length = self.recorder.length.get(name, 0)
            output = (
                self.recorder.tokens[self.recorder.slot_of[name], :length].tolist()
                if length
                else []
            )
            output = output[len(self.active[name]["prompt"]) :]
            if len(output) > 60 and loop_start(output[-300:]) is not None:
                self.engine.abort_request([name], internal=True)
                self._finish(name, output)

    def run(self) -> None:
        """Work until `--tokens` tokens are stored or `--minutes` have passed."""
        start, steps, began = time.time(), 0, self.writer.total
        while self.writer.total < self.args.tokens and time.time() - start < self.args.minutes * 60:
            while len(self.active) < self.args.streams and self.queue != []:
                self.submit()
            if not self.active:
                break
            self.step()
            steps += 1
            if steps % 40 == 0 and self.queue is None:
                self.abort_loops()
            if steps % 100 == 0:
                stored = self.writer.total + sum(len(r["tokens"]) for r in self.writer.rows)
                rate = (stored - began) / (time.time() - start)
                print(
                    f"{stored:,} tokens, {self.writer.number} shards, {rate:.0f} tokens/s",
                    flush=True,
                )
        if self.writer.rows:
            self.writer.flush()


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--target", required=True, help="directory of the target model")
    parser.add_argument("--out", required=True, help="folder for the shards")
    parser.add_argument(
        "--tokens", type=int, default=2_500_000, help="stop at this many stored tokens"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="or after this many minutes")
    parser.add_argument("--streams", type=int, default=128, help="requests at a time")
    parser.add_argument("--magpie", type=float, default=0.35, help="share of self-written prompts")
    parser.add_argument(
        "--greedy", type=float, default=0.6, help="share of answers at temperature 0"
    )
    parser.add_argument("--shard-tokens", type=int, default=40_000, help="tokens in a shard")
    parser.add_argument(
        "--prompts", help="answer the first turns of this JSONL file instead, greedily"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--held-out", default="eval/data/builtin.jsonl", help="evaluation prompts to avoid"
    )
    Answers(parser.parse_args()).run()


if __name__ == "__main__":
    main()
