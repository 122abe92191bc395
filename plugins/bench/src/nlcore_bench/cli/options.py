"""Options that the commands of `nlcore bench` share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlcore.errors import ConfigError
from nlcore_bench.methods.base import Method

__all__ = ["add_folder_options", "add_study_options", "cores", "moved_error", "positive", "results_folder"]

# Tuning seeds are those below the first reported one, 1000.
_MOST = {"--seeds": 1000, "--tuning-seeds": 1000, "--steps": 10**9, "--workers": 256}


def add_folder_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add `--out` and `--quiet`.

    Args:
        parser: The parser of a command.
        name: Name of the folder of results below `--out`.
    """
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"write results to DIR/{name} (default: runs, or runs/quick)"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def add_study_options(
    parser: argparse.ArgumentParser,
    methods: Sequence[Method] | None,
    *,
    steps: int = 500,
    seeds: int = 3,
    tuning: int = 2,
) -> None:
    """Add the options of a study.

    Args:
        parser: The parser of a command.
        methods: The methods of the study; `None` for a study that always runs all of them.
        steps: Default number of steps.
        seeds: Default number of reported seeds.
        tuning: Default number of tuning seeds.
    """
    add_folder_options(parser, "TASK")
    parser.add_argument("--seeds", type=int, metavar="N", help=f"number of reported seeds (default: {seeds})")
    parser.add_argument(
        "--tuning-seeds", type=int, metavar="N", help=f"seeds for tuning the learning rate (default: {tuning})"
    )
    parser.add_argument("--steps", type=int, metavar="N", help=f"training steps per run (default: {steps})")
    parser.set_defaults(methods=[])
    if methods is not None:
        names = ", ".join(method.name for method in methods)
        parser.add_argument("--methods", nargs="+", metavar="METHOD", help=f"subset of {names} (default: all)")
        parser.add_argument("--arms", nargs="+", dest="methods", action=_OldName, help=argparse.SUPPRESS)
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes with one thread each (default: one per core, at most 8)"
    )
    parser.add_argument("--quick", action="store_true", help="1 seed and few steps, to see that everything works")


class _OldName(argparse.Action):
    """The deprecated option `--arms`, which will be removed in 0.3."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        print(f"{option} is deprecated and will be removed in 0.3; use --methods.", file=sys.stderr)
        setattr(namespace, self.dest, values)


def results_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder that holds the folders of results."""
    return arguments.out or Path("runs/quick" if arguments.quick else "runs")


def positive(option: str, value: int | None, default: int) -> int:
    """Return the value of an option, or the default if it was not given.

    Raises:
        ConfigError: The value is below 1 or above what the option allows.
    """
    if value is None:
        return default
    most = _MOST[option]
    if not 1 <= value <= most:
        given = str(value)
        given = given if len(given) <= 20 else f"a number of {len(given)} digits"
        raise ConfigError(f"{option} was given {given}; give 1 or more, at most {most}.")
    return value


def cores() -> int:
    """Return the number of cores that this process may use, at most 8."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, available or 1)


def moved_error(command: str, suite: str) -> ConfigError:
    """Return the error of a command that has moved to `python -m benchmarks`; to be removed in 0.3.

    Args:
        command: The old command.
        suite: The argument of the new one.
    """
    return ConfigError(
        f"{command} has moved: run `python -m benchmarks {suite}` in a clone of the repository, after "
        "`pip install -r benchmarks/requirements.txt`."
    )
