"""Prompts about what is known: explanations, short questions, sums, puzzles."""

from __future__ import annotations

import random
from collections.abc import Callable

from . import topics as t


def explain(pool: list[str]) -> Callable[[random.Random], str]:
    """A question about one or two topics of a pool."""

    def build(r: random.Random) -> str:
        a, b = r.sample(pool, 2)
        return r.choice(
            [
                "Explain {a} to {who}.",
                "What is {a} and why does it matter?",
                "How did {a} come about?",
                "Compare {a} and {b}.",
                "Describe the main ideas behind {a}.",
                "What is the link between {a} and {b}?",
                "Write an introduction to {a} for {who}.",
                "What are {n} important facts about {a}?",
                "Which people shaped our view of {a}?",
                "What are open questions about {a}?",
                "Write {n} quiz questions with answers about {a}.",
                "What would the world be like without {a}?",
                "Correct a common misunderstanding about {a}.",
                "Summarise what is known about {a}.",
                "How would you teach {a} in one lesson?",
                "Define {a}. Then name {n} applications or effects.",
            ]
        ).format(a=a, b=b, n=r.randint(3, 7), who=r.choice(t.AUDIENCES)) + r.choice(t.FORMATS)

    return build


def question(r: random.Random) -> str:
    """A short question of fact."""
    x, y = r.sample(t.SCIENCE + t.HUMANITIES, 2)
    return r.choice(
        [
            "Who first described {x}?",
            "When did people begin to study {x}?",
            "What is {x} in one sentence?",
            "Name {k} things that have to do with {x}.",
            "Is {x} older than {y}?",
            "Why is {x} called that?",
            "Where would I meet {x} in daily life?",
            "What is the opposite of {x}, if there is one?",
            "What does the capital of {c} have to do with {x}?",
            "How is {x} measured or judged?",
            "Which came first, {x} or {y}? How do we know?",
            "What is the difference between {x} and {y}?",
        ]
    ).format(
        x=x,
        y=y,
        k=r.randint(3, 6),
        c=r.choice(["France", "Japan", "Egypt", "Brazil", "Norway", "India", "Kenya", "Peru"]),
    )


def arithmetic(r: random.Random) -> str:
    """A word problem with small numbers."""
    a, b = r.sample(t.NAMES, 2)
    x, y = r.sample(t.GOODS, 2)
    n, m, k, price = r.randint(3, 60), r.randint(2, 30), r.randint(2, 12), r.randint(2, 25)
    problem = r.choice(
        [
            "{a} has {n} {x} and buys {k} packs of {m}. How many {x} does {a} have now?",
            "{a} sells {n} {x} at {p} dollars each and pays {m} dollars rent. What is the profit?",
            "A shop has {n} boxes with {k} {x} each. {m} {x} are broken. How many are good?",
            "{a} and {b} share {n} {x} in the ratio {k} to 1. How many does each get?",
            "A train goes {n} km in {k} hours. How far does it go in {m} hours at that speed?",
            "{a} reads {m} pages a day. How many days does a book of {q} pages take?",
            "One of the {x} costs {p} dollars, one of the {y} costs {k} dollars. {a} buys {m} of each. What is the total?",
            "{a} is {m} years old. {b} is {k} times as old. How old will {b} be in {n} years?",
            "A tank holds {q} litres and loses {k} litres an hour. How much is left after {m} hours?",
            "A rectangle is {n} metres long and {m} metres wide. Find its area and perimeter.",
            "The price of {q} dollars falls by {d} percent. What is the new price?",
            "{a} walks {k} km every day, {b} walks twice as far. How far do both walk in {m} days?",
            "What is {n} * {m} + {q}?",
            "Solve for x: {k}x + {m} = {z}.",
            "What is {d} percent of {q}?",
            "The average of {n}, {m} and {q} is what?",
            "Convert {n} hours and {m} minutes to seconds.",
        ]
    ).format(
        a=a,
        b=b,
        x=x,
        y=y,
        n=n,
        m=m,
        k=k,
        p=price,
        q=r.randint(5, 90) * 10,
        d=r.choice([5, 10, 15, 20, 25, 30, 40, 50]),
        z=k * r.randint(2, 20) + m,
    )
    return problem + r.choice(
        ["", "", " Think step by step.", " Show your work.", " Explain every step."]
    )


def reasoning(r: random.Random) -> str:
    """Puzzles, decisions, arguments."""
    a, b, c = r.sample(t.NAMES, 3)
    x, y = r.sample(t.EVERYDAY, 2)
    return r.choice(
        [
            f"{a} is taller than {b}. {b} is taller than {c}. Who is the shortest? Explain.",
            f"{a}, {b} and {c} finished a race. {a} was not first, {c} came right after {b}. Give the order.",
            f"{a} says {b} lies. {b} says {c} lies. {c} says both lie. Who tells the truth?",
            f"Should I spend my free time on {x} or on {y}? Weigh the arguments.",
            f"What would happen if everyone suddenly stopped caring about {x}? Think it through.",
            f"If all {r.choice(t.GOODS)} are in boxes and some boxes are red, what can we conclude?",
            f"Give an argument for and an argument against {x}, then decide.",
            f"Find the flaw: '{a} likes {x}, {a} is happy, so {x} makes everybody happy.'",
            f"Continue the sequence and explain the rule: {', '.join(_sequence(r))}, ...",
            f"{a} must choose between {x} and {y} with only {r.randint(2, 9)} days left. Help decide step by step.",
        ]
    )


def _sequence(r: random.Random) -> list[str]:
    start, step, kind = r.randint(1, 12), r.randint(2, 9), r.random()
    if kind < 0.5:
        return [str(start + step * i) for i in range(5)]
    return [str(start * min(step, 4) ** i) for i in range(5)]
