"""Edits as agents ask for them: a small file, one thing to change, the whole file wanted back.

Eight files, eight edits of each: answers repeat most of their prompt and of each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from .rows import Row

REQUEST = "{edit} Give the whole file {name}, changed, and nothing else.\n\n```{kind}\n{code}\n```"

TEMPERATURES = """
import csv
from dataclasses import dataclass
from pathlib import Path

FREEZING = 0.0


@dataclass
class Reading:
    station: str
    hour: int
    celsius: float


def load(path: Path) -> list[Reading]:
    readings = []
    with path.open() as file:
        for row in csv.DictReader(file):
            readings.append(Reading(row["station"], int(row["hour"]), float(row["celsius"])))
    return readings


def coldest(readings: list[Reading]) -> Reading:
    return min(readings, key=lambda reading: reading.celsius)


def frosty(readings: list[Reading]) -> list[str]:
    return sorted({reading.station for reading in readings if reading.celsius < FREEZING})


if __name__ == "__main__":
    print(frosty(load(Path("readings.csv"))))
"""

BASKET = """
const TAX = 0.19;

class Basket {
  constructor(customer) {
    this.customer = customer;
    this.items = [];
  }

  add(name, price, quantity = 1) {
    this.items.push({ name, price, quantity });
    return this;
  }

  remove(name) {
    this.items = this.items.filter((item) => item.name !== name);
    return this;
  }

  net() {
    return this.items.reduce((sum, item) => sum + item.price * item.quantity, 0);
  }

  gross() {
    return this.net() * (1 + TAX);
  }

  receipt() {
    const lines = this.items.map((item) => `${item.quantity} x ${item.name}: ${item.price}`);
    return [`Basket of ${this.customer}`, ...lines, `Total: ${this.gross()}`].join("\\n");
  }
}

module.exports = { Basket };
"""

LIBRARY = """
CREATE TABLE members (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    joined DATE NOT NULL
);

CREATE TABLE books (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    author TEXT NOT NULL,
    shelf TEXT
);

CREATE TABLE loans (
    id INTEGER PRIMARY KEY,
    member_id INTEGER NOT NULL REFERENCES members (id),
    book_id INTEGER NOT NULL REFERENCES books (id),
    lent DATE NOT NULL,
    returned DATE
);

CREATE INDEX loans_by_member ON loans (member_id);
CREATE INDEX loans_by_book ON loans (book_id);

CREATE VIEW open_loans AS
SELECT members.name, books.title, loans.lent
FROM loans
JOIN members ON members.id = loans.member_id
JOIN books ON books.id = loans.book_id
WHERE loans.returned IS NULL;
"""

COMPOSE = """
services:
  web:
    image: registry.example.org/shop/web:1.4
    ports:
      - "8080:8080"
    environment:
      DATABASE_URL: postgres://shop@database/shop
      CACHE_URL: redis://cache:6379
      LOG_LEVEL: info
    depends_on:
      - database
      - cache
    restart: unless-stopped

  worker:
    image: registry.example.org/shop/worker:1.4
    environment:
      DATABASE_URL: postgres://shop@database/shop
      CACHE_URL: redis://cache:6379
      LOG_LEVEL: info
    depends_on:
      - database
    restart: unless-stopped

  database:
    image: postgres:16
    volumes:
      - database:/var/lib/postgresql/data

  cache:
    image: redis:7

volumes:
  database:
"""

QUEUE = """
package queue

import (
	"errors"
	"sync"
)

var ErrEmpty = errors.New("queue is empty")

type Queue struct {
	mu    sync.Mutex
	items []string
}

func New() *Queue {
	return &Queue{}
}

func (q *Queue) Push(item string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, item)
}

func (q *Queue) Pop() (string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return "", ErrEmpty
	}
	item := q.items[0]
	q.items = q.items[1:]
	return item, nil
}

func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}
"""

STYLE = """
:root {
  --ink: #222222;
  --paper: #fafaf7;
  --accent: #b3472e;
}

body {
  margin: 0 auto;
  max-width: 42rem;
  padding: 1rem;
  color: var(--ink);
  background: var(--paper);
  font-family: Georgia, serif;
  line-height: 1.5;
}

h1,
h2 {
  color: var(--accent);
  line-height: 1.2;
}

a {
  color: var(--accent);
  text-decoration: underline;
}

table {
  width: 100%;
  border-collapse: collapse;
}

td,
th {
  padding: 0.25rem 0.5rem;
  border-bottom: 1px solid var(--ink);
  text-align: left;
}
"""

BACKUP = """
#!/bin/sh
set -eu

source_dir="$HOME/documents"
target_dir="/mnt/backup/documents"
keep=14

log() {
    printf '%s %s\\n' "$(date +%F)" "$1"
}

if [ ! -d "$target_dir" ]; then
    log "no backup disk at $target_dir"
    exit 1
fi

stamp=$(date +%Y%m%d)
archive="$target_dir/documents-$stamp.tar.gz"

log "packing $source_dir"
tar -czf "$archive" -C "$source_dir" .

count=$(ls "$target_dir" | wc -l)
if [ "$count" -gt "$keep" ]; then
    oldest=$(ls -t "$target_dir" | tail -n 1)
    log "removing $oldest"
    rm "$target_dir/$oldest"
