"""Edits as agents ask for them: a small file, one thing to change, the whole file wanted back.

Eight files, eight edits of each: answers repeat most of their prompt and of each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from .edited_files import FILES
from .rows import Row

REQUEST = "{edit} Give the whole file {name}, changed, and nothing else.\n\n```{kind}\n{code}\n```"

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
