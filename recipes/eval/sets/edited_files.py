"""The files that :mod:`.edits` asks to change: their kinds and what stands in them."""

from __future__ import annotations

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