fi

log "done, $count archives"
"""

SHAPES = """
use std::f64::consts::PI;

pub enum Shape {
    Circle { radius: f64 },
    Rectangle { width: f64, height: f64 },
    Triangle { base: f64, height: f64 },
}

impl Shape {
    pub fn area(&self) -> f64 {
        match self {
            Shape::Circle { radius } => PI * radius * radius,
            Shape::Rectangle { width, height } => width * height,
            Shape::Triangle { base, height } => 0.5 * base * height,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Shape::Circle { .. } => "circle",
            Shape::Rectangle { .. } => "rectangle",
            Shape::Triangle { .. } => "triangle",
        }
    }
}

pub fn largest(shapes: &[Shape]) -> Option<&Shape> {
    shapes.iter().max_by(|a, b| a.area().total_cmp(&b.area()))
}
"""

FILES = {
    "temperatures.py": ("python", TEMPERATURES),
    "basket.js": ("javascript", BASKET),
    "library.sql": ("sql", LIBRARY),
    "compose.yaml": ("yaml", COMPOSE),
    "queue.go": ("go", QUEUE),
    "style.css": ("css", STYLE),
    "backup.sh": ("sh", BACKUP),
    "shapes.rs": ("rust", SHAPES),
}
EACH = 8  # edits of a file
EDITS = {
    "temperatures.py": (
        "Rename the class Reading to Measurement everywhere.",
        "Add a function warmest beside coldest.",
        "Make frosty take the limit as a second argument whose default is FREEZING.",
        "Rename celsius to degrees everywhere.",
        "Let load skip rows whose celsius is empty.",
        "Give every function a docstring of one line.",
        "Let coldest return None where there are no readings.",
        "Read the file's name from the first argument of the command line.",
    ),
    "basket.js": (
        "Change the tax from 19 to 7 percent.",
        "Add a method clear that removes all items and returns the basket.",
        "Let receipt show gross prices with two decimals.",
        "Rename the class Basket to Cart everywhere.",
        "Let add refuse a quantity below one with an error.",
        "Add a method count that returns how many items there are.",
        "Let remove take away one of an item, and the item itself with the last one.",
        "Rename gross to total everywhere.",
    ),
    "library.sql": (
        "Add a column email to members, a text that may be null.",
        "Rename the column shelf of books to location.",
        "Add an index of books by author below the other indexes.",
        "Add a table fines beside loans, with the loan it is for and an amount.",
        "Let names of members be unique.",
        "Rename the view open_loans to current_loans.",
        "Add the author to what the view shows.",
        "Replace lent by borrowed everywhere.",
    ),
    "compose.yaml": (
        "Raise the log level of web and worker to debug.",
        "Move both images of the shop to version 1.5.",
        "Let the worker depend on the cache as well.",
        "Give the cache a volume of its own, as the database has one.",
        "Rename the service web to shop everywhere.",
        "Publish the web on port 9090 instead of 8080.",
        "Let the database restart unless it was stopped, as web and worker do.",
        "Change the database's version to 17 and the cache's to 8.",
    ),
    "queue.go": (
        "Rename Len to Size.",
        "Add a method Peek that returns the first item and leaves it there.",
        "Let New take the capacity that the slice of items is made with.",
        "Rename the type Queue to Stack, and let Pop return the last item.",
        "Let items be bytes instead of strings.",
        "Add a method Clear that removes all items.",
        'Change the message of ErrEmpty to "nothing left".',
        "Write a comment of one line above every method.",
    ),
    "style.css": (
        "Change the accent colour to #2e5fb3.",
        "Make the body at most 56rem wide and its lines 1.6 high.",
        "Rename the variable --ink to --text everywhere.",
        "Give links no underline, and one while they are hovered.",
        "Double the padding of table cells.",
        "Use a sans-serif font for the body.",
        "Add a dark scheme in which ink and paper change places.",
        "Let numbers in tables stand at the right.",
    ),
    "backup.sh": (
        "Keep 30 archives instead of 14.",
        "Back up the folder pictures instead of documents, archives and target included.",
        "Let log print the time of day as well.",
        "Pack with zstd instead of gzip, and name the archives so.",
        "Rename keep to limit everywhere.",
        "Let the exit status be 2 where there is no disk.",
        "Remove the source directory's caches from what is packed.",
        "Log how many bytes the archive has.",
    ),
    "shapes.rs": (
        "Add a square with one field, side.",
        "Rename the function area to surface everywhere.",
        "Add a function smallest beside largest.",
        "Add a function perimeter for the circle and the rectangle, and 0 for the triangle.",
        "Rename Triangle to RightTriangle everywhere.",
        "Derive Debug and Clone for Shape.",
        "Let all numbers be f32 instead of f64.",
        "Add a function total that sums the areas of shapes.",
    ),
}


def rows() -> Iterator[Row]:
    """Each file's first edit, then each file's second one: work comes back to a file later."""
    for number in range(EACH):
        for name, (kind, code) in FILES.items():
            edit = EDITS[name][number]
            text = REQUEST.format(edit=edit, name=name, kind=kind, code=code.strip())
            yield {"id": f"{name}-{number + 1}", "category": name, "prompt": text}
