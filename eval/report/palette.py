"""Colours, markers and lines: one per arm through the whole report, and safe for colour-blind eyes.

Plots are drawn in the light colours; ``canvas`` makes CSS variables of them, so that the page
chooses light or dark. Conditions of one arm share its colour and differ in line and filling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..records.results import ArmResult

VANILLA = "vanilla"
# name: light, dark. The arms' are those of Okabe and Ito, darker or lighter for their ground.
COLOURS = {
    "ink": ("#1d2430", "#e4e8ee"),
    "muted": ("#5b6572", "#9aa5b4"),
    "grid": ("#dfe3e9", "#333b47"),
    "vanilla": ("#7d8590", "#a3acb8"),
    "arm1": ("#0067a8", "#5ab4ef"),
    "arm2": ("#c94f00", "#ff9552"),
    "arm3": ("#00845f", "#3ecf9f"),
    "arm4": ("#a8468a", "#e79bce"),
    "arm5": ("#8a6d00", "#e3c13f"),
    "arm6": ("#4b4bb5", "#a5a6ff"),
    "verify": ("#8fa3b8", "#5f7489"),
    "draft": ("#d98a00", "#a06a0c"),
    "engine": ("#c9d0d9", "#3f4a58"),
    "win": ("#00846a", "#3ecfa0"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
INK, MUTED, GRID = LIGHT["ink"], LIGHT["muted"], LIGHT["grid"]
STYLE = {
    "text.parse_math": False,  # a $ in a name is a $
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
"""Matplotlib's settings of every plot."""
_ARMS = [name for name in COLOURS if name.startswith("arm")]
_MARKERS = "osD^vP"
_FILLS = ("full", "none", "left", "top")
_LINES: list[str | tuple[int, tuple[int, ...]]] = ["-", (0, (4, 2)), (0, (1, 1)), (0, (5, 1, 1, 1))]


@dataclass(frozen=True)
class Look:
    """How an arm is drawn; ``variable`` is its colour's name in CSS."""

    variable: str
    marker: str
    fill: str
    line: str | tuple[int, tuple[int, ...]]

    @property
    def colour(self) -> str:
        """The light colour, which plots are drawn with."""
        return LIGHT[self.variable]

    @property
    def dot(self) -> dict[str, Any]:
        """How matplotlib's ``plot`` draws its marker."""
        return {"color": self.colour, "marker": self.marker, "fillstyle": self.fill}


def looks(arms: Sequence[ArmResult]) -> dict[str, Look]:
    """A look per label: the colour is the arm's, the line the condition's."""
    names = list(dict.fromkeys(arm.name for arm in arms if arm.name != VANILLA))
    conditions = list(dict.fromkeys((arm.concurrency, arm.temperature) for arm in arms))
    found = {}
    for arm in arms:
        which = conditions.index((arm.concurrency, arm.temperature))
        fill, line = _FILLS[which % len(_FILLS)], _LINES[which % len(_LINES)]
        colour, marker = "vanilla", "o"
        if arm.name != VANILLA:
            index = names.index(arm.name)
            colour, marker = _ARMS[index % len(_ARMS)], _MARKERS[index % len(_MARKERS)]
        found[arm.label] = Look(colour, marker, fill, line)
    return found


def css(dark: bool) -> str:
    """Declarations of the variables."""
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in COLOURS.items())
