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
PROBE = 4
"""Steps that a probe lasts: the first drafts after a pause cost more than those that follow."""
FIRST_WAIT, LAST_WAIT = 32, 512
"""Steps between probes: twice as many after each that has changed nothing."""
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
        self._wait, self._since = FIRST_WAIT, 0
        self._probed, self._probe_left = 0, 0
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
        if self._probe_left:
            self._probe_left -= 1
            return min(self._probed, most)
        rates = {n: self.rate(n, requests, drafted) for n in self.sizes if n <= most}
        rates[0] *= GAIN
        best = max(rates, key=lambda n: rates[n])
        if rates[best] > GAIN * rates.get(self.chosen, 0.0):
            self.chosen, self._wait, self._since = best, FIRST_WAIT, 0
        self._since += 1
        if self._since > self._wait:
            return self._probe(rates)
        return self.chosen

    def _probe(self, rates: dict[int, float]) -> int:
        """Begin to try another size: one that looks good, or was not tried for long."""
        self._wait, self._since = min(2 * self._wait, LAST_WAIT), 0
        self._waited = {n: self._waited[n] + 1 for n in self.sizes}
        others = {n: rates[n] * (1 + LONGING * self._waited[n]) for n in rates if n != self.chosen}
        self._probed = max(others, key=lambda n: others[n]) if others else self.chosen
        self._waited[self._probed], self._probe_left = 0, PROBE - 1
        return self._probed

    def stepped(self, rows: int, seconds: float) -> None:
        """A step without prefill took so long, drafting apart."""
        self.costs.note_step(rows, seconds)

    def drafted(self, nodes: int, seconds: float) -> None:
        """Drafting trees of at most ``nodes`` together took so long."""
        if nodes:
            self.costs.note_drafts(nodes, seconds)

    def verified(self, verified: Verified) -> None:
        """What became of a step's trees."""
        self.yields.note(verified)
