"""Prompts to talk and to write: advice, roles, stories, letters, articles."""

from __future__ import annotations

import random

from . import topics as t


def chat(r: random.Random) -> str:
    """Advice on an everyday matter."""
    topic = r.choice(t.EVERYDAY)
    opening = r.choice(
        [
            "Give me {n} tips about {x}.",
            "What should I know before I begin with {x}?",
            "I am struggling with {x}. What can I do?",
            "What are common mistakes in {x}?",
            "Make a plan for {n} weeks about {x}.",
            "What are the pros and cons of {x}?",
            "Ask me questions to find out what I need for {x}.",
            "How can I get better at {x}?",
            "Hi! Can we talk about {x}?",
            "What do people often forget about {x}?",
            "My friend {name} needs help with {x}. What would you tell {name}?",
            "Write a checklist for {x}.",
            "How much does {x} usually cost, and what affects the price?",
        ]
    )
    return opening.format(n=r.randint(3, 10), x=topic, name=r.choice(t.NAMES)) + r.choice(t.FORMATS)


def roleplay(r: random.Random) -> str:
    """Speak as somebody."""
    role, topic = r.choice(t.ROLES), r.choice(t.ALL_TOPICS)
    return r.choice(
        [
            "You are {r}. Tell me about {x}.",
            "Pretend to be {r} and give your view on {x}.",
            "Act as {r}. I come to you with a question about {x}.",
            "Let us play: you are {r}, I am {n}. Begin.",
            "Write what {r} would say about {x}.",
            "As {r}, write a diary entry of a day with {n}.",
            "Write a dialogue between {r} and {n} about {x}.",
            "You are {r}. Stay in character. What do you think of {x}?",
        ]
    ).format(r=role, x=topic, n=r.choice(t.NAMES))


def writing(r: random.Random) -> str:
    """Creative and practical writing."""
    thing, name, topic = r.choice(t.THINGS), r.choice(t.NAMES), r.choice(t.ALL_TOPICS)
    return r.choice(
        [
            "Write a short story about a {th}.",
            "Write a poem about a {th}.",
            "Write the first page of a novel with a {th}.",
            "Write a letter from {n} to a friend about a {th}.",
            "Write a formal email about {x} to {o}.",
            "Write a blog post about {x}.",
            "Write an advertisement for {o}.",
            "Write a product description of a {th}.",
            "Write a news article: {o} and {x}.",
            "Write a limerick about {n} and a {th}.",
            "Write song lyrics about a {th}.",
            "Write a speech about {x} for {o}.",
            "Write {k} titles for an essay about {x}.",
            "Describe a {th} at night.",
            "Write a scene in which {n} finds a {th}.",
            "Write a fable with a {th} and a moral.",
            "Write an essay about {x}.",
        ]
    ).format(th=thing, n=name, x=topic, o=r.choice(t.ORGANISATIONS), k=r.randint(3, 10)) + r.choice(
        [
            "",
            "",
            "",
            " Make it funny.",
            " Make it sad.",
            " Use a formal tone.",
            " Use vivid language.",
            " Keep it short.",
        ]
    )
