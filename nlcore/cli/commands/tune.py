"""`nlcore tune`: the sharpest softness at which gradients are right and reach the items, on an algorithm's example."""

from __future__ import annotations

import argparse
from pathlib import Path

from nlcore.cli.arguments import add_option_argument, parsed_options, whole_number
from nlcore.cli.files import new_file
from nlcore.cli.output import print_json, say
from nlcore.errors import ConfigError
from nlcore.registry import default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore tune sorting/neuralsort", "the temperature, on the example that it makes itself"),
    ("nlcore tune sorting/diffsort -o distribution=logistic", "the steepness, with another option"),
)

_MOST = 100_000  # samples; more would change no figure and exhaust the memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("id", help="namespace/name or namespace/name-vN, as in: nlcore tune sorting/neuralsort")
    batch = whole_number(1, _MOST, f"at least one sample is needed, and at most {_MOST} are taken")
    parser.add_argument("--batch", type=batch, default=64, metavar="N", help="samples of the example (64)")
    seed = whole_number(-(2**63), 2**64 - 1)
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of the example (0)")
    add_option_argument(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the measured curves into a file")


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
    if arguments.plot:
        with new_file(arguments.plot) as picture:
            tuning.plot(picture)
    if arguments.json:
        print_json({"id": spec.id, "options": options, "seed": arguments.seed, **tuning.as_dict()})
    else:
        say(f"{tuning}\n\nThese are the outputs of its own example. For yours: nlcore.tune(id, prediction, target).")
        if arguments.plot:
            say(f"\n{arguments.plot} written")
    return 0
