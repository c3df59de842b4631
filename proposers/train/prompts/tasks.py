"""Functions to complete: a head with a docstring and examples that were worked out."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from . import topics as t
from .documents import library_source

Numbers = list[int]
Task = tuple[str, str, Callable[[Any, int], Any]]  # name, what it does, a solution
# fmt: off
LIST_TASKS: list[Task] = [
    ("sum_above", "Return the sum of all values that are greater than {k}.", lambda v, k: sum(x for x in v if x > k)),
    ("count_below", "Count how many entries lie below {k}.", lambda v, k: sum(x < k for x in v)),
    ("every_kth", "Return every {k}th element, beginning with the first.", lambda v, k: v[::k]),
    ("rotate", "Move the first {k} elements to the end of the list.", lambda v, k: v[k % len(v) :] + v[: k % len(v)]),
    ("multiples", "Keep only those numbers that can be divided by {k}.", lambda v, k: [x for x in v if x % k == 0]),
    ("chunks", "Split the list into parts of {k} elements; the last may be shorter.", lambda v, k: [v[i : i + k] for i in range(0, len(v), k)]),
    ("largest", "Return the {k} largest values in falling order.", lambda v, k: sorted(v, reverse=True)[:k]),
    ("smallest", "Return the {k} smallest values in rising order.", lambda v, k: sorted(v)[:k]),
    ("running_total", "Return the running totals, each reduced modulo {k}.", lambda v, k: [sum(v[: i + 1]) % k for i in range(len(v))]),
    ("differences", "Return the differences of neighbours that exceed {k} in size.", lambda v, k: [b - a for a, b in pairwise(v) if abs(b - a) > k]),
    ("windows", "Return the mean of each window of {k} neighbours, rounded down.", lambda v, k: [sum(v[i : i + k]) // k for i in range(len(v) - k + 1)]),
    ("replace_small", "Replace each number below {k} by zero.", lambda v, k: [0 if x < k else x for x in v]),
    ("power_sum", "Add up the remainders of all squares after division by {k}.", lambda v, k: sum(x * x % k for x in v)),
    ("has_pair", "Tell whether two different entries add up to {k}.", lambda v, k: any(v[i] + v[j] == k for i in range(len(v)) for j in range(i))),
    ("drop_repeats", "Remove values that were seen before, then add {k} to each.", lambda v, k: [x + k for x in dict.fromkeys(v)]),
    ("clip", "Limit every number to at most {k}.", lambda v, k: [min(x, k) for x in v]),
    ("index_of", "Return the position of the first number above {k}, or -1.", lambda v, k: next((i for i, x in enumerate(v) if x > k), -1)),
    ("alternate", "Return the even positions, each multiplied by {k}.", lambda v, k: [x * k for x in v[::2]]),
]
TEXT_TASKS: list[Task] = [
    ("long_words", "Return the words that have more than {k} letters.", lambda s, k: [w for w in s.split() if len(w) > k]),
    ("shift_letters", "Move each lower-case letter {k} places on in the alphabet.", lambda s, k: "".join(chr((ord(c) - 97 + k) % 26 + 97) if c.islower() else c for c in s)),
    ("count_vowels", "Count the vowels in the first {k} characters.", lambda s, k: sum(c in "aeiou" for c in s[:k])),
    ("mirror_words", "Write each word of at least {k} letters backwards.", lambda s, k: " ".join(w[::-1] if len(w) >= k else w for w in s.split())),
    ("initials", "Return the initials of the first {k} words in capitals.", lambda s, k: "".join(w[0].upper() for w in s.split()[:k])),
    ("wrap", "Cut the text into pieces of {k} characters.", lambda s, k: [s[i : i + k] for i in range(0, len(s), k)]),
    ("letter_counts", "Map each letter that occurs at least {k} times to its count.", lambda s, k: {c: s.count(c) for c in dict.fromkeys(s) if s.count(c) >= k and c != " "}),
    ("repeat", "Repeat the last word {k} times, joined by dashes.", lambda s, k: "-".join(s.split()[-1:] * k)),
    ("capitals", "Turn every {k}th character into a capital.", lambda s, k: "".join(c.upper() if i % k == 0 else c for i, c in enumerate(s))),
    ("sort_words", "Sort the words by length, then drop the first {k}.", lambda s, k: sorted(s.split(), key=len)[k:]),
]
NUMBER_TASKS: list[Task] = [
    ("digit_sum", "Add up the digits of n, {k} times over.", lambda n, k: sum(map(int, str(n))) * k),
    ("to_base", "Write n in base {b} as a string.", lambda n, k: _base(n, min(k + 1, 9))),
    ("next_multiple", "Return the smallest multiple of {k} that is not below n.", lambda n, k: -(-n // k) * k),
    ("divisors", "List the divisors of n that are at least {k}.", lambda n, k: [d for d in range(k, n + 1) if n % d == 0]),
    ("count_steps", "Count how often n can be halved before it falls to {k} or less.", lambda n, k: _halvings(n, k)),
    ("sequence", "Return the first {k} powers of n.", lambda n, k: [n**i for i in range(1, k + 1)]),
    ("is_round", "Tell whether n ends in at least {k} zeros.", lambda n, k: str(n).endswith("0" * k)),
    ("primes_from", "Return the first {k} prime numbers that are not below n.", lambda n, k: _primes(n, k)),
]
# fmt: on
HEADS = [
    "Complete this Python function.\n\n{c}",
    "Finish the function below. Answer with the whole function.\n\n```python\n{c}\n```",
    "Fill in the body:\n\n```python\n{c}\n```",
    "Here is the beginning of a function. Write the rest.\n\n{c}",
    "Implement this in Python:\n\n{c}",
    "{c}",
    "Write the missing code.\n\n```python\n{c}\n```\n\nOnly code, please.",
    "```python\n{c}\n```\n\nComplete the code and explain it briefly.",
]


def _base(n: int, base: int) -> str:
    digits = ""
    while n:
        n, digit = divmod(n, base)
        digits = str(digit) + digits
    return digits or "0"


def _halvings(n: int, k: int) -> int:
    steps = 0
    while n > k:
        n, steps = n // 2, steps + 1
    return steps


def _primes(n: int, k: int) -> Numbers:
    found: Numbers = []
    while len(found) < k:
        if n > 1 and all(n % d for d in range(2, int(n**0.5) + 1)):
            found.append(n)
        n += 1
    return found


def complete_code(r: random.Random) -> str:
    """A function of which only the head is given: composed with examples, or of the library."""
    code = _library_head(r) if r.random() < 0.25 else _composed_head(r)
    return r.choice(HEADS).format(c=code)


def _library_head(r: random.Random) -> str:
    source = library_source(r)
    lines = source.splitlines()
    cut = next((i for i, line in enumerate(lines) if line.rstrip().endswith(":")), 0) + 1
    end = next((i for i, line in enumerate(lines[cut + 1 :], cut + 1) if '"""' in line), cut)
    return "\n".join(lines[: min(end, cut + 14) + 1])


