"""The commands of the core, one module each, imported when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["COMMANDS", "CoreCommand"]


@dataclass(frozen=True, slots=True)
class CoreCommand:
    """A command of the core.

    Attributes:
        module: Has `add_arguments(parser) -> None` and `run(arguments) -> int`, which returns the exit code.
        help: One line for the overview.
        json: Whether it has the option `--json`.
    """

    module: str
    help: str
    json: bool = True


COMMANDS: Mapping[str, CoreCommand] = {
    "list": CoreCommand("nlcore.cli.commands.listing", "list the algorithms that are installed"),
    "show": CoreCommand("nlcore.cli.commands.show", "describe one algorithm and its options"),
    "plugins": CoreCommand("nlcore.cli.commands.plugins", "list the plugins, their states and their faults"),
    "check": CoreCommand("nlcore.cli.commands.check", "check that an algorithm keeps the contract"),
    "new": CoreCommand("nlcore.cli.commands.new", "start a plugin of your own"),
    "doctor": CoreCommand("nlcore.cli.commands.doctor", "look for faults of the installation"),
    "completion": CoreCommand(
        "nlcore.cli.commands.completion", "print a script that completes in your shell", json=False
    ),
    "diagnose": CoreCommand("nlcore.cli.commands.diagnose", "say whether curvature will help an algorithm"),
    "tune": CoreCommand("nlcore.cli.commands.tune", "suggest how soft a relaxation should be"),
}
