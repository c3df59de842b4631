"""From a matplotlib figure to an SVG that is a part of the page.

Colours become CSS variables, fonts the page's; ids that nothing refers to go, and the rest get a
prefix, since all plots share one page. Text stays text. No window system is touched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from ..palette import COLOURS, STYLE, Look

WIDTH = 5.2  # inches, 374 units: as wide as a telephone, so that text is legible there
ROW = 0.2  # inches of a line of text
LINE, MARK = 74, 7  # letters in a line of a legend, and what a marker takes of them
Paint = Callable[[Any], None]
_STYLE = {
    **STYLE,
    "svg.fonttype": "none",
    "svg.hashsalt": "longspec",  # the same run gives the same file
    "font.size": 8.5,
    "axes.linewidth": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # none of it


@dataclass(frozen=True)
class Plot:
    """One figure of the report; ``svg`` is markup, the others are text."""

    title: str
    caption: str
    svg: str


def drawn(title: str, caption: str, height: float, paint: Paint) -> Plot:
    """Let ``paint`` fill a figure of ``height`` inches."""
    import matplotlib as mpl  # here, since it is slow to import
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata=_METADATA)
    return Plot(title, caption, _inline(buffer.getvalue(), title))


def legend(figure: Any, names: Mapping[str, Look], kind: str) -> None:
    """Names above the axes, row by row; ``kind``: ``marker``, ``line`` or ``both``."""
    from matplotlib.lines import Line2D

    handles = []
    for name, look in names.items():
        style = look.dot | {"linestyle": "" if kind == "marker" else look.line}
        if kind == "line":
            style["marker"] = ""
        handles.append(Line2D([], [], label=name, **style))
    fitting = LINE // (max(map(len, names)) + MARK)
    columns = len(names) if sum(len(name) + MARK for name in names) <= LINE else max(1, fitting)
    figure.legend(
        handles=[handle for start in range(columns) for handle in handles[start::columns]],
        loc="outside upper left",
        ncols=columns,
        handlelength=1.8,
        columnspacing=1.2,
    )


def _inline(svg: str, title: str) -> str:
    root = ElementTree.fromstring(svg)
    prefix = re.sub(r"\W+", "-", title.lower())
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = _attributes(element.attrib, used, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": title}
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    return re.sub(r"\s*\n\s*", "\n", ElementTree.tostring(root, "unicode"))


def _local(name: str) -> str:
    """A name without its namespace: HTML knows what is SVG by itself."""
    return name.rpartition("}")[2]


def _attributes(before: dict[str, str], used: set[str], prefix: str) -> dict[str, str]:
    after = {_local(name): value for name, value in before.items()}
    if "id" in after:
        if after["id"] in used:
            after["id"] = f"{prefix}-{after['id']}"
        else:
            del after["id"]
    if "href" in after:
        after["href"] = f"#{prefix}-{after['href'][1:]}"
    for name in ("clip-path", "style"):
        if name in after:
            after[name] = _style(after[name].replace("url(#", f"url(#{prefix}-"))
    return after


def _style(text: str) -> str:
    for name, (light, _) in COLOURS.items():
        text = text.replace(light, f"var(--{name})")
    return re.sub(r"font: ([^;']*)'DejaVu Sans'[^;]*", r"font: \1system-ui, sans-serif", text)
