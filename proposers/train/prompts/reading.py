"""Prompts that bring a text along: a document to ask about, or passages."""

from __future__ import annotations

import random
import re

from . import topics as t
from .documents import document


def long_context(r: random.Random) -> str:
    """Summarise or ask about a document."""
    text = document(r, r.choice([3, 4, 5, 6, 8, 12, 18]))[:9000]
    words = re.findall(r"[A-Z][a-z]{3,}", text) or ["it"]
    ask = r.choice(
        [
            "Summarise the text.",
            "Summarise this in {n} bullet points.",
            "What does the text say about {w}?",
            "Write a short summary for {who}.",
            "Which numbers does the text mention, and what do they mean?",
            "List the people or parts that occur and what each does.",
            "What is the most important point here?",
            "Answer from the text only: who or what is {w}?",
            "Turn this into a list of action items.",
            "Write {n} questions that this text answers.",
            "What happens first, and what happens last?",
            "Rewrite the text in your own words.",
            "Extract the key facts about {w} and {v}.",
        ]
    )
    ask = ask.format(
        n=r.randint(3, 6), w=r.choice(words), v=r.choice(words), who=r.choice(t.AUDIENCES)
    )
    return f"{text}\n\n{ask}" if r.random() < 0.6 else f"{ask}\n\nText:\n{text}"


def passages(r: random.Random) -> str:
    """Several short passages and a question that one of them answers."""
    names, facts = r.sample(t.NAMES, 4), []
    for name in names[: r.randint(2, 4)]:
        place, good = r.choice(t.PLACES), r.choice(t.GOODS)
        facts.append(
            f"{name} runs a shop in {place} that has sold {good} since {r.randint(1900, 2020)}."
            f" It opens at {r.randint(6, 10)} in the morning and closes at {r.randint(15, 22)}."
            f" {r.choice(t.SENTENCES)} A single order costs {r.randint(2, 90)} dollars, and"
            f" {r.randint(2, 40)} people work there on {r.choice(['weekdays', 'Sundays', 'holidays'])}."
        )
    label = r.choice(["Passage", "Document", "Source", "Note"])
    text = "\n\n".join(f"{label} {i}: {fact}" for i, fact in enumerate(facts, 1))
    ask = r.choice(
        [
            "When does the shop of {n} open, and what does it sell?",
            "Who pays more for an order, a customer of {n} or one of {m}?",
            "Which {l} mentions {n}? Quote the sentence.",
            "Compare the shops of {n} and {m}.",
            "Answer only from the text: how many people work for {n}?",
            "Write a short reply to a customer who asks {n} about opening hours and prices.",
        ]
    ).format(n=names[0], m=names[1], l=label.lower())
    return f"{text}\n\n{ask}" if r.random() < 0.7 else f"{ask}\n\n{text}"


def long_document(r: random.Random) -> str:
    """Ask about a document of some 3,000 to 7,000 tokens, in which one remark can be looked up."""
    size = r.randint(12_000, 24_500)
    parts: list[str] = []
    while sum(len(part) for part in parts) < size:
        parts += document(r, 18).split("\n\n")
    (name, other), thing = r.sample(t.NAMES, 2), r.choice(t.THINGS)
    place, count = r.choice(t.PLACES), r.randint(11, 99)
    remark = f"{name} told {other} that the {thing} of {place} holds {count} {r.choice(t.GOODS)}."
    parts.insert(r.randrange(len(parts)), remark)
    text = "\n\n".join(parts)[: size + len(remark)]
    ask = r.choice(
        [
            "What does the {th} of {p} hold, and who said so?",
            "Find the passage about the {th} of {p} and quote it.",
            "What did {n} tell {m}?",
            "Summarise the text in {k} bullet points.",
            "Which parts does the text have? Give each a heading and one sentence.",
            "What does the text say about {p}?",
            "Write {k} questions that this text answers, with the answers.",
            "Which numbers does the text mention, and what do they mean?",
            "Write a summary for {who}.",
            "How does the text end, and how does it begin?",
        ]
    ).format(th=thing, p=place, n=name, m=other, k=r.randint(4, 9), who=r.choice(t.AUDIENCES))
    return f"{text}\n\n{ask}" if r.random() < 0.7 else f"{ask}\n\nText:\n{text}"
