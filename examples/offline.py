"""Generate three ways on transformers, without a server, and see that the text is the same.

(In bf16 it may part from vanilla's where two tokens are nearly equal; in float32 it does not.)

python examples/offline.py
python examples/offline.py --model MODEL --draft DRAFT_DIR --prompt "..." --max-gen-len 256
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torch import Tensor
from transformers import AutoTokenizer

from proposers import load_glide_model

ROOT = Path(__file__).resolve().parents[1]
DRAFT = ROOT / "recipes" / "smollm2-135m-instruct" / "draft"
PROMPT = "Explain in simple words why the sky is blue."


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="target (default: SmolLM2-135M-Instruct)")
    parser.add_argument("--draft", type=Path, default=DRAFT, help="GLIDE draft (default: shipped)")
    parser.add_argument("--prompt", default=PROMPT, help="one user turn (default: %(default)r)")
    parser.add_argument("--max-gen-len", type=int, default=128, help="(default: %(default)s)")
    return parser.parse_args()


def default_target() -> Path:
    sys.path.insert(0, str(ROOT))
    from recipes.setup.target import prepare  # unpacks the embedded default, once

    return prepare()


def main() -> None:
    args = parse()
    target = args.model or default_target()
    model = load_glide_model(target, args.draft)
    tokenizer = AutoTokenizer.from_pretrained(target)
    turn = [{"role": "user", "content": args.prompt}]
    inputs = tokenizer.apply_chat_template(
        turn, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids, eos = inputs["input_ids"], tokenizer.eos_token_id
    rest = (ids, ids.shape[1])

    output, num, vanilla_s = model.vanilla_generate(*rest, args.max_gen_len, eos)
    text = tokenizer.decode(output[0], skip_special_tokens=True)
    print(text, f"\n\nvanilla: {num} forwards in {vanilla_s:.2f} s")

    common = {"max_gen_len": args.max_gen_len, "eos_id": eos}
    chain = model.spec_generate(*rest, gamma=4, **common)
    tree = model.tree_spec_generate(*rest, tree_shape=[2, 1], **common)
    for name, (same, count, num, seconds, _) in (("chain", chain), ("tree", tree)):
        report(name, same, output, 1 + count / num, seconds, vanilla_s)

    served = model.decode(model.served_proposer(), *rest, **common)  # as in a server
    al = served.acceptance_length
    report("served", served.output_ids, output, al, served.seconds, vanilla_s)


def report(
    name: str, ids: Tensor, vanilla: Tensor, al: float, seconds: float, vanilla_s: float
) -> None:
    agree = int((ids == vanilla).long().cumprod(1).sum())
    print(
        f"{name}: AL {al:.2f}, speedup {vanilla_s / seconds:.2f},"
        f" first {agree} of {vanilla.shape[1]} tokens as vanilla's"
    )


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"offline: error: {error}")
