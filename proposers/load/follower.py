"""How many nodes a tree should have, chosen by what steps cost and what trees yield.

Of ``B`` requests ``D`` are drafted. With trees of ``n`` nodes a step yields ``B + D y(n)`` tokens,
``y`` being those accepted of a tree. It costs a forward of ``B + D s(n)`` rows, ``s`` being the
nodes that are there, and the drafting. Chosen is the ``n`` of most tokens a second, 0 among them.
(Lengths of drafts by goodput: SmartSpec, arXiv 2406.14066. Here nodes of trees are chosen, and
costs are learnt.)
"""

from __future__ import annotations

from .costs import Costs
from .yields import Verified, Yields

GAIN = 1.03
"""How much better another size must look before it is chosen, and any tree than none."""
HOLD = 4
"""Steps that any other size is kept for, at least. (The first drafts after a pause cost more than
those that follow, and are not measured.)"""
PRICE = 0.01
"""What trying other sizes may cost, as a share of all steps; the less one loses, the sooner it is
tried, but not before ``REST`` steps. Drafting that catches up with a pause is taken for a step."""
REST = 32
LONGING = 0.1
"""By how much of its rate a size is more wanted after each probe that was not of it."""
STEPS = (12, 16, 24, 32, 48, 64, 96)


def candidates(max_nodes: int) -> list[int]:
    """The sizes that are weighed: all small ones, then some, and the greatest."""
    return [n for n in (*range(9), *STEPS) if n < max_nodes] + [max_nodes]


class LoadFollower:
    """Chooses the nodes of the next trees; is told times, and has no clock.

    It begins with whole trees. What was never tried is thought cheap, and so is tried once it could
    pay; what was not tried for long is probed for a few steps, so that no choice is for ever.
    """

    def __init__(self, max_nodes: int) -> None:
        self.sizes = candidates(max_nodes)
        self.costs, self.yields = Costs(), Yields(max_nodes)
        self.chosen = max_nodes
        self._holding, self._held, self._since = max_nodes, HOLD, 0
        self._waited = dict.fromkeys(self.sizes, 0)

    def rate(self, nodes: int, requests: int, drafted: int) -> float:
        """Tokens a second of a step of ``requests``, of which ``drafted`` have trees; at a pace
        that is the same for all ``nodes``."""
        tree = self.yields.nodes(nodes)
        seconds = self.costs.seconds(requests + drafted * tree, drafted * nodes)
        return (requests + drafted * self.yields.accepted(nodes)) / max(seconds, 1e-9)

    def choose(self, requests: int, drafted: int, most: int) -> int:
        """The nodes of each of the next trees.

        Args:
            requests: how many are in the batch.
            drafted: how many of them may have a tree.
            most: no tree may have more.
        """
        self.costs.step += 1
        if not drafted:
            return 0
        if self._held:
            self._held -= 1
            return min(self._holding, most)
        rates = {n: self.rate(n, requests, drafted) for n in self.sizes if n <= most}
        rates[0] *= GAIN
        best = max(rates, key=lambda n: rates[n])
        if rates[best] > GAIN * rates.get(self.chosen, 0.0):
            self.chosen = best
            return self._hold(best)
        self._since += 1
        other, loss = self._other(rates)
        if self._since > max(REST, loss / PRICE):
            self._waited = {n: waited + 1 for n, waited in self._waited.items()}
            return self._hold(other)
        return self.chosen

    def _hold(self, nodes: int) -> int:
        """Keep to a size for the next steps, for one measurement is none."""
        self._holding, self._held, self._since = nodes, HOLD - 1, 0
        self._waited[nodes] = 0
        return nodes

    def _other(self, rates: dict[int, float]) -> tuple[int, float]:
        """Another size to try, one that looks good or was not tried for long, and what that would
        cost, in steps of the chosen size."""
        wanted = {n: rate * (1 + LONGING * self._waited[n]) for n, rate in rates.items()}
        wanted[self.chosen] = 0.0
        other = max(wanted, key=lambda n: wanted[n])
        longer = rates[self.chosen] / max(rates[other], 1e-9) - 1
        return other, HOLD * longer + (self.chosen == 0)

    def stepped(self, requests: int, rows: int, seconds: float) -> None:
        """A step without prefill took so long, drafting apart."""
        self.costs.note_step(requests, rows, seconds)

    def drafted(self, nodes: int, seconds: float) -> None:
        """Drafting trees of at most ``nodes`` together took so long."""
        if nodes:
            self.costs.note_drafts(nodes, seconds)

    def verified(self, verified: Verified) -> None:
        """What became of a step's trees."""
        self.yields.note(verified)
