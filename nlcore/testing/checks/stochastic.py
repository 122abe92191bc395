"""Random losses: the generator, all of it and nothing else."""

from __future__ import annotations

import torch

from nlcore.testing.check import BASE, check, fail
from nlcore.testing.checks.comparison import compare
from nlcore.testing.checks.purity import changed_sources, random_states
from nlcore.testing.subject import BATCH, Subject, clone, leaves

__all__ = ["CHECKS"]


def _stochastic(subject: Subject) -> str:
    return "" if subject.traits.stochastic else "it is not stochastic"


def _deterministic(subject: Subject) -> str:
    return "it is stochastic" if subject.traits.stochastic else ""


@check("stochastic.example", requires=("shape.example",))
def example(subject: Subject) -> None:
    """`example` draws from its generator alone: the same state gives the same example, another one another."""
    before = random_states()
    first, again, other = subject.draw(BATCH), subject.draw(BATCH), subject.draw(BATCH, seed=1)
    changed = changed_sources(before)
    tensors = [(one[0], *leaves(one[1])) for one in (first, again, other)]
    if changed or not all(torch.equal(a, b) for a, b in zip(*tensors[:2], strict=True)):
        fail("example gives another result for the same generator state", "Draw with generator=generator alone.")
    if all(torch.equal(a, b) for a, b in zip(tensors[0], tensors[2], strict=True)):
        fail("example gives the same result whatever the generator", "Draw with generator=generator.")


@check("stochastic.reproducible", requires=(*BASE, "purity.inputs", "purity.settings"), when=_stochastic)
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


@check("stochastic.varies", requires=(*BASE, "stochastic.reproducible"), when=_stochastic)
def varies(subject: Subject) -> None:
    """Another generator state gives another value."""
    prediction, target = subject.draw(16)
    values = [subject.value(prediction, target, seed=seed) for seed in range(4)]
    if all(torch.equal(values[0], one) for one in values[1:]):
        fail(
            "four generators with different seeds give the same value, and traits.stochastic is True",
            "Draw with generator=generator; a loss without random numbers sets stochastic=False.",
        )


@check("stochastic.declared", requires=(*BASE, "purity.repeatable"), when=_deterministic)
def declared(subject: Subject) -> None:
    """A loss that is not declared stochastic leaves the generator alone."""
    prediction, target = subject.draw(BATCH)
    for name in ["__call__", *(one for one in ("gradient", "hessian") if getattr(subject, f"supplies_{one}"))]:
        generator = subject.generator()
        before = generator.get_state()
        getattr(subject.algorithm, name)(prediction, target, generator=generator)
        if not torch.equal(generator.get_state(), before):
            fail(
                f"{name} draws from the generator, and traits.stochastic is False",
                "Set Traits(stochastic=True), or draw nothing.",
            )


CHECKS = (example, reproducible, varies, declared)
