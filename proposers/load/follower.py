"""What is drafted next, chosen by what steps cost and what drafts yield.

Of ``B`` requests ``D`` are drafted. With trees whose paths have a probability of ``p`` or more a
step yields ``B + D a(p)`` tokens, ``a`` being those accepted of a tree. It costs a forward of
``B + D n(p)`` rows, ``n`` being the tree's nodes, and the drafting. Chosen are the ``p`` and the
:class:`Effort` of most tokens a second. So rows go to the requests whose drafts are likeliest to
hold, and a request whose draft doubts itself has none. (Lengths of drafts by goodput: SmartSpec,
arXiv 2406.14066. Here nodes of trees are chosen, over all requests, and costs are learnt.)
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from .costs import Costs
from .yields import EDGES, Verified, Yields

GAIN = 1.03
"""How much better another effort must look before it is chosen; none need only be better."""
UNSEEN = 0.95
"""What is left of a draft model's rate when all is paid for that steps without prefill do not show:
windows of new requests, trees beside prefills, batches that empty as requests end one by one. (At
32 requests it looked 4% above vanilla by its steps, and was 2% below.)"""
HOLD = 4
"""Steps that any other choice is kept for, at least. (The first drafts after a pause cost more than
those that follow, and are not measured.)"""
PRICE = 0.01
"""What trying others may cost, as a share of all steps; the less one loses, the sooner it is tried,
but not before ``REST`` steps. A draft model that catches up with a pause is taken for a step."""
REST = 32
LONGING = 0.1
"""By how much of its rate a choice is more wanted after each trial that was not of it."""


class Effort(IntEnum):
    """What is done to have drafts."""

    NONE = 0
    CHEAP = 1
    """What is found without a draft model's forward."""
    WHOLE = 2


class Choice(NamedTuple):
    """Attributes:
    least: no path is less likely than ``LEASTS[least]``.
    """

    effort: Effort
    least: int


NOTHING = Choice(Effort.NONE, 0)
ALL = len(EDGES) - 1


class LoadFollower:
    """Chooses the next drafts; is told times, and has no clock.

    It begins with whole trees. What was never tried is thought cheap, and so is tried once it could
    pay; what was not tried for long is tried for a few steps, so that no choice is for ever.

    Args:
        cheaper: the proposer tells ``CHEAP`` from ``WHOLE``.
        most: nodes that a tree may have.
    """

    def __init__(self, cheaper: bool, most: int) -> None:
        efforts = (Effort.CHEAP, Effort.WHOLE) if cheaper else (Effort.WHOLE,)
        self.most = most
        self.costs = Costs()
        self.yields = {effort: Yields() for effort in efforts}
        self.chosen = Choice(Effort.WHOLE, ALL)
        self._holding, self._held, self._since = self.chosen, HOLD, 0
        self._waited = dict.fromkeys((Effort.NONE, *efforts), 0)

    def rate(self, choice: Choice, requests: int, drafted: int) -> float:
        """Tokens a second of a step of ``requests``, of which ``drafted`` have trees; at a pace
        that is the same for all choices."""
        effort, least = choice
        if not effort:
            return requests / max(self.costs.plain_seconds(requests), 1e-9)
        nodes = min(self.yields[effort].nodes(least), self.most)
        rows = drafted * (1 + nodes)
        seconds = self.costs.seconds(requests, requests + drafted * nodes, effort, rows)
        return (requests + drafted * self.yields[effort].accepted(least)) / max(seconds, 1e-9)

    def choose(self, requests: int, drafted: int) -> Choice:
        """What is drafted next.

        Args:
            requests: how many are in the batch.
            drafted: how many of them may have a tree.
        """
        self.costs.step += 1
        if not drafted:
            return NOTHING
        if self._held:
            self._held -= 1
            return self._holding
        bests = self._bests(requests, drafted)
        rates = dict(bests.values())
        best = max(rates, key=lambda choice: rates[choice])
        here, rate = bests[self.chosen.effort]
        if best.effort != here.effort and rates[best] > (GAIN if best.effort else 1.0) * rate:
            self.chosen = best
            return self._hold(best)
        self.chosen = here
        self._since += 1
        other = self._other(rates)
        late = other.effort is Effort.WHOLE and here.effort is not Effort.WHOLE
        loss = HOLD * (rate / max(self.rate(other, requests, drafted), 1e-9) - 1) + late
        if self._since > max(REST, loss / PRICE):
            self._waited = {effort: waited + 1 for effort, waited in self._waited.items()}
            return self._hold(other)
        return self.chosen

    def _bests(self, requests: int, drafted: int) -> dict[Effort, tuple[Choice, float]]:
        """The best choice of each effort, and its rate; the likelier paths of two as good."""
        bests = {Effort.NONE: (NOTHING, self.rate(NOTHING, requests, drafted))}
        for effort in self.yields:
            choices = [Choice(effort, least) for least in range(len(EDGES))]
            rates = [self.rate(choice, requests, drafted) for choice in choices]
            best = max(range(len(rates)), key=lambda least: rates[least])
            kept = UNSEEN if effort is Effort.WHOLE else 1.0
            bests[effort] = choices[best], kept * rates[best]
        return bests

    def _hold(self, choice: Choice) -> Choice:
        """Keep to it for the next steps, for one measurement is none."""
        self._holding, self._held, self._since = choice, HOLD - 1, 0
        self._waited[choice.effort] = 0
        return choice

    def _other(self, rates: dict[Choice, float]) -> Choice:
        """What to try: another effort that looks good or was not tried for long, or with the same
        effort whole trees, as what is under the least likelihood is not seen."""
        wanted = {c: rate * (1 + LONGING * self._waited[c.effort]) for c, rate in rates.items()}
        if not self.chosen.effort:
            del wanted[self.chosen]
        other = max(wanted, key=lambda choice: wanted[choice])
        return other if other != self.chosen else Choice(other.effort, ALL)

    def stepped(self, requests: int, rows: int, seconds: float) -> None:
        """A step without prefill took so long, drafting apart."""
        self.costs.note_step(requests, rows, seconds)

    def drafted(self, effort: Effort, rows: int, seconds: float) -> None:
        """Drafting took so long; ``rows`` are the requests and the nodes that they were given."""
        if rows:
            self.costs.note_drafts(effort, rows, seconds)

    def verified(self, choice: Choice, verified: Verified) -> None:
        """What became of a step's trees, as chosen."""
        if choice.effort:
            self.yields[choice.effort].note(verified, choice.least)
