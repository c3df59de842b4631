"""Generate three ways on transformers, without a server, and see that the text is the same.

python examples/offline.py
python examples/offline.py --model MODEL --draft DRAFT_DIR --prompt "..." --max-gen-len 256
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transformers import AutoTokenizer

from proposers import load_glide_model

ROOT = Path(__file__).resolve().parents[1]
DRAFT = ROOT / "recipes" / "smollm2-135m-instruct" / "draft"
PROMPT = "List five fruits, and for each of them its usual colour and one dish that is made of it."


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
    print(tokenizer.decode(output[0], skip_special_tokens=True), "\n")
    print(f"vanilla: {num} forwards, {(num + 1) / vanilla_s:.1f} tok/s")
    for name, options in (("chain", {"gamma": 4}), ("tree", {"tree_shape": [4, 4, 2, 1]})):
        generate = model.spec_generate if name == "chain" else model.tree_spec_generate
        same, count, num, seconds, _ = generate(
            *rest, max_gen_len=args.max_gen_len, eos_id=eos, **options
        )
        agree = int((same == output).long().cumprod(1).sum())
        print(
            f"{name}:   {num} forwards, AL {1 + count / num:.2f},"
            f" {(1 + num + count) / seconds:.1f} tok/s, speedup {vanilla_s / seconds:.2f},"
            f" first {agree} of {output.shape[1]} tokens as vanilla's"
        )


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"offline: error: {error}")
