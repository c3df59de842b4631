"""Extraction into JSON: a short text, a JSON schema, and an answer that holds nothing else.

Four kinds of texts, sixteen of each, filled in from word lists; the schema stands in the prompt.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from .rows import Row

REQUEST = (
    "Extract what this JSON schema asks for from the text. Answer with one JSON object that fits"
    " the schema and nothing else.\n\nSchema:\n{schema}\n\nText:\n{text}"
)
TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
Fields = dict[str, Any]

PEOPLE = "Ada Brandt|Ivo Castell|Mara Lindqvist|Tomás Rivera|Noor Haddad|Jun Okafor".split("|")
TOWNS = "Leiden|Graz|Porto|Aarhus|Tampere|Ghent".split("|")
FIRMS = "Nordlicht Tools|Castor Paper|Blue Heron Foods|Tiller & Sons|Quarry Lane|Osier".split("|")
GOODS = "desk lamps|oak shelves|boxes of envelopes|wall clocks|paint rollers|steel hooks".split("|")
TRADES = "carpenter|night nurse|data analyst|bus driver|pastry cook|lab technician".split("|")
SUBJECTS = "bee keeping|sourdough|old maps|choir singing|bicycle repair|star charts".split("|")
FAULTS = "does not switch on|smells of smoke|loses its settings|hums all night".split("|")
DEVICES = "coffee machine|heat pump|router|washing machine|printer|hearing aid".split("|")


def schema(**fields: Fields) -> Fields:
    """An object of these fields, all of which are required."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def many(item: Fields) -> Fields:
    return {"type": "array", "items": item}


INVOICE = schema(
    supplier=TEXT,
    customer=TEXT,
    number=TEXT,
    due=TEXT,
    items=many(schema(name=TEXT, quantity=WHOLE, unit_price=NUMBER)),
)
ADVERT = schema(
    title=TEXT, employer=TEXT, town=TEXT, hours_a_week=WHOLE, salary=NUMBER, duties=many(TEXT)
)
EVENT = schema(
    name=TEXT, town=TEXT, date=TEXT, seats=WHOLE, fee=NUMBER, speakers=many(schema(name=TEXT))
)
TICKET = schema(
    customer=TEXT,
    device=TEXT,
    fault=TEXT,
    bought=TEXT,
    serial=TEXT,
    wants_refund={"type": "boolean"},
)


def invoice(draw: random.Random) -> str:
    """An invoice of three items."""
    supplier, customer = draw.sample(FIRMS, 2)
    lines = [
        f"{draw.randint(2, 60)} {goods} at {draw.randint(150, 9900) / 100:.2f} each"
        for goods in draw.sample(GOODS, 3)
    ]
    return (
        f"{supplier}, {draw.choice(TOWNS)}, writes to {customer}: with our invoice"
        f" {draw.randint(2000, 2999)}-{draw.randint(10, 99)} we charge you {lines[0]}, {lines[1]} and"
        f" {lines[2]}. Please pay by {_date(draw)}; thank you for your order."
    )


def advert(draw: random.Random) -> str:
    """A job that is to be filled."""
    duties = ("keep the shift plan", "train two apprentices", "order supplies", "write reports")
    first, second = draw.sample(duties, 2)
    return (
        f"{draw.choice(FIRMS)} in {draw.choice(TOWNS)} looks for a {draw.choice(TRADES)}. You work"
        f" {draw.choice((20, 30, 36, 40))} hours a week for {draw.randint(24, 49) * 100} euros a month. You"
        f" {first} and {second}. Applications go to {draw.choice(PEOPLE)}."
    )


def event(draw: random.Random) -> str:
    """An evening with two speakers."""
    first, second = draw.sample(PEOPLE, 2)
    return (
        f"An evening on {draw.choice(SUBJECTS)}: on {_date(draw)} {first} and {second} speak in the town"
        f" hall of {draw.choice(TOWNS)}. There are {draw.randint(4, 30) * 10} seats; the fee of"
        f" {draw.randint(3, 18)} euros includes a drink. Doors open half an hour before."
    )


def ticket(draw: random.Random) -> str:
    """A complaint about a device."""
    wish = draw.choice(("wants the money back", "asks for a repair, not for the money"))
    return (
        f"{draw.choice(PEOPLE)} called about a {draw.choice(DEVICES)} that {draw.choice(FAULTS)}. It was"
        f" bought on {_date(draw)}, its serial number is {draw.choice('ABCDEF')}{draw.randint(10**6, 10**7)}."
        f" The customer {wish} and can be reached in the evening."
    )


def _date(draw: random.Random) -> str:
    return f"{draw.randint(1, 28)} {draw.choice(('March', 'June', 'October'))} 2026"


KINDS: dict[str, tuple[Fields, Callable[[random.Random], str]]] = {
    "invoice": (INVOICE, invoice),
    "advert": (ADVERT, advert),
    "event": (EVENT, event),
    "ticket": (TICKET, ticket),
}


def rows(each: int = 16) -> Iterator[Row]:
    """``each`` texts of every kind; the same in every run."""
    for number in range(1, each + 1):
        for kind, (asked, text) in KINDS.items():
            told = text(random.Random(f"{kind}-{number}"))
            prompt = REQUEST.format(schema=json.dumps(asked), text=told)
            yield {"id": f"{kind}-{number}", "category": kind, "prompt": prompt}
