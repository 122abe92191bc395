"""`nlcore tune`: the sharpest softness at which gradients are right and reach the items, on an algorithm's example."""

from __future__ import annotations

import argparse

from nlcore.cli.arguments import parsed_options
from nlcore.cli.example import add_example_arguments, answer
from nlcore.errors import ConfigError
from nlcore.registry import default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore tune sorting/neuralsort", "the temperature, on the example that it makes itself"),
    ("nlcore tune sorting/diffsort -o distribution=logistic", "the steepness, with another option"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    add_example_arguments(parser, "tune", batch=64, most=100_000, plot="draw the measured curves into a file")


def run(arguments: argparse.Namespace) -> int:
    """Tune the softness of the algorithm for the outputs of its example."""
    options = parsed_options(arguments.option)
    registry = default.registry
    spec = registry.spec(arguments.id)
    loss = registry.make(spec.id, **options)
    import torch

    from nlcore.testing.subject import Subject, context_of, target_of
    from nlcore.tuning import softness_of, tune

    if fixed := softness_of(registry.config(spec.id)).keys() & options.keys():
        raise ConfigError(f"--option {fixed.pop()}: that is the option which is tuned; leave it out.")
    generator = torch.Generator().manual_seed(arguments.seed)
    prediction, target = Subject(loss).example(arguments.batch, generator, torch.float32, torch.device("cpu"))
    tuning = tune(spec.id, prediction, target_of(target), **context_of(target), **options)
    text = f"{tuning}\n\nThese are the outputs of its own example. For yours: nlcore.tune(id, prediction, target)."
    return answer(arguments, spec.id, options, tuning, text)
