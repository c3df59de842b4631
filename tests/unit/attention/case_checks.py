"""The error of a step's attention against float64, over sizes as engines have them.

Not collected by its name: ``test_paged_triton`` runs it in Triton's interpreter, ``tests/gpu`` on a
GPU. ``LONGSPEC_CASES=200`` makes it the first 200 cases instead of some of them that are quick to
interpret; errors go to the tests' properties (``--junitxml``).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from .steps import FENCE, Step, answer, hybrid, paged, random_step

QUICK = (14, 36, 57, 62, 83, 88, 94, 117, 133, 137, 179, 192)
CASES = range(int(os.environ.get("LONGSPEC_CASES", "0"))) or QUICK
BOUND = 2e-6
"""Greatest difference of a number of the output, in float32."""
SIZES = {"batch": (1, 16), "nodes": (1, 64), "prefix": (1, 5_000), "groups": (1, 8)}
Attend = Callable[[Step], torch.Tensor]
DIMS = (64, 80, 96, 128, 256)


def case(number: int, device: str) -> tuple[Step, int]:
    """A step and the parts that its prefixes are split into.

    Sizes fall evenly on a logarithmic scale, and a tenth on the ends of their ranges.
    """
    pick = random.Random(number)

    def size(name: str) -> int:
        low, high = SIZES[name]
        between = round(low * (high / low) ** pick.random())
        return between if pick.random() < 0.9 else pick.choice([low, high])

    batch = size("batch")
    trees = [[pick.randrange(-1, node) for node in range(size("nodes"))] for _ in range(batch)]
    prefixes = [size("prefix") for _ in range(batch)]
    shape = (pick.choice([1, 1, 2]), size("groups"), pick.choice(DIMS))
    return random_step(trees, prefixes, *shape, device=device, seed=number), pick.choice([2, 4, 8])


def error(step: Step, found: torch.Tensor, expected: torch.Tensor) -> float:
    assert (found[expected == FENCE] == FENCE).all()
    return float((found - expected).abs().max())


@pytest.mark.parametrize("number", CASES)
def test_error_against_float64(device: str, number: int, record_property: object) -> None:
    step, splits = case(number, device)
    expected = answer(step)
    errors = {
        "hybrid": error(step, hybrid(step), expected),
        "paged": error(step, paged(step), expected),
        "split": error(step, paged(step, splits=splits), expected),
    }
    record_property("errors", errors)  # type: ignore[operator]
    assert max(errors.values()) <= BOUND, errors


@pytest.mark.parametrize("attend", [hybrid, paged])
def test_scores_of_wide_heads_are_summed_in_pieces(device: str, attend: Attend) -> None:
    """Few keys and large heads are the worst case: one sum of 256 products errs by 2.1e-6 here."""
    step = random_step([[*range(-1, 63)]], [1], 1, 8, 256, device=device, seed=1)
    assert error(step, attend(step), answer(step)) <= BOUND / 2


@pytest.mark.parametrize("number", [14, 117, 133])
def test_a_wrong_answer_is_far_from_the_bound(device: str, number: int) -> None:
    """Controls: no merge, and the masks of other slots."""
    step, splits = case(number, device)
    others = replace(step.rows, slots=step.rows.slots.roll(1))
    assert step.rows.mask is not None
    if len(step.rows.slots) == 1:
        others = replace(step.rows, mask=step.rows.mask.roll(1, 0))
    wrong = [hybrid(step, no_prefix=True), hybrid(step, others), paged(step, others, splits=splits)]
    assert min(error(step, out, answer(step)) for out in wrong) > 100 * BOUND
