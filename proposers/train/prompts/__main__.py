"""Print the first prompts: `python -m proposers.train.prompts 20 [CATEGORY ...]`."""

import sys

from .compose import BUILDERS, MIX, compose

count = int(sys.argv[1]) if len(sys.argv) > 1 else 12
chosen = [name for name in sys.argv[2:] if name in BUILDERS]
for number in range(count):
    print("[{}] {}\n".format(*compose(number, categories=chosen or MIX)))
