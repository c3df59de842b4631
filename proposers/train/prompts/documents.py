"""Longer texts for prompts to ask about: notes, reports, stories, library code and its docs."""

from __future__ import annotations

import importlib
import inspect
import random

from . import topics as t

STDLIB = [
    "argparse",
    "asyncio",
    "bisect",
    "collections",
    "contextlib",
    "csv",
    "datetime",
    "decimal",
    "difflib",
    "email.message",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "html.parser",
    "http.client",
    "inspect",
    "ipaddress",
    "itertools",
    "json",
    "logging",
    "mailbox",
    "pathlib",
    "pickle",
    "queue",
    "random",
    "sched",
    "shelve",
    "shutil",
    "smtplib",
    "sqlite3",
    "statistics",
    "string",
    "subprocess",
    "tarfile",
    "tempfile",
    "textwrap",
    "threading",
    "timeit",
    "tokenize",
    "traceback",
    "types",
    "unittest",
    "urllib.parse",
    "uuid",
    "weakref",
    "xml.dom.minidom",
    "zipfile",
]


def library_source(r: random.Random, low: int = 200, high: int = 1600) -> str:
    while True:
        module = importlib.import_module(r.choice(STDLIB))
        members = inspect.getmembers(module, lambda o: inspect.isfunction(o) or inspect.isclass(o))
        owned = [obj for _, obj in members if getattr(obj, "__module__", "") == module.__name__]
        functions = [
            f
            for o in owned
            for f in (
                [o]
                if inspect.isfunction(o)
                else [m for _, m in inspect.getmembers(o, inspect.isfunction)]
            )
        ]
        if not functions:
            continue
        try:
            source = inspect.cleandoc("\n" + inspect.getsource(r.choice(functions)))
        except (OSError, TypeError):
            continue
        if low <= len(source) <= high:
            return source


def document(r: random.Random, paragraphs: int) -> str:
    """Meeting notes, a report, a story or library documentation of about `paragraphs` parts."""
    return r.choice([_notes, _report, _story, _documentation])(r, paragraphs)


def _notes(r: random.Random, paragraphs: int) -> str:
    lines = [
        f"Meeting of {r.choice(t.ORGANISATIONS)}, {r.choice(t.PLACES)}, {r.randint(1, 28)} {r.choice(['March', 'May', 'June', 'October'])}"
    ]
    for _ in range(paragraphs * 3):
        a, b = r.sample(t.NAMES, 2)
        lines.append(
            r.choice(
                [
                    f"{a}: I looked into {r.choice(t.EVERYDAY)} and it will take {r.randint(2, 20)} weeks.",
                    f"{b}: The budget for this is {r.randint(2, 90)},000 dollars, {a} already spent {r.randint(5, 60)} percent.",
                    f"{a}: Can {b} send the numbers for {r.choice(t.PLACES)} before the {r.randint(2, 28)}th?",
                    f"{b}: We agreed to order {r.randint(10, 400)} {r.choice(t.GOODS)} from {r.choice(t.PLACES)}.",
                    f"{a}: I disagree. People asked for {r.choice(t.EVERYDAY)}, not for {r.choice(t.EVERYDAY)}.",
                    f"Decision: {a} will lead the work on {r.choice(t.SCIENCE)}, {b} reports next month.",
                ]
            )
        )
    return "\n".join(lines)


def _report(r: random.Random, paragraphs: int) -> str:
    place, parts = r.choice(t.PLACES), []
    for _ in range(paragraphs):
        year, who, topic = (
            r.randint(1950, 2024),
            r.choice(t.ORGANISATIONS),
            r.choice(t.SCIENCE + t.HUMANITIES),
        )
        parts.append(
            " ".join(
                r.sample(
                    [
                        f"In {year}, {who} in {place} opened a project on {topic}.",
                        f"It cost {r.randint(2, 80)} million dollars.",
                        f"About {r.randint(5, 95)} percent of the residents supported it.",
                        f"{r.choice(t.NAMES)} was asked to lead it.",
                        f"The first results came after {r.randint(2, 30)} months and surprised everybody.",
                        f"Critics from {r.choice(t.PLACES)} said that {r.choice(t.EVERYDAY)} mattered more.",
                        f"Sales of {r.choice(t.GOODS)} rose from {r.randint(10, 99)} to {r.randint(100, 900)} a week.",
                        f"A second phase, about {r.choice(t.SCIENCE)}, begins in {year + r.randint(1, 9)}.",
                        f"The old {r.choice(t.THINGS)} near the river became a visitor centre.",
                    ],
                    r.randint(4, 7),
                )
            )
        )
    return f"Report on {place}\n\n" + "\n\n".join(parts)


def _story(r: random.Random, paragraphs: int) -> str:
    a, b = r.sample(t.NAMES, 2)
    thing, parts = r.choice(t.THINGS), []
    for _ in range(paragraphs):
        parts.append(
            " ".join(
                r.sample(
                    [
                        f"{a} had never believed in the {thing}.",
                        f"{b} packed {r.randint(3, 30)} {r.choice(t.GOODS)} and left for {r.choice(t.PLACES)}.",
                        f"At midnight the {r.choice(t.THINGS)} was gone.",
                        f"'{r.choice(t.SENTENCES)}' said {b}.",
                        f"{a} said nothing and counted to ten.",
                        f"It reminded {a} of {r.choice(t.EVERYDAY)}.",
                        f"Rain fell on {r.choice(t.PLACES)} for {r.randint(2, 9)} days.",
                        f"Somebody had left a note: '{r.choice(t.SENTENCES)}'",
                        f"They talked about {r.choice(t.HUMANITIES)} until dawn.",
                        f"In the end {b} found the {r.choice(t.THINGS)} behind the door.",
                    ],
                    r.randint(4, 7),
                )
            )
        )
    return "\n\n".join(parts)


def _documentation(r: random.Random, paragraphs: int) -> str:
    module, parts = importlib.import_module(r.choice(STDLIB)), []
    for name, obj in inspect.getmembers(module):
        text = inspect.getdoc(obj) if (inspect.isfunction(obj) or inspect.isclass(obj)) else None
        if text and not name.startswith("_"):
            parts.append(f"{module.__name__}.{name}\n{text[:600]}")
    r.shuffle(parts)
    return "\n\n".join(parts[: paragraphs + 1])
