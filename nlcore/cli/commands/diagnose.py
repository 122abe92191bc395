"""`nlcore diagnose`: what curvature will do for an algorithm, measured on its own example."""

from __future__ import annotations

import argparse

from nlcore.cli.arguments import parsed_options
from nlcore.cli.example import add_example_arguments, answer
from nlcore.registry import default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore diagnose sorting/neuralsort", "on the example that it makes itself"),
    ("nlcore diagnose sorting/neuralsort -o temperature=0.1", "with an option"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    plot = "draw spectrum, amplification and gradients into a file"
    add_example_arguments(parser, "diagnose", batch=100, most=1_000_000, plot=plot)


def run(arguments: argparse.Namespace) -> int:
    """Diagnose the algorithm on its example; the figures are those of the example's outputs and targets."""
    options = parsed_options(arguments.option)
    registry = default.registry
    spec = registry.spec(arguments.id)
    loss = registry.make(spec.id, **options)
    import torch

    from nlcore.diagnosis import diagnose
    from nlcore.testing.subject import Subject, context_of, target_of

    generator = torch.Generator().manual_seed(arguments.seed)
    prediction, target = Subject(loss).example(arguments.batch, generator, torch.float32, torch.device("cpu"))
    diagnosis = diagnose(loss, prediction, target_of(target), **context_of(target), generator=generator)
    return answer(arguments, spec.id, options, diagnosis, f"{spec.id}, on its own example\n\n{diagnosis}")
