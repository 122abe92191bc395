"""The rules of the default: the numbers of their page are those of the code."""

from __future__ import annotations

import importlib
import pkgutil
import re
from fractions import Fraction

import pytest
import torch
from pages import DOCS

import nlcore
import nlcore.newton

PAGE = (DOCS / "reference/default.md").read_text("utf-8")
TEXT = " ".join(PAGE.split())

# Sentences of the page, with the names of constants in place of their numbers.
SENTENCES = (
    "has second derivatives, more than {FORMED} outputs and a [curvature operator]",
    "has more than {FORMED} outputs, or a Hessian that takes more than {_MOST_PULLS} backward passes",
    "The loss has a split whose matrix takes more than {_MOST_PULLS} backward passes",
    "evaluated at $\\alpha$ = {_LENGTHS_0}, {_LENGTHS_1} and {_LENGTHS_2}, and then {_REFINEMENTS} times more",
    "Of a batch of more than {_EVALUATED} samples in one process",
    "clipped to the interval from {_LEAST} to {_MOST}, so that a lucky line search",
    "would hold more than ${_WAITING}$ numbers",
    "number of probes so far, but at least with the weight {_RATE}.",
    "at ρ = {_ALIKE_RHO} is at most {_ALIKE} for nine samples in ten",
    "that of at most {_SAMPLES} samples, spread evenly over the batch",
    "added to the score of a direction with the weight {_AGREEMENT}.",
    "- {_PATIENCE} is added to the scores of the directions with one matrix for the batch",
    "condition number of the matrix of the batch is below {_ROUND}, apart from eigenvalues of at most ${_FLAT}$ times",
    "- {_PRICE} is subtracted from the scores of the directions with the matrix of each sample",
    "is more than {_MARGIN} higher",
    "only if its mean score is more than {_CLEAR} higher",
    "by no more than ${_SAME}$ times its largest entry",
    "Until {_TRUST} probes are complete, only the gradient and the half power of the batch",
    "is above {_OVERSTEP} for more than one sample in ten",
    "excluded only while {_NOISY} times its ρ is below the validated one",
    "If the loss exceeds {_RISE} times its running mean in {_IN_A_ROW} consecutive steps",
    "the excess of a single loss over it is limited to {_SPIKE} times the mean",
    "itself exceeds {_RISE} times its lowest value so far, the default returns to the gradient and keeps it for "
    "{_HOLD} probes",
    "the running mean of the lengths of the gradients, with a memory of {_MEMORY} steps",
    "relative to the mean length of recent gradients, which has a memory of {_SOON} steps. While the typical length is "
    "shorter than that mean, it approaches it over {_SOON} steps",
    "While it is more than {_FAR} times as long, its memory is {_SOON} steps as well",
    "those above it by no more than {_STALLED}, with a memory of {_SOON} steps",
    "from step {_SLOW} on, once the running mean is as high as the mean with a memory of {_SLOW} steps",
    "over {_SOON} steps if it is longer, so that steps soon shrink, and over {_MEMORY} steps if it is shorter",
    "once the typical length is at most {_NEAR} times the mean length of recent gradients",
    "before a stall, and {_LEAST_LENGTH} times that mean afterwards",
    "If at least {_SHARE} of the squared change is along $q$",
    "it shrinks by at most the factor {_SHRINK} in each step",
    "A loss is then too high if it is more than {_DEVIATIONS} mean deviations above $m$.",
    "The running mean is too high if it is more than {_LOST} mean deviations above its lowest value.",
    "The excess of a single loss over $m$ is limited to {_SPIKE} mean deviations",
    "therefore on trial for {_TRIAL} steps after it was chosen",
    "running mean of the loss is more than {_DOUBT} mean deviations above its lowest value",
    "as frequent as at the beginning for {_AGAIN} steps, since noise",
    "differ by no more than {_EQUAL} of the latter, the gradient is not rescaled",
    "For the first {_DENSE} steps, there is a probe every {_EVERY} steps.",
    "has grown by a factor of {_GROWTH}, but after at most {_LONGEST} steps",
    "The first {_FULL_FIRST} probes are *full*",
    "the number of earlier probes is a multiple of {_FULL_EVERY}.",
    "the {_BEST} with the highest mean scores",
    "differ by more than {_TOLERANCE} of the latter for a random $v$",
)
_PLACE = re.compile(r"\{(\w+?)(?:_(\d))?\}")
_NUMBER = r"[−\d.^{}/-]*[\d}]"


