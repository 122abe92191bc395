"""`nlcore diagnose`: what curvature will do for an algorithm, measured on its own example."""

from __future__ import annotations

import argparse
import json
from typing import Any

from nlcore.cli.output import print_json
from nlcore.errors import ConfigError
from nlcore.registry import default

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("id", help="namespace/name or namespace/name-vN, as in: nlcore diagnose sorting/neuralsort")
    parser.add_argument("--batch", type=_count, default=100, metavar="N", help="samples of the example (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the example (0)")
    parser.add_argument(
        "--option",
        action="append",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options of the algorithm, values as in JSON: --option temperature=0.1 objective=entries",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--plot", metavar="FILE.png", help="draw spectrum, amplification and gradients into a file")


def run(arguments: argparse.Namespace) -> int:
    """Diagnose the algorithm on its example; the figures are those of the example's outputs and targets."""
    options = dict(_option(word) for words in arguments.option for word in words)
    registry = default.registry
    spec = registry.spec(arguments.id)
    loss = registry.make(spec.id, **options)
    import torch

    from nlcore.newton import diagnose

    generator = torch.Generator().manual_seed(arguments.seed)
    prediction, target = loss.example(arguments.batch, generator=generator, dtype=torch.float32, device="cpu")
    found = diagnose(loss, prediction, target, generator=generator)
    if arguments.plot:
        found.plot(arguments.plot)
    if arguments.json:
        print_json({"id": spec.id, "options": options, "seed": arguments.seed, **found.as_dict()})
    else:
        print(f"{spec.id}, on its own example\n\n{found}")
    return 0


def _count(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word}: at least one sample is needed")
    return number


def _option(word: str) -> tuple[str, Any]:
    """Read `key=value`; what is neither a JSON value nor a number such as .5 is a string."""
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise ConfigError(f"--option {word}: write key=value, as in --option temperature=0.1.")
    for read in (json.loads, float):
        try:
            return key, read(text)
        except ValueError:
            continue
    return key, text
