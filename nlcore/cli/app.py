"""Reads the first word, runs that command, and turns every error into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nlcore.cli.commands import COMMANDS
from nlcore.cli.output import table
from nlcore.errors import ConfigError, NlcoreError, PluginLoadWarning, RegistryError, nearest

__all__ = ["main"]

_OK, _FAILED, _WRONG_USE, _INTERRUPTED = 0, 1, 2, 130
_USAGE = "usage: nlcore [--help] [--version] COMMAND …"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after `nlcore`; `None` for those of the process.

    Returns:
        0 when all went well, 1 when something failed, 2 for wrong use: an unknown command, option or id.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with _plain_warnings():
        try:
            return _dispatch(words)
        except NlcoreError as error:
            _report("error", str(error))
            _trace(error)
            return _WRONG_USE if isinstance(error, RegistryError | ConfigError) else _FAILED
        except BrokenPipeError:
            # The reader has gone, as `head` does; what Python flushes at its end must go nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _FAILED
        except KeyboardInterrupt:
            return _INTERRUPTED


def _dispatch(words: Sequence[str]) -> int:
    first = words[0] if words else "--help"
    if first in {"-h", "--help"}:
        print(_overview())
        return _OK
    if first == "--version":
        from nlcore.registry.distributions import core_version

        print(f"nlcore {core_version()}")
        return _OK
    if first in COMMANDS:
        from nlcore.cli.parsers import core_command

        parser, run = core_command(first)
        return _run(parser, words[1:], run)
    return _dispatch_to_plugin(first, words[1:])


def _dispatch_to_plugin(name: str, words: Sequence[str]) -> int:
    from nlcore.cli.extensions import plugin_commands

    commands, faults = ({}, []) if name.startswith("-") else plugin_commands()
    if name not in commands:
        for fault in faults:
            _report("warning", fault)
        what = "option" if name.startswith("-") else "command"
        near = nearest(name, [*COMMANDS, *commands, "--help", "--version"])
        _report("error", f"there is no {what} {name!r}{near}; `nlcore --help` lists them. {_hint_at_faults()}".rstrip())
        return _WRONG_USE
    command = commands[name]
    try:
        return _run(command.parser, words, None)
    except (NlcoreError, BrokenPipeError):
        raise
    except Exception as error:
        _report("error", f"the command {name!r} of {command.origin} failed: {type(error).__name__}: {error}")
        if not _trace(error):
            print("NLCORE_TRACE_PLUGINS=1 prints the traceback.", file=sys.stderr)
        return _FAILED


def _run(
    parser: argparse.ArgumentParser, words: Sequence[str], run: Callable[[argparse.Namespace], int | None] | None
) -> int:
    """Parse the words and run the function, by default the one that the parser sets as `run`."""
    try:
        arguments = parser.parse_args(words)
        run = run or getattr(arguments, "run", None)
        if run is None:
            parser.print_help(sys.stderr)
            return _WRONG_USE
        code = run(arguments)
        sys.stdout.flush()
        return code or _OK
    except SystemExit as stop:
        if isinstance(stop.code, str):
            _report("error", stop.code)
            return _FAILED
        return stop.code or _OK


def _overview() -> str:
    from nlcore.cli.extensions import plugin_commands

    commands, faults = plugin_commands()
    parts = [_USAGE, "Losses with an algorithm inside, and the plugins that bring them."]
    parts.append("commands:\n" + _indented([(name, command.help) for name, command in COMMANDS.items()]))
    if added := [(one.name, f"{one.help}  [{one.origin}]") for one in commands.values() if one.help]:
        parts.append("commands of plugins:\n" + _indented(added))
    parts.append("`nlcore COMMAND --help` explains one of them.")
    for fault in faults:
        _report("warning", fault)
    if hint := _hint_at_faults():
        _report("warning", hint)
    return "\n\n".join(parts)


def _indented(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"  {line}" for line in table(None, rows).splitlines())


def _hint_at_faults() -> str:
    from nlcore.registry import default

    faulty = [record.namespace for record in default.registry.plugins() if record.state.faulty]
    return f"Not every plugin works ({', '.join(faulty)}); `nlcore plugins --errors` says why." if faulty else ""


def _report(kind: str, message: str) -> None:
    print(f"nlcore: {kind}: {' '.join(message.split())}", file=sys.stderr)


def _trace(error: BaseException) -> bool:
    """Print the traceback if the environment asks for it."""
    from nlcore.registry.discovery import Settings

    wanted = Settings.of(os.environ).trace
    if wanted:
        traceback.print_exception(error, file=sys.stderr)
    return wanted


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings about plugins as one line, without the place in nlcore's source; none that torch lacks NumPy."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", PluginLoadWarning)
        warnings.filterwarnings("ignore", "Failed to initialize NumPy")
        show = warnings.showwarning

        def plainly(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, PluginLoadWarning):
                _report("warning", str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = plainly
        yield