def constant(name: str, place: str | None) -> float:
    """Return a constant of the engine by its name, in whichever module it is."""
    names = [one.name for one in pkgutil.walk_packages(nlcore.newton.__path__, "nlcore.newton.")]
    spellings = {name, name.removeprefix("_")}
    values = {vars(importlib.import_module(module)).get(one) for module in names for one in spellings} - {None}
    assert len(values) == 1, f"{name} has the values {values} in the modules of nlcore.newton"
    (value,) = values
    return float(value if place is None else value[int(place)])


def number(text: str) -> float:
    """Return a number of the page, such as −4, 1/16 or 10^{-4}."""
    base, _, power = text.replace("−", "-").partition("^")
    return float(Fraction(base)) ** float(power.strip("{}") or 1)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_number_of_the_page_is_that_of_the_code(sentence):
    places = _PLACE.findall(sentence)
    words = _PLACE.sub("\0", sentence).split("\0")
    found = re.search(f"({_NUMBER})".join(map(re.escape, words)), TEXT)
    assert found, f"the page does not say: {sentence}"
    shown = {name: number(one) for (name, _), one in zip(places, found.groups(), strict=True)}
    code = {name: constant(name, place or None) for name, place in places}
    assert shown == pytest.approx(code)


@pytest.mark.parametrize(
    ("text", "value"), [("−4", -4.0), ("1/16", 0.0625), ("2^{25}", 2.0**25), ("10^{-4}", 1e-4), ("0.25", 0.25)]
)
def test_numbers_are_read_as_they_are_written(text, value):
    assert re.fullmatch(_NUMBER, text)
    assert number(text) == pytest.approx(value)


class Quartic:
    """A loss with two derivatives and nothing else."""

    traits = nlcore.Traits()

    def __call__(self, prediction, target, *, generator=None):
        return (prediction - target).pow(4).sum(-1)

    def example(self, batch, *, seed=0):
        return torch.zeros(batch, 40), torch.zeros(batch, 40)


@pytest.mark.parametrize(
    ("case", "loss", "size"),
    [
        (1, nlcore.make("sequences/prefix_sum"), 300),
        (2, lambda prediction, target: (prediction - target).square().sum(-1), 4),
        (2, nlcore.compose(lambda y: y.sin().cumsum(1)), 300),
        (2, Quartic(), 40),
        (3, nlcore.make("sequences/prefix_sum"), 16),
        (4, nlcore.compose(lambda y: y.sin().cumsum(1)), 40),
        (5, nlcore.compose(lambda y: y.sin().cumsum(1)), 16),
        (5, Quartic(), 8),
    ],
)
def test_the_directions_are_those_of_the_table(case, loss, size):
    criterion = nlcore.NewtonLoss(loss)
    criterion(torch.nn.Linear(3, size)(torch.randn(4, 3)), torch.zeros(4, size))
    found = {(kind, power): [] for kind in ("fisher", "batch", "sample") for power in (1.0, 0.5)}
    for one in criterion._selection.candidates.curvatures[1:]:
        kind = "fisher" if isinstance(one, nlcore.EmpiricalFisher) else one.aggregate
        found[kind, one.power].append(one.damping.rho)
    (line,) = re.findall(rf"^\| {case} \|.*$", PAGE, re.MULTILINE)
    shown = [cell.strip() for cell in line.strip(" |").split("|")[1:]]
    assert shown == [", ".join(f"{rho:g}" for rho in sorted(rhos)) or "–" for rhos in found.values()]


def test_the_frequencies_are_those_of_the_code():
    def candidates(loss):
        criterion = nlcore.NewtonLoss(loss)
        criterion(torch.nn.Linear(3, 4)(torch.randn(4, 3)), torch.zeros(4, 4))
        return criterion._selection.candidates

    (apart,) = re.findall(r"In case 2, at least (\d+) steps lie between two probes", TEXT)
    (kept,) = re.findall(r"of the batch serves for (\d+) steps", TEXT)
    assert candidates(lambda y, target: (y - target).square().sum(-1)).interval == int(apart)
    assert candidates(nlcore.compose(lambda y: y.sin())).refresh == int(kept)
