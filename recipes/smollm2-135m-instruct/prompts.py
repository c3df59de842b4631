"""Compose training prompts from word lists: many categories, topics, styles and formats.

`compose(index)` is deterministic, so a run that died goes on where it stopped, and cycles through
the categories, so that any run of consecutive indices is a mix of all of them. Usage:

    python prompts.py 20        # print the first twenty prompts
"""

import random
import re
import sys
from collections.abc import Callable

import topics as t
from documents import document, library_source

ALL_TOPICS = t.SCIENCE + t.HUMANITIES + t.EVERYDAY
AUDIENCES = [
    "a child",
    "a beginner",
    "a university student",
    "an expert",
    "my grandmother",
    "a busy manager",
    "a teenager",
    "someone who has never heard of it",
]
FORMATS = [
    "",
    "",
    "",
    " Use a numbered list.",
    " Answer in three short paragraphs.",
    " Keep it under 100 words.",
    " Use bullet points.",
    " Give an example.",
    " Finish with a one-sentence summary.",
    " Use simple words.",
    " Be detailed.",
    " Write it as a table.",
    " Explain your reasoning.",
]


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
    return opening.format(n=r.randint(3, 10), x=topic, name=r.choice(t.NAMES)) + r.choice(FORMATS)


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
        ).format(a=a, b=b, n=r.randint(3, 7), who=r.choice(AUDIENCES)) + r.choice(FORMATS)

    return build


def code(r: random.Random) -> str:
    """Write, explain or test a small program."""
    task, language = r.choice(t.CODE_TASKS), r.choice(t.CODE_LANGUAGES)
    return r.choice(
        [
            "Write a {l} program that {t}.",
            "Write a {l} function that {t}, with comments.",
            "Show me how one {t} in {l}. I mean code that {t}.",
            "Write {l} code that {t} and test it.",
            "Explain step by step how a {l} function that {t} works, then write it.",
            "I need {l} code. It {t}. Handle errors too.",
            "Write a class in {l} that {t}.",
            "What is the time complexity of code that {t}? Show it in {l}.",
            "Write unit tests in {l} for a function that {t}.",
            "Write short {l} code that {t}.",
        ]
    ).format(t=task, l=language)


def explain_code(r: random.Random) -> str:
    """Explain or document a function of the standard library, source included."""
    source = library_source(r)
    ask = r.choice(
        [
            "What does this code do?",
            "Explain this code line by line.",
            "Add comments to this code.",
            "Write a docstring for this function.",
            "Are there bugs in this code?",
            "Rewrite this code so that it is easier to read.",
            "Write tests for this code.",
            "Complete this code and explain what you added.",
        ]
    )
    if ask.startswith("Complete"):
        source = source[: int(len(source) * r.uniform(0.3, 0.7))]
    return (
        f"{ask}\n\n```python\n{source}\n```"
        if r.random() < 0.7
        else f"```python\n{source}\n```\n\n{ask}"
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


def roleplay(r: random.Random) -> str:
    """Speak as somebody."""
    role, topic = r.choice(t.ROLES), r.choice(ALL_TOPICS)
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
    thing, name, topic = r.choice(t.THINGS), r.choice(t.NAMES), r.choice(ALL_TOPICS)
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


def translation(r: random.Random) -> str:
    """Translate a sentence or talk about a language."""
    language, sentence = r.choice(t.LANGUAGES), " ".join(r.sample(t.SENTENCES, r.randint(1, 3)))
    return r.choice(
        [
            "Translate into {l}: {s}",
            "How do you say this in {l}? '{s}'",
            "{s}\n\nTranslate this into {l}.",
            "Translate the following text into {l} and explain the grammar: {s}",
            "Teach me {k} useful phrases in {l}.",
            "Give me {k} {l} words about {x} with their English meaning.",
        ]
    ).format(l=language, s=sentence, k=r.randint(5, 12), x=r.choice(ALL_TOPICS))


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
        n=r.randint(3, 6), w=r.choice(words), v=r.choice(words), who=r.choice(AUDIENCES)
    )
    return f"{text}\n\n{ask}" if r.random() < 0.6 else f"{ask}\n\nText:\n{text}"


CATEGORIES: dict[str, Callable[[random.Random], str]] = {
    "chat": chat,
    "stem": explain(t.SCIENCE),
    "code": code,
    "math": arithmetic,
    "writing": writing,
    "humanities": explain(t.HUMANITIES),
    "context": long_context,
    "roleplay": roleplay,
    "reasoning": reasoning,
    "explain_code": explain_code,
    "translation": translation,
    "math2": arithmetic,
}


def compose(index: int, seed: int = 1) -> tuple[str, str]:
    """Return (category, prompt) number `index`; the same arguments give the same prompt."""
    names = list(CATEGORIES)
    name = names[index % len(names)]
    return name.rstrip("2"), CATEGORIES[name](random.Random(f"{seed}/{index}"))


if __name__ == "__main__":
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 12):
        print("[{}] {}\n".format(*compose(number)))
