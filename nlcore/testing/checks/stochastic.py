"""Checks of random losses: they draw from the generator, and from nothing else."""

from __future__ import annotations

import torch

from nlcore.testing.check import BASE, check, deterministic, ensure, only_if
from nlcore.testing.checks.purity import changed_sources, random_states
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject, clone, leaves

_STOCHASTIC = only_if(lambda subject: subject.traits.stochastic, "it is not stochastic")


@check("stochastic.example", requires=("shape.example",))
def example(subject: Subject) -> None:
    """`example` draws from its generator alone: the same state gives the same example, another one another."""
    before = random_states()
    drawn = [subject.draw(BATCH), subject.draw(BATCH), subject.draw(BATCH, seed=1)]
    changed = changed_sources(before)
    first, again, other = [(prediction, *leaves(target)) for prediction, target in drawn]
    same = not changed and all(map(torch.equal, first, again))
    ensure(same, "example gives another result for the same generator state", "Draw with generator=generator alone.")
    differs = not all(map(torch.equal, first, other))
    ensure(differs, "example gives the same result whatever the generator", "Draw with generator=generator.")


@check("stochastic.reproducible", requires=(*BASE, "purity.inputs", "purity.settings"), when=_STOCHASTIC)
def reproducible(subject: Subject) -> None:
    """The same generator state gives the same value."""
    prediction, target = subject.draw(BATCH)
    for name, function in subject.functions():
        first = clone(function(prediction, target))
        subject.value(*subject.draw(BATCH + 1, seed=1), seed=1)
        compare(
            subject,
            function(prediction, target),
            first,
            f"{name} gives another result for the same state of the generator",
            "Draw every random number with generator=generator, and keep no state between calls.",
        )


@check("stochastic.varies", requires=(*BASE, "stochastic.reproducible"), when=_STOCHASTIC)
def varies(subject: Subject) -> None:
    """Another generator state gives another value."""
    prediction, target = subject.draw(16)
    values = [subject.value(prediction, target, seed=seed) for seed in range(4)]
    ensure(
        not all(torch.equal(values[0], one) for one in values[1:]),
        "four generators with different seeds give the same value, and traits.stochastic is True",
        "Draw with generator=generator; a loss without random numbers sets stochastic=False.",
    )


@check("stochastic.declared", requires=(*BASE, "purity.repeatable"), when=deterministic)
def declared(subject: Subject) -> None:
    """A loss that is not declared stochastic leaves the generator alone."""
    prediction, target = subject.draw(BATCH)
    for name in subject.methods:
        generator = subject.generator()
        before = generator.get_state()
        subject.call(name, prediction, target, generator=generator)
        ensure(
            torch.equal(generator.get_state(), before),
            f"{name} draws from the generator, and traits.stochastic is False",
            "Set Traits(stochastic=True), or draw nothing.",
        )