def _composed_head(r: random.Random) -> str:
    kind, k = r.randrange(3), r.randint(2, 6)
    name, text, work = r.choice((LIST_TASKS, TEXT_TASKS, NUMBER_TASKS)[kind])
    argument, hint, samples = (_numbers, _texts, _whole)[kind](r, k)
    text = text.format(k=k, b=min(k + 1, 9))
    typed = f"{argument}: {hint}" if r.random() < 0.6 else argument
    shown = [f">>> {name}({s!r})\n    {work(s, k)!r}" for s in samples[: r.randint(0, 3)]]
    body = "\n    ".join([text, *([""] if shown and r.random() < 0.5 else []), *shown])
    head = r.choice(["", "", "import math\n\n\n", "from collections import Counter\n\n\n"])
    return head + f'def {name}({typed}):\n    """{body}\n    """'


Argument = tuple[str, str, list[Any]]  # its name, its type, three samples


def _numbers(r: random.Random, k: int) -> Argument:
    name = r.choice(["numbers", "values", "items", "data"])
    samples = [[r.randint(0, 12) for _ in range(r.randint(k, 8))] for _ in range(3)]
    return name, "list[int]", samples


def _texts(r: random.Random, k: int) -> Argument:
    name = r.choice(["text", "sentence", "phrase"])
    samples = [" ".join(r.choice(t.GOODS).split()[-1] for _ in range(3)) for _ in range(3)]
    return name, "str", samples


def _whole(r: random.Random, k: int) -> Argument:
    return "n", "int", [r.randint(8, 400) for _ in range(3)]
