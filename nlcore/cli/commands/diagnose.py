"""`nlcore diagnose`: what curvature will do for an algorithm, measured on its own example."""

from __future__ import annotations

import argparse
from pathlib import Path

from nlcore.cli.arguments import add_option_argument, parsed_options, whole_number
from nlcore.cli.files import new_file
from nlcore.cli.output import print_json, say
from nlcore.registry import default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore diagnose sorting/neuralsort", "on the example that it makes itself"),
    ("nlcore diagnose sorting/neuralsort -o temperature=0.1", "with an option"),
)

_MOST = 1_000_000  # samples; more would change no figure and exhaust the memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("id", help="namespace/name or namespace/name-vN, as in: nlcore diagnose sorting/neuralsort")
    batch = whole_number(1, _MOST, f"at least one sample is needed, and at most {_MOST} are taken")
    parser.add_argument("--batch", type=batch, default=100, metavar="N", help="samples of the example (100)")
    seed = whole_number(-(2**63), 2**64 - 1)
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of the example (0)")
    add_option_argument(parser)
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw spectrum, amplification and gradients into a file"
    )


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
    if arguments.plot:
        with new_file(arguments.plot) as picture:
            diagnosis.plot(picture)
    if arguments.json:
        print_json({"id": spec.id, "options": options, "seed": arguments.seed, **diagnosis.as_dict()})
    else:
        say(f"{spec.id}, on its own example\n\n{diagnosis}")
        if arguments.plot:
            say(f"\n{arguments.plot} written")
    return 0
